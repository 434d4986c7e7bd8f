//! The members that a predicate of a known type must have: a document of another kind under this type would be taken for one by its readers.
//!
//! As cosign checks: the members that its structs do not call optional, at the top. Where cosign leaves a document unchecked (vulnerabilities, SPDX, CycloneDX,
//! OpenVEX) the members that its own specification requires of every version.

use anyhow::Result;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::advice;

/// What a member has to be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Any,
    Text,
    Object,
    List,
}

use Kind::{Any, List, Object, Text};

/// Type, and the members that have to be there.
const SHAPES: &[(&str, &[(&str, Kind)])] = &[
    (
        "https://slsa.dev/provenance/v0.2",
        &[("builder", Object), ("buildType", Text)],
    ),
    (
        "https://slsa.dev/provenance/v1",
        &[("buildDefinition", Object), ("runDetails", Object)],
    ),
    (
        "https://in-toto.io/Link/v1",
        &[
            ("_type", Text),
            ("name", Text),
            ("materials", Any),
            ("products", Any),
            ("byproducts", Any),
            ("command", Any),
            ("environment", Any),
        ],
    ),
    (
        "https://cosign.sigstore.dev/attestation/vuln/v1",
        &[
            ("invocation", Object),
            ("scanner", Object),
            ("metadata", Object),
        ],
    ),
    (
        "https://spdx.dev/Document",
        &[("spdxVersion", Text), ("SPDXID", Text)],
    ),
    ("https://cyclonedx.org/bom", &[("bomFormat", Text)]),
    (
        "https://openvex.dev/ns",
        &[("@context", Text), ("statements", List)],
    ),
];

/// SPDX 3 is JSON-LD and has other members.
const SPDX_3: &[(&str, Kind)] = &[("@context", Any), ("@graph", List)];

/// Whether the predicate looks like one of its type. Types that are not known here are not looked into.
pub(super) fn check(predicate_type: &str, predicate: &RawValue) -> Result<()> {
    let Some((_, members)) = SHAPES.iter().find(|(known, _)| *known == predicate_type) else {
        return Ok(());
    };
    let value: Value = serde_json::from_str(predicate.get())?;
    let is_spdx_3 = predicate_type.contains("spdx") && missing(&value, SPDX_3).is_none();
    match missing(&value, members) {
        Some(member) if !is_spdx_3 => Err(advice(
            format!(
                "a predicate of type {predicate_type} has a member {member:?} of its own kind, and this one has not"
            ),
            "is it another kind of document? --type names it; --type custom takes any",
        )),
        _ => Ok(()),
    }
}

fn missing(value: &Value, members: &[(&'static str, Kind)]) -> Option<&'static str> {
    let fits = |(name, kind): &&(&'static str, Kind)| match (value.get(*name), kind) {
        (Some(_), Any) => true,
        (Some(member), Text) => member.is_string(),
        (Some(member), Object) => member.is_object(),
        (Some(member), List) => member.is_array(),
        (None, _) => false,
    };
    members
        .iter()
        .find(|member| !fits(member))
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predicate::type_of;

    #[test]
    fn a_document_of_another_kind_is_refused() {
        for (kind, good, bad) in [
            (
                "slsaprovenance",
                r#"{"builder":{"id":"b"},"buildType":"t"}"#,
                r#"{"builder":{"id":"b"}}"#,
            ),
            (
                "slsaprovenance1",
                r#"{"buildDefinition":{},"runDetails":{}}"#,
                r#"{"buildDefinition":{},"runDetails":[]}"#,
            ),
            (
                "link",
                r#"{"_type":"link","name":"n","materials":{},"products":{},"byproducts":{},"command":[],"environment":{}}"#,
                r#"{"_type":"link","name":"n"}"#,
            ),
            (
                "vuln",
                r#"{"invocation":{},"scanner":{},"metadata":{}}"#,
                r#"{"scanner":{}}"#,
            ),
            (
                "spdxjson",
                r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}"#,
                r#"{"bomFormat":"CycloneDX"}"#,
            ),
            (
                "spdxjson",
                r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}"#,
                r#"{"@context":"x"}"#,
            ),
            (
                "cyclonedx",
                r#"{"bomFormat":"CycloneDX"}"#,
                r#"{"spdxVersion":"SPDX-2.3"}"#,
            ),
            (
                "openvex",
                r#"{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}"#,
                r#"{"statements":[]}"#,
            ),
        ] {
            let check = |text: &str| {
                let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
                check(type_of(kind).unwrap(), &raw)
            };
            assert!(check(good).is_ok(), "{kind}: {good}");
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains("has a member"), "{kind}: {error}");
        }
        let raw: Box<RawValue> = serde_json::from_str("{}").unwrap();
        assert!(check("https://example.com/own", &raw).is_ok());
    }
}
