//! The one file that goes to a signer and comes back with a signature more.
//!
//! ```text
//! { "mediaType": "application/vnd.tuf.signing-request+json;version=1",
//!   "metadata":  the document with the signatures so far, as it will be published,
//!   "root":      text of the root that is in force; absent for the first one,
//!   "next":      text of the root that takes its place together with this document, if that changes who signs it,
//!   "delegator": text of the targets metadata that delegates to this role, for a delegated one,
//!   "previous":  text of this role's version that is in force; absent for the first one,
//!   "contents":  { target: { "old": text, "new": text } }, so that a signer sees what changes in them,
//!   "names":     { key id: owner } }
//! ```
//!
//! Nothing in it is believed: who signs is read from the roots, which are verified; what changes is computed from the documents, against a
//! version in force that its signers have signed; contents have to have the hashes that the documents name, and those that verifiers read have to
//! be there. Only the owners' names are hearsay, and are shown beside the ids. What a delegated role was before counts where the root's signers
//! have signed its delegator; else everything in it is shown as new.

use std::collections::BTreeMap;

use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::ceremony::{Ceremony, CeremonyError, Required};
use crate::document::{Document, DocumentError, RoleName};
use crate::envelope::{Envelope, EnvelopeError};
use crate::key::{KeyId, RoleKeys};
use crate::metadata::{Role, TargetFile};

/// What a request says it is.
pub const MEDIA_TYPE: &str = "application/vnd.tuf.signing-request+json;version=1";
/// The largest request: targets metadata at its largest, a few times, and their contents.
pub const REQUEST_MAX: usize = 32 << 20;

/// A request cannot be used.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Not a request at all.
    #[error("not a signing request: {0}")]
    Syntax(String),
    /// A part of it is not what it must be.
    #[error("the signing request's {part}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: EnvelopeError,
    },
    /// A document in it.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The parts do not fit together.
    #[error("the signing request contradicts itself: {0}")]
    Contradiction(String),
    /// The signatures in it.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
}

/// A target's content before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// What is published now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    media_type: String,
    /// The document, with its signatures so far.
    pub metadata: Value,
    /// Which role it is.
    pub role: String,
    /// The root in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The root to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The targets metadata that delegates to this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegator: Option<String>,
    /// The version in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Contents of targets that change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<String, Content>,
    /// Owners of keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// A request whose parts fit together.
#[derive(Debug)]
pub struct Opened {
    /// The document and its signatures, all of which verify.
    pub ceremony: Ceremony,
    /// The version in force, signed by those who sign it.
    pub previous: Option<Document>,
    /// There is a version in force, of which nothing proves that it is one: who delegates to the role is not signed for yet. All is new then.
    pub is_previous_unverified: bool,
    /// Contents of targets that change.
    pub contents: BTreeMap<String, Content>,
    /// SHA-256 of the root in force, for comparing with what one knows.
    pub root_sha256: Option<[u8; 32]>,
    names: BTreeMap<String, String>,
}

impl Request {
    /// A request about a document; the other parts are added by whoever knows them.
    pub fn new(ceremony: &Ceremony) -> Result<Self, RequestError> {
        Ok(Self {
            media_type: MEDIA_TYPE.to_owned(),
            role: ceremony.document().role().to_string(),
            metadata: serde_json::from_str(&ceremony.to_text())
                .map_err(|error| RequestError::Syntax(error.to_string()))?,
            root: None,
            next: None,
            delegator: None,
            previous: None,
            contents: BTreeMap::new(),
            names: BTreeMap::new(),
        })
    }

