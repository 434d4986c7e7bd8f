//! Fulcio's extensions 1.3.6.1.4.1.57264.1.N: what the identity token said, one table for both ways.

use std::collections::BTreeMap;

use const_oid::ObjectIdentifier;
use der::asn1::Utf8StringRef;
use der::{Decode, Encode};

use crate::cert::Certificate;

/// The longest value that is written or believed.
pub const MAX_VALUE: usize = 4096;

/// How a value stands in its extension.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// The text itself: the first extensions of 2022.
    Raw,
    /// A DER UTF8String.
    Utf8,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $encoding:ident, $name:literal;)*) => {
        /// One extension of Fulcio, by its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field {
            $($(#[$doc])* $variant,)*
        }

        /// The table: number, encoding and the name that JSON output gives it, in the order in which Fulcio writes them.
        const ROWS: &[(Field, u32, Encoding, &str)] = &[$((Field::$variant, $number, Encoding::$encoding, $name),)*];
    };
}

fields! {
    /// The token's issuer, as raw text (deprecated).
    IssuerV1 = 1, Raw, "issuerV1";
    /// GitHub: the event that started the workflow (deprecated).
    GithubWorkflowTrigger = 2, Raw, "githubWorkflowTrigger";
    /// GitHub: the commit (deprecated).
    GithubWorkflowSha = 3, Raw, "githubWorkflowSha";
    /// GitHub: the workflow's name (deprecated).
    GithubWorkflowName = 4, Raw, "githubWorkflowName";
    /// GitHub: owner/repository (deprecated).
    GithubWorkflowRepository = 5, Raw, "githubWorkflowRepository";
    /// GitHub: the git ref (deprecated).
    GithubWorkflowRef = 6, Raw, "githubWorkflowRef";
    /// The token's issuer.
    Issuer = 8, Utf8, "issuer";
    /// What ran the build: the reusable workflow's address.
    BuildSignerUri = 9, Utf8, "buildSignerURI";
    /// Its commit.
    BuildSignerDigest = 10, Utf8, "buildSignerDigest";
    /// Where it ran: hosted or self-hosted.
    RunnerEnvironment = 11, Utf8, "runnerEnvironment";
    /// The repository that was built.
    SourceRepositoryUri = 12, Utf8, "sourceRepositoryURI";
    /// Its commit.
    SourceRepositoryDigest = 13, Utf8, "sourceRepositoryDigest";
    /// Its git ref.
    SourceRepositoryRef = 14, Utf8, "sourceRepositoryRef";
    /// Its immutable number.
    SourceRepositoryIdentifier = 15, Utf8, "sourceRepositoryIdentifier";
    /// Its owner.
    SourceRepositoryOwnerUri = 16, Utf8, "sourceRepositoryOwnerURI";
    /// Its owner's immutable number.
    SourceRepositoryOwnerIdentifier = 17, Utf8, "sourceRepositoryOwnerIdentifier";
    /// The build's top-level instructions.
    BuildConfigUri = 18, Utf8, "buildConfigURI";
    /// Their commit.
    BuildConfigDigest = 19, Utf8, "buildConfigDigest";
    /// The event that started the build.
    BuildTrigger = 20, Utf8, "buildTrigger";
    /// The run itself.
    RunInvocationUri = 21, Utf8, "runInvocationURI";
    /// Was the repository public when this was signed?
    SourceRepositoryVisibilityAtSigning = 22, Utf8, "sourceRepositoryVisibilityAtSigning";
    /// The deployment environment.
    DeploymentEnvironment = 23, Utf8, "deploymentEnvironment";
    /// The token's `sub`, as it is.
    TokenSubject = 24, Utf8, "tokenSubject";
}

