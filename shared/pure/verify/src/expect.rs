//! Step 6: is it who we expect?

use std::fmt;

use keys::PublicKey;
use pki::{Certificate, Field, FulcioExtensions, SubjectName};
use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::bind::Bound;
use crate::error::VerifyError;
use crate::leaf::TrustedLeaf;

/// The largest pattern, compiled.
const MAX_PATTERN: usize = 1 << 20;

/// Whom the caller expects. There is no "anybody".
#[derive(Debug, Clone)]
pub enum Expect {
    /// Somebody whom an identity provider vouched for.
    Identity(IdentityPolicy),
    /// One of several such people.
    AnyOf(Identities),
    /// One of several such people, for whom a certificate authority of one's own vouches, which no CT log need see: a weaker expectation. Nobody can see then
    /// which certificates the authority gives. The provider is empty where the certificate names none.
    UnwatchedCertificate(Identities),
    /// The holder of this key.
    Key(PublicKey),
    /// The holder of this key, and no log need know of the signature: a weaker expectation. Nobody can see that the key was used, and when.
    UnloggedKey(PublicKey),
    /// The holder of this very certificate: a signer that checks its own work.
    ExactCertificate(Certificate),
}

/// An identity: who, by whose word, and what else the certificate must say.
#[derive(Debug, Clone)]
pub struct IdentityPolicy {
    /// The subject.
    pub subject: Matcher,
    /// The identity provider.
    pub issuer: Matcher,
    /// Further extensions.
    pub extensions: Vec<(Field, Matcher)>,
}

/// Several identities of which one must have signed; there is at least one.
#[derive(Debug, Clone)]
pub struct Identities(Vec<IdentityPolicy>);

impl Identities {
    /// None for an empty list: it would be nobody, or everybody.
    pub fn new(identities: Vec<IdentityPolicy>) -> Option<Self> {
        (!identities.is_empty()).then_some(Self(identities))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &IdentityPolicy> {
        self.0.iter()
    }

    /// Is it one of them? If not, how the nearest one differs.
    fn check(&self, identity: &Identity) -> Result<(), VerifyError> {
        let mut nearest: Option<VerifyError> = None;
        for policy in &self.0 {
            match policy.check(identity) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let nearer = nearest
                        .as_ref()
                        .is_none_or(|found| error.nearness() > found.nearness());
                    if nearer {
                        nearest = Some(error);
                    }
                }
            }
        }
        Err(match nearest {
            // Where nobody comes nearer than another, all of them are named.
            Some(VerifyError::Subjects {
                found,
                issuer_matches,
                ..
            }) if self.0.len() > 1 => VerifyError::Subjects {
                found,
                expected: self.subjects(issuer_matches, identity),
                issuer_matches,
            },
            Some(error) => error,
            None => VerifyError::NoIdentity("identity that is expected"),
        })
    }

    fn subjects(&self, issuer_matches: bool, identity: &Identity) -> String {
        const NAMED: usize = 5;
        let near: Vec<String> = self
            .0
            .iter()
            .filter(|policy| policy.issuer.matches(&identity.issuer) == issuer_matches)
            .map(|policy| policy.subject.expected_for(identity.subject.value()))
            .collect();
        let mut text = near
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" or ");
        if near.len() > NAMED {
            text.push_str(" or one of ");
            text.push_str(&near.len().saturating_sub(NAMED).to_string());
            text.push_str(" more");
        }
        text
    }
}

/// What a value must be.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Exactly this.
    Exact(String),
    /// All of it must match.
    Pattern(Regex),
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, Error)]
#[error("{pattern:?} is no regular expression: {why}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

impl Matcher {
    /// A regular expression that the whole value must match: it is anchored at both ends, whatever it says itself.
    pub fn pattern(pattern: &str) -> Result<Self, PatternError> {
        let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        // By itself first: `a)|(?:b` would else end our group and be anchored by halves.
        build(pattern)
            .and_then(|_alone| build(&format!("^(?:{pattern})$")))
            .map(Self::Pattern)
            .map_err(|error| PatternError {
                pattern: pattern.to_owned(),
                why: error.to_string(),
            })
    }

    /// Does the value fit?
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == value,
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }

    /// What was expected in place of a value that does not fit. Whoever wrote a pattern of which a part of the value would do is told why it is not enough.
    fn expected_for(&self, value: &str) -> String {
        let mut text = self.to_string();
        if let Self::Pattern(pattern) = self
            && let Some(part) = pattern.as_str().strip_prefix("^(?:")
            && let Some(part) = part.strip_suffix(")$")
            && let Ok(part) = RegexBuilder::new(part).size_limit(MAX_PATTERN).build()
            && part.is_match(value)
        {
            text.push_str(" (anchored: it must match the whole, not a part)");
        }
        text
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(expected) => formatter.write_str(expected),
            Self::Pattern(pattern) => write!(formatter, "a match of {pattern}"),
        }
    }
}