    /// Reads a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > REQUEST_MAX {
            let what = format!("{} bytes, at most {REQUEST_MAX}", bytes.len());
            return Err(RequestError::Syntax(what));
        }
        let request: Self = serde_json::from_slice(bytes)
            .map_err(|error| RequestError::Syntax(error.to_string()))?;
        if request.media_type != MEDIA_TYPE {
            let what = format!(
                "mediaType is '{}', expected {MEDIA_TYPE}",
                request.media_type
            );
            return Err(RequestError::Syntax(what));
        }
        Ok(request)
    }

    /// The file.
    pub fn to_text(&self) -> String {
        // Values of JSON can always be written.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The document's role.
    pub fn role_name(&self) -> Result<RoleName, RequestError> {
        Ok(RoleName::parse(&self.role)?)
    }

    /// Checks that the parts fit together: the roots, who has to sign, the signatures so far, the contents.
    pub fn open(&self, now: Time) -> Result<Opened, RequestError> {
        let role = self.role_name()?;
        let envelope = value_envelope(&self.metadata, &role)?;
        let document = Document::read(role.clone(), envelope.unverified())?;
        let required = self.required(&document)?;
        let mut ceremony = Ceremony::new(document, required, now)?;
        ceremony.merge(&envelope)?;
        let previous = self.previous(&role)?;
        let document = ceremony.document();
        let expected = previous
            .as_ref()
            .map_or(Ok(crate::Version::ONE), |old| old.version().next());
        // Root counts by one; the others may jump, which is how one gets past somebody else's fast-forward.
        let follows = match (&previous, role == RoleName::ROOT) {
            (_, true) => expected.is_ok_and(|next| next == document.version()),
            (Some(old), false) => old.version() < document.version(),
            (None, false) => true,
        };
        if !follows {
            return Err(RequestError::Contradiction(format!(
                "{role} {} does not follow on {}",
                document.version(),
                previous.map_or_else(|| "nothing".to_owned(), |old| old.version().to_string())
            )));
        }
        self.check_contents(document, previous.as_ref())?;
        Ok(Opened {
            ceremony,
            is_previous_unverified: self.previous.is_some() && previous.is_none(),
            previous,
            contents: self.contents.clone(),
            root_sha256: self.root.as_ref().map(|text| keys::sha256(text.as_bytes())),
            names: self.names.clone(),
        })
    }

    /// The same request with the signatures that the ceremony has by now.
    pub fn with_signatures(&self, ceremony: &Ceremony) -> Result<Self, RequestError> {
        Ok(Self {
            metadata: Self::new(ceremony)?.metadata,
            ..self.clone()
        })
    }

    /// Who has to sign: read from the verified roots and delegations.
    pub fn required(&self, document: &Document) -> Result<Vec<Required>, RequestError> {
        let role = document.role();
        let root = self
            .root
            .as_deref()
            .map(|text| root_text("root", text))
            .transpose()?;
        let named = |by: &Document, keys: RoleKeys| Required {
            by: format!("{} {}", by.role(), by.version()),
            keys,
        };
        if *role == RoleName::ROOT {
            let mut required = Vec::new();
            if let Some(root) = &root {
                required.push(named(root, root.signers(role)?));
            }
            required.push(named(document, document.signers(role)?));
            return Ok(required);
        }
        let next = self
            .next
            .as_deref()
            .map(|text| parse_root("next root", text))
            .transpose()?;
        let above: Vec<&Document> = match role {
            RoleName::Top(_) => root.iter().chain(&next).collect(),
            RoleName::Delegated(_) => Vec::new(),
        };
        let delegator = match (role, &self.delegator) {
            (RoleName::Delegated(_), Some(text)) => {
                // The delegator may itself be waiting for signatures; whether it is in force is the publisher's check.
                Some(parse("delegator", text, &RoleName::TARGETS)?.1)
            }
            (RoleName::Delegated(_), None) => {
                let what = format!("{role} is a delegated role, and nobody delegates to it");
                return Err(RequestError::Contradiction(what));
            }
            _ => None,
        };
        let mut required = Vec::new();
        for one in above.into_iter().chain(&delegator) {
            let keys = one.signers(role)?;
            if !required.iter().any(|other: &Required| other.keys == keys) {
                required.push(named(one, keys));
            }
        }
        Ok(required)
    }

    /// The version in force. Somebody who makes it up could hide in it what changes.
    fn previous(&self, role: &RoleName) -> Result<Option<Document>, RequestError> {
        let Some(text) = &self.previous else {
            return Ok(None);
        };
        let root = self
            .root
            .as_deref()
            .map(|text| root_text("root", text))
            .transpose()?;
        let (envelope, document) = parse("previous version", text, role)?;
        let part = |source| RequestError::Part {
            part: "previous version",
            source,
        };
        let contradiction = |what: &str| RequestError::Contradiction(what.to_owned());
        let root = root.ok_or_else(|| {
            contradiction("it has a previous version, and no root in force that could vouch for it")
        })?;
        match role {
            RoleName::Top(Role::Root) if self.root.as_ref() != Some(text) => {
                return Err(contradiction("the previous root is not the root in force"));
            }
            RoleName::Top(Role::Root) => {}
            RoleName::Top(_) => {
                envelope.verified(&root.signers(role)?).map_err(part)?;
            }
            RoleName::Delegated(_) => {
                let Some(delegator) = &self.delegator else {
                    return Ok(None);
                };
                let (by, delegator) = parse("delegator", delegator, &RoleName::TARGETS)?;
                // One that waits for signatures itself vouches for nothing yet.
                let held = by.verified(&root.signers(&RoleName::TARGETS)?).is_ok()
                    && envelope.verified(&delegator.signers(role)?).is_ok();
                if !held {
                    return Ok(None);
                }
            }
        }
        Ok(Some(document))
    }

    fn check_contents(
        &self,
        document: &Document,
        previous: Option<&Document>,
    ) -> Result<(), RequestError> {
        let is_targets = *document.role() == RoleName::TARGETS;
        if self.contents.is_empty() && !is_targets {
            return Ok(());
        }
        let listed = document.targets()?;
        let before = previous
            .map(Document::targets)
            .transpose()?
            .unwrap_or_default();
        let changed = listed
            .iter()
            .filter(|(name, file)| is_targets && before.get(*name) != Some(file));
        for (name, _) in changed {
            let new = self.contents.get(name).and_then(|it| it.new.as_ref());
            if is_read(name) && new.is_none() {
                let what = format!(
                    "the target {name} is new or changes, and its content is not there to look at"
                );
                return Err(RequestError::Contradiction(what));
            }
        }
        for (name, content) in &self.contents {
            let fits = |text: &Option<String>, file: Option<&TargetFile>| match text {
                None => true,
                Some(text) => file == Some(&TargetFile::of(text.as_bytes())),
            };
            if !fits(&content.new, listed.get(name)) || !fits(&content.old, before.get(name)) {
                let what = format!("the content of {name} has another hash than the metadata says");
                return Err(RequestError::Contradiction(what));
            }
        }
        Ok(())
    }
}