impl Field {
    /// All of them in Fulcio's order.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.0)
    }

    fn row(self) -> Option<&'static (Self, u32, Encoding, &'static str)> {
        ROWS.iter().find(|row| row.0 == self)
    }

    /// The last arc N of 1.3.6.1.4.1.57264.1.N.
    pub fn number(self) -> u32 {
        self.row().map_or(0, |row| row.1)
    }

    /// The field's name in JSON output.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.3)
    }

    /// The field's key in the templates of Fulcio's configuration: the name's words in small letters with hyphens (`build-signer-uri`).
    pub fn setting_name(self) -> String {
        let mut key = String::new();
        let mut previous_is_small = false;
        for letter in self.name().chars() {
            if letter.is_ascii_uppercase() && previous_is_small {
                key.push('-');
            }
            previous_is_small = letter.is_ascii_lowercase();
            key.push(letter.to_ascii_lowercase());
        }
        key
    }

    /// The extension's object identifier.
    pub fn oid(self) -> ObjectIdentifier {
        let base = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
        base.push_arc(self.number()).unwrap_or(base)
    }
}

/// The values of a certificate's Fulcio extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FulcioExtensions(BTreeMap<Field, String>);

impl FulcioExtensions {
    /// Reads them from a certificate; a value that is not text of the right encoding is an error, not an absence.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, der::Error> {
        let mut values = BTreeMap::new();
        for (field, _, encoding, _) in ROWS {
            let Some((_, value)) = certificate.extension(field.oid()) else {
                continue;
            };
            let text = match encoding {
                Encoding::Raw => std::str::from_utf8(value).map_err(|_| der::ErrorKind::Failed)?,
                Encoding::Utf8 => Utf8StringRef::from_der(value)?.as_str(),
            };
            if text.len() > MAX_VALUE {
                return Err(der::ErrorKind::Failed.into());
            }
            values.insert(*field, text.to_owned());
        }
        Ok(Self(values))
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// Sets a field; an empty value takes it away, for Fulcio writes no empty extension.
    pub fn set(&mut self, field: Field, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            self.0.remove(&field);
        } else {
            self.0.insert(field, value);
        }
    }

    /// Sets the issuer in both of its extensions, as Fulcio does.
    pub fn set_issuer(&mut self, issuer: &str) {
        self.set(Field::IssuerV1, issuer);
        self.set(Field::Issuer, issuer);
    }

    /// The token's issuer: extension .8, or .1 in certificates from before it existed.
    pub fn issuer(&self) -> Option<&str> {
        self.get(Field::Issuer)
            .or_else(|| self.get(Field::IssuerV1))
    }

    /// The fields that have a value, in Fulcio's order.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &str)> {
        self.0.iter().map(|(field, value)| (*field, value.as_str()))
    }

    /// Object identifier and value of each extension, in Fulcio's order.
    pub fn to_extensions(&self) -> Result<Vec<(ObjectIdentifier, Vec<u8>)>, der::Error> {
        self.iter()
            .map(|(field, value)| {
                if value.len() > MAX_VALUE {
                    return Err(der::ErrorKind::Failed.into());
                }
                let raw = field.row().is_some_and(|row| row.2 == Encoding::Raw);
                let bytes = if raw {
                    value.as_bytes().to_vec()
                } else {
                    Utf8StringRef::new(value)?.to_der()?
                };
                Ok((field.oid(), bytes))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out from sigstore/fulcio `pkg/certificate/extensions.go`.
    #[test]
    fn keys_of_templates_are_upstreams() {
        let keys: Vec<(u32, String)> = Field::all()
            .map(|field| (field.number(), field.setting_name()))
            .collect();
        let expected = [
            (2, "github-workflow-trigger"),
            (3, "github-workflow-sha"),
            (4, "github-workflow-name"),
            (5, "github-workflow-repository"),
            (6, "github-workflow-ref"),
            (9, "build-signer-uri"),
            (10, "build-signer-digest"),
            (11, "runner-environment"),
            (12, "source-repository-uri"),
            (13, "source-repository-digest"),
            (14, "source-repository-ref"),
            (15, "source-repository-identifier"),
            (16, "source-repository-owner-uri"),
            (17, "source-repository-owner-identifier"),
            (18, "build-config-uri"),
            (19, "build-config-digest"),
            (20, "build-trigger"),
            (21, "run-invocation-uri"),
            (22, "source-repository-visibility-at-signing"),
            (23, "deployment-environment"),
        ];
        for (number, key) in expected {
            assert!(keys.contains(&(number, key.to_owned())), "{number} {key}");
        }
        assert_eq!(keys.len(), 23, "1 to 6 and 8 to 24");
    }
}