/// Who signed, out of a certificate that holds.
#[derive(Debug, Clone)]
pub struct Identity {
    subject: SubjectName,
    issuer: String,
    extensions: FulcioExtensions,
    certificate: Certificate,
}

impl Identity {
    /// The subject.
    pub const fn subject(&self) -> &SubjectName {
        &self.subject
    }

    /// The identity provider.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What else the identity token said.
    pub const fn extensions(&self) -> &FulcioExtensions {
        &self.extensions
    }

    /// The certificate.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// The proof that the entries are bound is asked for although nothing in it is read: without it there is no identity.
pub(crate) fn check(
    leaf: &TrustedLeaf,
    expect: &Expect,
    _bound: &Bound,
) -> Result<Option<Identity>, VerifyError> {
    let Some(certificate) = leaf.certificate() else {
        return Ok(None);
    };
    let identity = identity(certificate, expect)?;
    match expect {
        Expect::Key(_) | Expect::UnloggedKey(_) => {}
        Expect::ExactCertificate(expected) if expected == certificate => {}
        Expect::ExactCertificate(_) => return Err(VerifyError::OtherCertificate),
        Expect::Identity(policy) => policy.check(&identity)?,
        Expect::AnyOf(identities) | Expect::UnwatchedCertificate(identities) => {
            identities.check(&identity)?;
        }
    }
    Ok(Some(identity))
}

fn identity(certificate: &Certificate, expect: &Expect) -> Result<Identity, VerifyError> {
    let extensions = FulcioExtensions::from_certificate(certificate)
        .map_err(|_| VerifyError::NoIdentity("readable Fulcio extensions"))?;
    // Fulcio writes exactly one name. With two it would not be clear who is meant.
    let [subject] = certificate.subject_names() else {
        return Err(VerifyError::NoIdentity("single subject alternative name"));
    };
    if matches!(subject, SubjectName::Other(_)) {
        return Err(VerifyError::NoIdentity("subject of a known kind"));
    }
    let issuer = match (extensions.issuer(), expect) {
        (Some(issuer), _) => issuer.to_owned(),
        // Only Fulcio and its like write down whose word they took.
        (None, Expect::UnwatchedCertificate(_)) => String::new(),
        (None, _) => return Err(VerifyError::NoIdentity("issuer")),
    };
    Ok(Identity {
        subject: subject.clone(),
        issuer,
        extensions,
        certificate: certificate.clone(),
    })
}

impl IdentityPolicy {
    /// Is it this identity? If not, how it differs.
    pub fn check(&self, identity: &Identity) -> Result<(), VerifyError> {
        let issuer_matches = self.issuer.matches(&identity.issuer);
        if !self.subject.matches(identity.subject.value()) {
            return Err(VerifyError::Subjects {
                found: identity.subject.to_string(),
                expected: self.subject.expected_for(identity.subject.value()),
                issuer_matches,
            });
        }
        if !issuer_matches {
            return Err(VerifyError::Issuer {
                subject: identity.subject.to_string(),
                found: identity.issuer.clone(),
                expected: self.issuer.expected_for(&identity.issuer),
            });
        }
        for (field, matcher) in &self.extensions {
            let found = identity.extensions.get(*field);
            if !found.is_some_and(|value| matcher.matches(value)) {
                return Err(VerifyError::Extension {
                    field: field.name(),
                    found: found.map(str::to_owned),
                    expected: found
                        .map_or_else(|| matcher.to_string(), |value| matcher.expected_for(value)),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_no_list() {
        assert!(Identities::new(Vec::new()).is_none());
    }

    #[test]
    fn a_pattern_cannot_leave_its_anchors() {
        assert!(Matcher::pattern("a)|(?:b").is_err());
        let pattern = Matcher::pattern("a|b").unwrap();
        assert!(pattern.matches("b") && !pattern.matches("ba"));
    }

    #[test]
    fn a_part_that_would_match_is_said_not_to_be_enough() {
        let pattern = Matcher::pattern("@example.org").unwrap();
        let told = |value: &str| pattern.expected_for(value);
        assert_eq!(
            told("a@example.org"),
            "a match of ^(?:@example.org)$ (anchored: it must match the whole, not a part)"
        );
        assert_eq!(told("a@b.c"), "a match of ^(?:@example.org)$");
        let exact = Matcher::Exact("@example.org".into());
        assert_eq!(exact.expected_for("a@example.org"), "@example.org");
    }
}
