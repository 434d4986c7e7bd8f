//! Statements: the predicate types by their short names, and what is signed about an image or a file.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bundle::legacy::SimpleSigning;
use dsse::{STATEMENT_V01, STATEMENT_V1, Statement, Subject};
use jiff::Timestamp;
use keys::Digest;
use serde_json::value::{RawValue, to_raw_value};

use crate::args::StatementVersion;
use crate::failure::{advice, usage};

mod shape;

/// What cosign signs about an image (sigstore/cosign: specs/BUNDLE_SPEC.md).
pub(crate) const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// What cosign wraps a predicate of no type into.
const CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";
/// Short name and type, as cosign has them.
const ALIASES: &[(&str, &str)] = &[
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("link", "https://in-toto.io/Link/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("custom", CUSTOM),
];

/// The type that a name or a URI means.
pub(crate) fn type_of(name: &str) -> Result<&str> {
    if let Some((_, uri)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(uri);
    }
    if url::Url::parse(name).is_ok() {
        return Ok(name);
    }
    let known: Vec<&str> = ALIASES.iter().map(|(alias, _)| *alias).collect();
    Err(usage(
        format!("{name} is no predicate type"),
        format!("pass one of {}, or a URI", known.join(", ")),
    ))
}

/// The statement that `sign` signs: this image, with these annotations.
pub(crate) fn signature(digest: &Digest, annotations: &[(String, String)]) -> Result<Vec<u8>> {
    let annotations: BTreeMap<String, serde_json::Value> = annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    let subject = Subject {
        name: String::new(),
        digest: digests(digest),
        annotations: (!annotations.is_empty()).then_some(annotations),
    };
    write(subject, SIGNATURE, RawValue::from_string("{}".to_owned())?)
}

/// The statement that `attest` signs: `predicate` about this thing, of a type by its short name or URI. A custom one is wrapped as cosign wraps it, and
/// need not be JSON.
pub(crate) fn attestation(
    name: &str,
    digest: &Digest,
    kind: &str,
    predicate: &[u8],
    version: StatementVersion,
    now: Timestamp,
) -> Result<Vec<u8>> {
    let predicate_type = type_of(kind)?;
    let text = std::str::from_utf8(predicate).context("the predicate is no UTF-8 text")?;
    let predicate = if predicate_type == CUSTOM {
        let seconds = Timestamp::from_second(now.as_second())?;
        to_raw_value(&serde_json::json!({ "Data": text, "Timestamp": seconds.to_string() }))?
    } else {
        // cosign 2 put it into a string; a predicate is an object (in-toto attestation, v1), and Sigstore's verifiers insist on that.
        if text.lines().any(|line| line.starts_with("SPDXVersion:")) {
            return Err(advice(
                "the predicate is SPDX in its text form, and a statement has JSON in it",
                "convert it to SPDX's JSON; --type custom takes it as it is",
            ));
        }
        let value: Box<RawValue> =
            serde_json::from_str(text).context("the predicate is no JSON")?;
        if !value.get().starts_with('{') {
            return Err(advice(
                "the predicate is no JSON object",
                "only --type custom takes anything else",
            ));
        }
        shape::check(predicate_type, &value)?;
        value
    };
    let subject = Subject {
        name: name.to_owned(),
        digest: digests(digest),
        annotations: None,
    };
    write_as(version, subject, predicate_type, predicate)
}

/// Do both say the same about the same? When a custom one was made is not what it says.
pub(crate) fn says_the_same(one: &Statement, other: &Statement) -> bool {
    let predicate = |statement: &Statement| {
        let text = statement.predicate.as_ref().map_or("{}", |raw| raw.get());
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        if statement.predicate_type == CUSTOM
            && let Some(members) = value.as_object_mut()
        {
            members.remove("Timestamp");
        }
        value
    };
    let about = |statement: &Statement| -> Vec<(BTreeMap<String, String>, _)> {
        let subjects = statement.subject.iter();
        subjects
            .map(|subject| {
                let digests = subject.digest.iter();
                let digests = digests.map(|(name, hex)| (name.clone(), hex.to_ascii_lowercase()));
                (digests.collect(), subject.annotations.clone())
            })
            .collect()
    };
    one.predicate_type == other.predicate_type
        && about(one) == about(other)
        && predicate(one) == predicate(other)
}

fn digests(digest: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([(digest.algorithm().name().to_owned(), digest.to_hex())])
}

fn write(subject: Subject, predicate_type: &str, predicate: Box<RawValue>) -> Result<Vec<u8>> {
    write_as(StatementVersion::V1, subject, predicate_type, predicate)
}

fn write_as(
    version: StatementVersion,
    subject: Subject,
    predicate_type: &str,
    predicate: Box<RawValue>,
) -> Result<Vec<u8>> {
    let statement_type = match version {
        StatementVersion::V01 => STATEMENT_V01,
        StatementVersion::V1 => STATEMENT_V1,
    };
    Ok(serde_json::to_vec(&Statement {
        statement_type: statement_type.to_owned(),
        subject: vec![subject],
        predicate_type: predicate_type.to_owned(),
        predicate: Some(predicate),
    })?)
}

/// Do the annotations of the signed statement contain these?
pub(crate) fn annotated(
    statement: Option<&Statement>,
    digest: &Digest,
    wanted: &[(String, String)],
) -> bool {
    let found = statement
        .and_then(|statement| statement.subject_of(digest))
        .and_then(|subject| subject.annotations.as_ref());
    wanted.iter().all(|(key, value)| {
        found
            .and_then(|found| found.get(key))
            .and_then(serde_json::Value::as_str)
            == Some(value)
    })
}

/// Does a simple signature say these?
pub(crate) fn claimed(claims: &SimpleSigning, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(key, value)| {
        claims
            .optional()
            .and_then(|optional| optional.get(key))
            .and_then(serde_json::Value::as_str)
            == Some(value)
    })
}