impl Opened {
    /// The name of a key's owner, as the request says.
    pub fn name(&self, id: &KeyId) -> Option<String> {
        self.names.get(id.as_str()).cloned()
    }
}

/// Targets that say whom to trust: a signer looks at what is in them, and not at a hash alone.
fn is_read(name: &str) -> bool {
    [".json", ".jsonl", ".pem", ".pub", ".crt"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn root_text(part: &'static str, text: &str) -> Result<Document, RequestError> {
    let (envelope, document) = parse(part, text, &RoleName::ROOT)?;
    let keys = document.signers(&RoleName::ROOT)?;
    envelope
        .verified(&keys)
        .map_err(|source| RequestError::Part { part, source })?;
    Ok(document)
}

/// A root that may still wait for its signatures.
fn parse_root(part: &'static str, text: &str) -> Result<Document, RequestError> {
    Ok(parse(part, text, &RoleName::ROOT)?.1)
}

fn parse(
    part: &'static str,
    text: &str,
    role: &RoleName,
) -> Result<(Envelope, Document), RequestError> {
    let envelope = Envelope::parse(text.as_bytes(), role.kind().size_max())
        .map_err(|source| RequestError::Part { part, source })?;
    let document = Document::read(role.clone(), envelope.unverified())?;
    Ok((envelope, document))
}

fn value_envelope(value: &Value, role: &RoleName) -> Result<Envelope, RequestError> {
    Envelope::parse(value.to_string().as_bytes(), role.kind().size_max()).map_err(|source| {
        RequestError::Part {
            part: "metadata",
            source,
        }
    })
}
