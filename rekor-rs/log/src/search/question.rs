//! What is asked for, as search keys.

use kinds::Format;
use search::Mode;
use serde::Deserialize;
use thiserror::Error;
use wire::encoding::Bytes;

use crate::gate::{Gate, Turned};

/// Longest name, upstream's limit of a subject.
const MAX_NAME: usize = 512;

/// A question: Rekor v1's `SearchIndex`, and what we know besides.
#[derive(Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "an object that says what to look for"
)]
pub(crate) struct Question {
    /// A mail address in a certificate.
    email: Option<String>,
    /// Any name in a certificate.
    subject: Option<String>,
    /// `sha256:<hex>`, or the digits alone.
    hash: Option<String>,
    /// A key, certificate or chain.
    public_key: Option<PublicKey>,
    /// The issuer of the identity token behind a certificate. (Not in Rekor v1.)
    issuer: Option<String>,
    /// A signature. (Not in Rekor v1.)
    signature: Option<Bytes>,
    /// `and` or `or`.
    operator: Option<String>,
    /// Most entries of one answer. (Not in Rekor v1.)
    pub(crate) limit: Option<u16>,
    /// `next` of the answer before. (Not in Rekor v1.)
    pub(crate) after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PublicKey {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    content: Bytes,
    #[serde(default)]
    url: Option<String>,
}

/// Why it cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum QuestionError {
    /// A value that breaks the schema; the number is go-openapi's.
    #[error("{message}")]
    Schema { code: u16, message: String },
    /// A key that cannot be read.
    #[error("public key provided could not be parsed: {0}")]
    Key(String),
    /// A kind of key that no entry has.
    #[error(
        "publicKey.format in body should be one of [{}], not {found:?}",
        formats()
    )]
    Format { found: String },
    /// A key at an address.
    #[error("publicKey.url is not fetched: send the key itself in publicKey.content")]
    Url,
    /// A key was sent, and nobody could look at it.
    #[error(transparent)]
    Turned(#[from] Turned),
}

impl Question {
    /// The keys, and how they belong together. No key finds nothing. A public key has signatures of its own in it, which are checked like those of entries:
    /// behind the gate.
    pub(crate) async fn keys(&mut self, gate: &Gate) -> Result<(Vec<String>, Mode), QuestionError> {
        let mode = match self.operator.as_deref() {
            None | Some("" | "or") => Mode::Any,
            Some("and") => Mode::All,
            Some(_) => return Err(schema(606, "operator in body should be one of [and or]")),
        };
        let mut keys = Vec::new();
        if let Some(hash) = given(self.hash.as_deref()) {
            keys.push(hash_key(hash)?);
        }
        if let Some(key) = self.public_key.take() {
            keys.push(gate.run(move || key.search_key()).await??);
        }
        for name in [&self.email, &self.subject] {
            if let Some(name) = given(name.as_deref()) {
                keys.push(bounded(name)?.to_owned());
            }
        }
        if let Some(issuer) = given(self.issuer.as_deref()) {
            keys.push(entry::issuer_key(bounded(issuer)?));
        }
        if let Some(signature) = &self.signature {
            keys.push(entry::signature_key(&signature.0));
        }
        Ok((keys, mode))
    }
}

impl PublicKey {
    fn search_key(&self) -> Result<String, QuestionError> {
        if given(self.url.as_deref()).is_some() {
            return Err(QuestionError::Url);
        }
        let Some(name) = self.format.as_deref() else {
            return Err(schema(602, "publicKey.format in body is required"));
        };
        let format = Format::from_name(name);
        let format = format.ok_or_else(|| QuestionError::Format {
            found: name.to_owned(),
        })?;
        let found = format.search_key(&self.content.0);
        found.map_err(|error| QuestionError::Key(error.to_string()))
    }
}

fn formats() -> String {
    Format::ALL.map(Format::name).join(" ")
}

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn bounded(name: &str) -> Result<&str, QuestionError> {
    if name.chars().count() <= MAX_NAME {
        return Ok(name);
    }
    Err(schema(
        603,
        "a name in body should be at most 512 chars long",
    ))
}

