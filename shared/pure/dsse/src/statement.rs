//! in-toto statements.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use keys::{Digest, HashAlgorithm};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// The type of a v1 statement.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// The type of a v0.1 statement.
pub const STATEMENT_V01: &str = "https://in-toto.io/Statement/v0.1";
/// The most subjects that are read; sigstore-go's bound.
pub const MAX_SUBJECTS: usize = 1024;
/// The most digests of one subject; sigstore-go's bound.
pub const MAX_DIGESTS: usize = 32;

/// A statement: something is said about some artifacts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_V1`] or [`STATEMENT_V01`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of thing it says.
    pub predicate_type: String,
    /// What it says, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<Box<RawValue>>,
}

/// One artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name; not compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its digests, in hex, by algorithm.
    #[serde(default, deserialize_with = "unique")]
    pub digest: BTreeMap<String, String>,
    /// Further facts; cosign keeps `-a key=value` here.
    #[serde(
        default,
        deserialize_with = "unique_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub annotations: Option<BTreeMap<String, serde_json::Value>>,
}

/// Why a payload is no statement.
#[derive(Debug, Error)]
pub enum StatementError {
    /// Not JSON of this shape.
    #[error("not an in-toto statement: {0}")]
    Wire(#[from] wire::WireError),
    /// Another type than the two.
    #[error("unknown statement type {0:?}, expected {STATEMENT_V1} or {STATEMENT_V01}")]
    Type(String),
    /// A statement about nothing, or about too much.
    #[error("the statement has {0} subjects, expected 1 to {MAX_SUBJECTS}")]
    Subjects(usize),
    /// A subject with no digest, or with too many.
    #[error("a subject has {0} digests, expected 1 to {MAX_DIGESTS}")]
    Digests(usize),
}

impl Statement {
    /// Reads the payload of a verified envelope.
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let statement: Self = wire::parse(payload)?;
        if ![STATEMENT_V1, STATEMENT_V01].contains(&statement.statement_type.as_str()) {
            return Err(StatementError::Type(statement.statement_type));
        }
        let subjects = statement.subject.len();
        if subjects == 0 || subjects > MAX_SUBJECTS {
            return Err(StatementError::Subjects(subjects));
        }
        if let Some(count) = statement
            .subject
            .iter()
            .map(|subject| subject.digest.len())
            .find(|count| *count == 0 || *count > MAX_DIGESTS)
        {
            return Err(StatementError::Digests(count));
        }
        Ok(statement)
    }

    /// Is this artifact among the subjects? One digest that agrees is enough; of the artifact's own algorithm none may disagree within
    /// that subject, since there is only one.
    pub fn is_about(&self, artifact: &Digest) -> bool {
        self.subject_of(artifact).is_some()
    }

    /// The subject with this digest.
    pub fn subject_of(&self, artifact: &Digest) -> Option<&Subject> {
        let (name, digits) = (artifact.algorithm().name(), artifact.to_hex());
        self.subject.iter().find(|subject| {
            subject
                .digest
                .get(name)
                .is_some_and(|found| found.eq_ignore_ascii_case(&digits))
        })
    }

    /// The digest algorithms that the subjects use and we know.
    pub fn algorithms(&self) -> impl Iterator<Item = HashAlgorithm> {
        HashAlgorithm::ALL.into_iter().filter(|algorithm| {
            self.subject
                .iter()
                .any(|subject| subject.digest.contains_key(algorithm.name()))
        })
    }
}

/// A map in which no key stands twice: of two digests under one name each reader would take another.
fn unique<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Unique<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Unique<T> {
        type Value = BTreeMap<String, T>;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((name, value)) = members.next_entry::<String, T>()? {
                if map.contains_key(&name) {
                    return Err(A::Error::custom(format!("duplicate field `{name}`")));
                }
                map.insert(name, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}

fn unique_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, serde_json::Value>>, D::Error> {
    #[derive(Deserialize)]
    struct Map(#[serde(deserialize_with = "unique")] BTreeMap<String, serde_json::Value>);
    Ok(Option::<Map>::deserialize(deserializer)?.map(|map| map.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(subjects: &str) -> String {
        format!(
            "{{\"_type\":\"{STATEMENT_V1}\",\"subject\":{subjects},\"predicateType\":\"https://example.com\",\"predicate\":{{\"a\": 1}}}}"
        )
    }

    #[test]
    fn subjects_are_found_by_digest() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"artifact");
        let text = statement(&format!(
            "[{{\"name\":\"x\",\"digest\":{{\"sha256\":\"{}\"}}}}]",
            digest.to_hex()
        ));
        let statement = Statement::parse(text.as_bytes()).unwrap();
        assert!(statement.is_about(&digest));
        assert!(!statement.is_about(&Digest::of(HashAlgorithm::Sha256, b"other")));
        assert!(!statement.is_about(&Digest::of(HashAlgorithm::Sha512, b"artifact")));
        assert_eq!(
            statement.predicate.unwrap().get(),
            "{\"a\": 1}",
            "the predicate is kept as it was written"
        );
        assert_eq!(statement.subject.len(), 1);
        // As cosign writes it: no name, annotations, an empty predicate or none.
        let cosign = format!(
            "{{\"_type\":\"{STATEMENT_V1}\",\"subject\":[{{\"digest\":{{\"sha256\":\"{}\"}},\"annotations\":{{\"a\":\"b\"}}}}],\"predicateType\":\"https://sigstore.dev/cosign/sign/v1\"}}",
            digest.to_hex().to_ascii_uppercase()
        );
        let statement = Statement::parse(cosign.as_bytes()).unwrap();
        let annotations = statement.subject_of(&digest).unwrap().annotations.as_ref();
        assert_eq!(annotations.unwrap()["a"], "b");
        assert!(statement.predicate.is_none());
        assert_eq!(
            statement.algorithms().collect::<Vec<_>>(),
            [HashAlgorithm::Sha256]
        );
    }

    #[test]
    fn a_statement_about_nothing_or_too_much_is_refused() {
        assert!(matches!(
            Statement::parse(statement("[]").as_bytes()),
            Err(StatementError::Subjects(0))
        ));
        assert!(matches!(
            Statement::parse(statement("[{\"digest\":{}}]").as_bytes()),
            Err(StatementError::Digests(0))
        ));
        let many = vec!["{\"digest\":{\"sha256\":\"aa\"}}"; MAX_SUBJECTS + 1].join(",");
        assert!(matches!(
            Statement::parse(statement(&format!("[{many}]")).as_bytes()),
            Err(StatementError::Subjects(_))
        ));
        let other = statement("[]").replace("Statement/v1", "Statement/v2");
        assert!(matches!(
            Statement::parse(other.as_bytes()),
            Err(StatementError::Type(_))
        ));
        for text in [
            "[]".to_owned(),
            statement("[{\"digest\":{\"sha256\":\"aa\",\"sha256\":\"bb\"}}]"),
            statement("[{\"digest\":{\"sha256\":\"aa\"},\"annotations\":{\"a\":1,\"a\":2}}]"),
            statement("[[\"name\",{\"sha256\":\"aa\"}]]"),
        ] {
            assert!(
                matches!(
                    Statement::parse(text.as_bytes()),
                    Err(StatementError::Wire(_))
                ),
                "{text}"
            );
        }
    }
}
