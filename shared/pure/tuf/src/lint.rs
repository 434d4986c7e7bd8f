//! What would break a client: found before anybody signs, and again before anything is published.
//!
//! Each finding names the clients that stumble over it, as measured with their releases of November 2026. A repository that was taken over may
//! have what a new one must not (key ids by another rule, fields in keys): whoever calls compares with the findings in the version before, and
//! refuses only what is new.

use std::collections::BTreeSet;
use std::fmt;

use crate::canonical::{self, CanonicalError};
use crate::document::{DELEGATIONS_MAX, Document, RoleName, check_target_name};
use crate::glob::covers;
use crate::key::{Key, KeyId};
use crate::metadata::Role;
use serde_json::Value;

/// Something that at least one client cannot live with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Stable, for programs and for comparing with the version before.
    pub code: &'static str,
    /// The role it is in.
    pub role: String,
    /// What is wrong, with the value.
    pub what: String,
    /// Who stumbles.
    pub breaks: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            role,
            what,
            breaks,
        } = self;
        write!(formatter, "{role}: {what} ({code}; breaks {breaks})")
    }
}

/// Looks through one document.
pub fn document(document: &Document) -> Vec<Finding> {
    let mut found = Findings {
        role: document.role().to_string(),
        list: Vec::new(),
    };
    match canonical::encode(&document.to_value()) {
        Ok(bytes) => {
            // Signatures and indentation come on top; the finished file is measured again.
            let limit = document.role().kind().size_max();
            if bytes.len() > limit {
                found.add(
                    "size",
                    format!("{} bytes, more than {limit}", bytes.len()),
                    "every client",
                );
            }
        }
        Err(error @ CanonicalError::TooLarge(_)) => {
            found.add("integer", error.to_string(), "tuf-js");
        }
        Err(error) => found.add("canonical", error.to_string(), "every client"),
    }
    let version = document.member("spec_version").and_then(Value::as_str);
    if !version.is_some_and(|version| version == "1.0" || version.starts_with("1.")) {
        found.add(
            "spec-version",
            format!("spec_version is {version:?}, not 1.x"),
            "every client",
        );
    }
    let date = document
        .member("expires")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if date.len() != 20 || !date.ends_with('Z') {
        found.add(
            "date",
            format!("expires is '{date}', not YYYY-MM-DDTHH:MM:SSZ"),
            "python-tuf",
        );
    }
    match document.role().kind() {
        Role::Root => root(document, &mut found),
        Role::Targets => targets(document, &mut found),
        Role::Snapshot | Role::Timestamp => {}
    }
    found.list
}

/// Looks through a delegated role as the one who delegates to it sees it.
pub fn delegate(delegate: &Document, delegator: &Document) -> Vec<Finding> {
    let mut found = Findings {
        role: delegate.role().to_string(),
        list: Vec::new(),
    };
    let delegations = delegator.delegations().unwrap_or_default();
    let Some(entry) = delegations.iter().find(|one| one.name == *delegate.role()) else {
        let what = format!("{} does not delegate to it", delegator.role());
        found.add("no-delegation", what, "every client");
        return found.list;
    };
    for name in delegate.targets().unwrap_or_default().keys() {
        if !entry.paths.iter().any(|pattern| covers(pattern, name)) {
            let what = format!(
                "the target {name} is outside of its paths {:?}",
                entry.paths
            );
            found.add("outside-paths", what, "tough, and nobody else finds it");
        }
    }
    found.list
}

struct Findings {
    role: String,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, code: &'static str, what: String, breaks: &'static str) {
        self.list.push(Finding {
            code,
            role: self.role.clone(),
            what,
            breaks,
        });
    }
}

fn root(document: &Document, found: &mut Findings) {
    if document.member("consistent_snapshot") != Some(&Value::Bool(true)) {
        let what = "consistent_snapshot is not true".to_owned();
        found.add("consistent-snapshot", what, "gh, sigstore-js");
    }
    for role in [
        RoleName::ROOT,
        RoleName::TARGETS,
        RoleName::SNAPSHOT,
        RoleName::TIMESTAMP,
    ] {
        signers(document, &role, found);
    }
    keys(document, found);
}