/// The algorithm may be left out; the length tells it.
fn hash_key(text: &str) -> Result<String, QuestionError> {
    let (algorithm, digits) = match text.split_once(':') {
        Some((algorithm, digits)) => (Some(algorithm), digits),
        None => (None, text),
    };
    let by_length = match digits.len() {
        40 => "sha1",
        64 => "sha256",
        96 => "sha384",
        128 => "sha512",
        _ => "",
    };
    let fits = algorithm.is_none_or(|algorithm| algorithm == by_length)
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !by_length.is_empty();
    if fits {
        return Ok(format!("{by_length}:{digits}"));
    }
    Err(schema(
        605,
        "hash in body should be a hexadecimal SHA-1, SHA-256, SHA-384 or SHA-512 digest, with or without its algorithm and a colon before it",
    ))
}

fn schema(code: u16, message: &str) -> QuestionError {
    QuestionError::Schema {
        code,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keys(text: &str) -> Result<(Vec<String>, Mode), QuestionError> {
        let mut question: Question = serde_json::from_str(text).unwrap();
        question.keys(&Gate::new()).await
    }

    #[tokio::test]
    async fn a_key_waits_for_its_turn_and_other_things_do_not() {
        let ask = async |text: &str| {
            let mut question: Question = serde_json::from_str(text).unwrap();
            question.keys(&Gate::closed()).await
        };
        let busy = Err(QuestionError::Turned(Turned::Busy));
        assert_eq!(
            ask(r#"{"publicKey":{"format":"pgp","content":"AAAA"}}"#).await,
            busy
        );
        assert!(ask(r#"{"email":"a@b.c"}"#).await.is_ok());
    }

    #[tokio::test]
    async fn questions_become_keys() {
        let hash = "AB".repeat(32);
        for (text, expected, mode) in [
            ("{}".to_owned(), vec![], Mode::Any),
            (
                format!(r#"{{"hash":"{hash}"}}"#),
                vec![format!("sha256:{hash}")],
                Mode::Any,
            ),
            (
                format!(
                    r#"{{"hash":"sha256:{hash}","email":"a@b.c","subject":"","operator":"and"}}"#
                ),
                vec![format!("sha256:{hash}"), "a@b.c".to_owned()],
                Mode::All,
            ),
            (
                r#"{"issuer":"https://i","operator":"or"}"#.to_owned(),
                vec!["issuer:https://i".to_owned()],
                Mode::Any,
            ),
        ] {
            assert_eq!(keys(&text).await, Ok((expected, mode)), "{text}");
        }
    }

    #[tokio::test]
    async fn questions_that_make_no_sense_are_refused() {
        for (text, code) in [
            (r#"{"hash":"sha256:ab"}"#, 605),
            (&format!(r#"{{"hash":"sha1:{}"}}"#, "ab".repeat(32)), 605),
            (&format!(r#"{{"hash":"{}"}}"#, "zz".repeat(32)), 605),
            (r#"{"operator":"xor"}"#, 606),
            (r#"{"publicKey":{"content":"AAAA"}}"#, 602),
            (&format!(r#"{{"subject":"{}"}}"#, "x".repeat(513)), 603),
        ] {
            assert!(
                matches!(keys(text).await, Err(QuestionError::Schema { code: found, .. }) if found == code),
                "{text}"
            );
        }
        let key = async |members: &str| {
            let text = format!(r#"{{"publicKey":{{{members}}}}}"#);
            keys(&text).await.unwrap_err()
        };
        assert_eq!(
            key(r#""format":"morse""#).await,
            QuestionError::Format {
                found: "morse".to_owned()
            }
        );
        assert_eq!(
            key(r#""format":"x509","url":"http://localhost/key""#).await,
            QuestionError::Url
        );
        assert!(matches!(
            key(r#""format":"x509","content":"AAAA""#).await,
            QuestionError::Key(_)
        ));
    }
}
