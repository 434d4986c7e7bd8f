//! tuf 0.0.1: metadata of one top-level role, with the root that says who signs it.

use ::tuf::{Envelope, Role, RoleKeys, Signers};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::encoding::Bytes;

use crate::format::Known;
use crate::{Accepted, Admit, Kind, ProposeError, Rules, invalid};

#[derive(Debug, Deserialize)]
pub(crate) struct Spec {
    metadata: File,
    root: File,
}

#[derive(Debug, Deserialize)]
struct File {
    content: Content,
}

/// The file in base64, or as an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Base64(String),
    Object(Value),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    metadata: StoredFile,
    root: StoredFile,
    #[serde(rename = "spec_version")]
    spec_version: String,
}

#[derive(Serialize)]
struct StoredFile {
    content: Bytes,
}

/// The members of a file that go into the log.
#[derive(Serialize, Deserialize)]
struct Signed {
    signatures: Vec<Signature>,
    signed: Value,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

impl Admit for Spec {
    fn admit(self, rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let root = File::bytes(self.root, "root")?;
        let metadata = File::bytes(self.metadata, "metadata")?;
        let (signers, root, spec_version) = open_root(&root, rules)?;
        let (role, version, metadata) = open(&metadata, &signers, rules)?;
        let mut keys = Vec::new();
        entry::digest_keys(&metadata, &mut keys);
        entry::digest_keys(&root, &mut keys);
        keys.extend([role.name().to_owned(), version]);
        let stored = |content| StoredFile {
            content: Bytes(content),
        };
        let stored = Stored {
            metadata: stored(metadata),
            root: stored(root),
            spec_version,
        };
        Accepted::new(Kind::Tuf, "0.0.1", stored, keys)
    }
}

impl File {
    fn bytes(self, what: &str) -> Result<Vec<u8>, ProposeError> {
        match self.content {
            Content::Base64(text) => Bytes::decode(&text)
                .map(|bytes| bytes.0)
                .map_err(|error| invalid(format!("base64 decoding TUF {what} content: {error}"))),
            Content::Object(value) => {
                entry::canonical_json(&value).ok_or_else(|| malformed(what, "no canonical form"))
            }
        }
    }
}

/// A root as the key of format tuf: its canonical bytes.
pub(crate) fn root(bytes: &[u8]) -> Result<Known, ProposeError> {
    let (_, canonical, _) = open_root(bytes, &Rules::of_lookup())?;
    Ok(Known::new(canonical, None))
}

/// Reads a root that is signed under its own keys.
fn open_root(bytes: &[u8], rules: &Rules<'_>) -> Result<(Signers, Vec<u8>, String), ProposeError> {
    let (envelope, file) = parse(bytes, "root", Role::Root)?;
    let wrong = |error: &dyn std::fmt::Display| malformed("root", error);
    let signers = Signers::from_json(envelope.unverified()).map_err(|error| wrong(&error))?;
    let own = signers.of(Role::Root).map_err(|error| wrong(&error))?;
    let head = verified(&envelope, "root", &own, rules)?;
    Ok((signers, file.canonical("root")?, head.spec_version))
}

/// Reads metadata of any top-level role; gives its role, version and canonical bytes.
fn open(
    bytes: &[u8],
    signers: &Signers,
    rules: &Rules<'_>,
) -> Result<(Role, String, Vec<u8>), ProposeError> {
    let (envelope, file) = parse(bytes, "metadata", Role::Targets)?;
    let named = file.signed.get("_type").and_then(Value::as_str);
    let role = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp]
        .into_iter()
        .find(|role| Some(role.name()) == named)
        .ok_or_else(|| {
            let named = named.unwrap_or("nothing");
            let why =
                format!("it is of type {named:?}, expected root, targets, snapshot or timestamp");
            malformed("metadata", why)
        })?;
    let by = signers.of(role).map_err(|error| malformed("root", error))?;
    let head = verified(&envelope, "metadata", &by, rules)?;
    Ok((role, head.version.to_string(), file.canonical("metadata")?))
}

#[derive(Deserialize)]
struct Head {
    expires: Timestamp,
    #[serde(default)]
    spec_version: String,
    version: u64,
}

/// The beginning of what a role's keys signed. Upstream takes nothing that has expired.
fn verified(
    envelope: &Envelope,
    what: &str,
    by: &RoleKeys,
    rules: &Rules<'_>,
) -> Result<Head, ProposeError> {
    let signed = envelope
        .verified(by)
        .map_err(|error| malformed(what, error))?;
    let head = Head::deserialize(signed).map_err(|error| malformed(what, error))?;
    match rules.now {
        Some(now) if now >= head.expires => Err(malformed(
            what,
            format_args!("it expired at {}", head.expires),
        )),
        _ => Ok(head),
    }
}

fn parse(bytes: &[u8], what: &str, largest: Role) -> Result<(Envelope, Signed), ProposeError> {
    let envelope =
        Envelope::parse(bytes, largest.size_max()).map_err(|error| malformed(what, error))?;
    let file = wire::parse(bytes).map_err(|error| malformed(what, error))?;
    Ok((envelope, file))
}

impl Signed {
    /// RFC 8785, with signatures in lower case: upstream reads them as bytes and writes them so.
    fn canonical(mut self, what: &str) -> Result<Vec<u8>, ProposeError> {
        for signature in &mut self.signatures {
            signature.sig.make_ascii_lowercase();
        }
        entry::canonical_json(&self).ok_or_else(|| malformed(what, "no canonical form"))
    }
}

fn malformed(what: &str, why: impl std::fmt::Display) -> ProposeError {
    invalid(format!("TUF {what}: {why}"))
}