fn targets(document: &Document, found: &mut Findings) {
    let Ok(listed) = document.targets() else {
        found.add(
            "targets",
            "the list of targets is malformed".to_owned(),
            "every client",
        );
        return;
    };
    for name in listed.keys() {
        if let Err(error) = check_target_name(name) {
            found.add(
                "target-name",
                error.to_string(),
                "clients that make files of that name",
            );
        }
    }
    let Ok(delegations) = document.delegations() else {
        found.add(
            "delegations",
            "the delegations are malformed".to_owned(),
            "every client",
        );
        return;
    };
    if delegations.len() >= DELEGATIONS_MAX {
        let what = format!(
            "{} delegations; clients look into {DELEGATIONS_MAX} roles",
            delegations.len()
        );
        found.add("delegations", what, "every client");
    }
    let mut names = BTreeSet::new();
    for delegation in &delegations {
        if !names.insert(&delegation.name) {
            let what = format!("it delegates to {} twice", delegation.name);
            found.add("delegations", what, "every client");
        }
        if delegation.paths.is_empty() {
            let what = format!("the delegation to {} has no paths", delegation.name);
            found.add("paths", what, "python-tuf, tuf-js");
        }
        signers(document, &delegation.name, found);
    }
    if delegations.is_empty() && document.member("delegations").is_some() {
        return;
    }
    if !delegations.is_empty() {
        keys(document, found);
        delegation_fields(document, found);
    }
}

/// tough verifies a copy that it wrote itself, without the fields that it does not know.
fn delegation_fields(document: &Document, found: &mut Findings) {
    let roles = document
        .member("delegations")
        .and_then(|delegations| delegations.get("roles")?.as_array());
    let known = [
        "name",
        "keyids",
        "threshold",
        "paths",
        "path_hash_prefixes",
        "terminating",
    ];
    for role in roles.into_iter().flatten().filter_map(Value::as_object) {
        for field in role.keys().filter(|field| !known.contains(&field.as_str())) {
            let what = format!("a delegation has the field {field}");
            found.add("delegation-field", what, "tough");
        }
        if role.get("terminating").and_then(Value::as_bool).is_none() {
            let what = "a delegation does not say whether it is terminating".to_owned();
            found.add("delegation-field", what, "python-tuf, go-tuf");
        }
    }
}

/// Enough keys that every client can verify with.
fn signers(document: &Document, role: &RoleName, found: &mut Findings) {
    if let Err(error) = document.signers(role) {
        found.add("threshold", error.to_string(), "every client");
    }
}

fn keys(document: &Document, found: &mut Findings) {
    let Ok(keys) = document.key_values() else {
        found.add("keys", "it has no keys".to_owned(), "every client");
        return;
    };
    for (id, value) in keys {
        match Key::from_json(value) {
            Err(error) => found.add(
                "key-type",
                format!("the key {id}: {error}"),
                "at least one client",
            ),
            Ok(key) => {
                // What we can read is more than what every client can.
                if let Err(error) = Key::new(key.public_key().clone()) {
                    found.add(
                        "key-type",
                        format!("the key {id}: {error}"),
                        "at least one client",
                    );
                }
                if key.id().as_str() != id && key_hash(value).is_none_or(|hash| hash.as_str() != id)
                {
                    let what = format!("the key id {id} is not the hash of its key");
                    found.add("key-id", what, "tough");
                }
            }
        }
        let fields = value.as_object().into_iter().flatten();
        for (field, _) in fields {
            if !["keytype", "scheme", "keyval", "keyid_hash_algorithms"].contains(&field.as_str()) {
                let what = format!("the key {id} has the field {field}");
                found.add("key-field", what, "tough");
            }
        }
    }
}

fn key_hash(value: &Value) -> Option<KeyId> {
    let bytes = canonical::encode(value).ok()?;
    serde_json::from_value(hex::encode(keys::sha256(&bytes)).into()).ok()
}