#[cfg(test)]
mod tests {
    use keys::HashAlgorithm;

    use super::*;

    #[test]
    fn a_signature_is_the_statement_that_cosign_writes() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"x");
        let statement = signature(&digest, &[("a".into(), "b".into())]).unwrap();
        assert_eq!(
            String::from_utf8(statement).unwrap(),
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}},"annotations":{{"a":"b"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
                digest.to_hex()
            )
        );
    }

    #[test]
    fn annotations_must_all_be_there() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"x");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let signed = signature(&digest, &[pair("a", "1"), pair("b", "2")]).unwrap();
        let statement = Statement::parse(&signed).unwrap();
        let check = |wanted: &[(String, String)]| annotated(Some(&statement), &digest, wanted);
        assert!(check(&[]));
        assert!(check(&[pair("b", "2"), pair("a", "1")]));
        assert!(!check(&[pair("a", "1"), pair("b", "1")]));
        assert!(!check(&[pair("c", "")]));
        assert!(!annotated(None, &digest, &[pair("a", "1")]));
    }

    #[test]
    fn predicates_keep_their_bytes_and_custom_ones_are_wrapped() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"x");
        let make = |name, predicate: &str| {
            attestation(
                "f",
                &digest,
                name,
                predicate.as_bytes(),
                StatementVersion::V1,
                Timestamp::UNIX_EPOCH,
            )
        };
        let predicate = |bytes: Vec<u8>| {
            let statement = Statement::parse(&bytes).unwrap();
            statement.predicate.unwrap().get().to_owned()
        };
        assert_eq!(
            predicate(make("https://example.com/p", "{ \"z\":1.0, \"a\":2 }\n").unwrap()),
            "{ \"z\":1.0, \"a\":2 }"
        );
        assert_eq!(
            predicate(make("custom", "any\n").unwrap()),
            "{\"Data\":\"any\\n\",\"Timestamp\":\"1970-01-01T00:00:00Z\"}"
        );
        assert!(make("spdx", "any").is_err());
        assert!(make("spdx", "[]").is_err());
        assert!(make("nonsense", "{}").is_err());
        assert!(make("https://example.com/v1", "{}").is_ok());
    }

    #[test]
    fn statements_are_of_either_version_and_never_have_text_in_them() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"x");
        let make = |kind: &str, text: &str, version| {
            let (bytes, now) = (text.as_bytes(), Timestamp::UNIX_EPOCH);
            let made = attestation("f", &digest, kind, bytes, version, now)?;
            Ok::<_, anyhow::Error>(Statement::parse(&made).unwrap())
        };
        let document = r#"{"bomFormat":"CycloneDX"}"#;
        let old = make("cyclonedx", document, StatementVersion::V01).unwrap();
        assert_eq!(old.statement_type, STATEMENT_V01);
        let new = make("cyclonedx", document, StatementVersion::V1).unwrap();
        assert_eq!(new.statement_type, STATEMENT_V1);
        assert!(says_the_same(&old, &new));
        let text = "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n";
        let error = make("spdx", text, StatementVersion::V1).unwrap_err();
        assert!(error.to_string().contains("text form"), "{error}");
        let custom = make("custom", text, StatementVersion::V1).unwrap();
        assert!(!says_the_same(&old, &custom));
    }

    #[test]
    fn a_custom_statement_says_the_same_at_another_time() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"x");
        let make = |text: &str, second| {
            let now = Timestamp::from_second(second).unwrap();
            let made = attestation(
                "f",
                &digest,
                "custom",
                text.as_bytes(),
                StatementVersion::V1,
                now,
            );
            Statement::parse(&made.unwrap()).unwrap()
        };
        assert!(says_the_same(&make("a", 1), &make("a", 2)));
        assert!(!says_the_same(&make("a", 1), &make("b", 1)));
    }
}
