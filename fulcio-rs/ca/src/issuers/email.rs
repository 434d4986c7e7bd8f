//! Type `email`: a person, by mail address.

use oidc::{Claims, TokenError};
use pki::{FulcioExtensions, SubjectName};
use serde_json::Value;

use super::{IdentityError, Principal};

#[derive(Debug)]
pub(super) struct Email {
    /// Where the token names the provider behind its issuer, member by member.
    issuer_claim: Option<Vec<String>>,
    skip_verification: bool,
}

impl Email {
    /// `issuer_claim` is a JSONPath of plain members, `$.a.b`, which is all that upstream's users write.
    pub(super) fn new(issuer_claim: Option<&str>, skip_verification: bool) -> Result<Self, String> {
        let issuer_claim = match issuer_claim {
            None | Some("") => None,
            Some(path) => {
                let members: Vec<String> = path
                    .strip_prefix("$.")
                    .unwrap_or_default()
                    .split('.')
                    .map(str::to_owned)
                    .collect();
                let plain = |member: &String| {
                    !member.is_empty()
                        && member
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
                };
                if !members.iter().all(plain) {
                    return Err(format!(
                        "issuer-claim {path:?} is not of the form $.name.name"
                    ));
                }
                Some(members)
            }
        };
        Ok(Self {
            issuer_claim,
            skip_verification,
        })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let address = claims.text("email")?;
        if !self.skip_verification && !claims.is_email_verified() {
            return Err(IdentityError::EmailNotVerified);
        }
        if !is_address(address) {
            return Err(IdentityError::UnfitClaim("email"));
        }
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(self.issuer(claims)?);
        Ok(Principal {
            subject: SubjectName::Email(address.to_owned()),
            extensions,
            proofs: vec![address.to_owned()],
        })
    }

    fn issuer<'a>(&self, claims: &'a Claims) -> Result<&'a str, TokenError> {
        let Some(path) = &self.issuer_claim else {
            return claims.issuer();
        };
        let missing = || TokenError::MissingClaim(path.join("."));
        let (first, rest) = path.split_first().ok_or_else(missing)?;
        let mut value = claims.get(first);
        for member in rest {
            value = value.and_then(|value| value.get(member));
        }
        value
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(missing)
    }
}

/// One @ with something on both sides and nothing that would end or split the address.
fn is_address(text: &str) -> bool {
    let clean = text.chars().all(|character| {
        character.is_ascii_graphic() && !['<', '>', ',', ';', '"', '(', ')'].contains(&character)
    });
    clean
        && text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_addresses() {
        for good in ["a@b", "first.last+tag@sub.example.com"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\n",
            "<a@b>",
            "grüße@example.com",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn only_plain_paths_are_taken() {
        for bad in ["federated_claims", "$", "$.", "$..a", "$.a[0]", "$.*"] {
            assert!(Email::new(Some(bad), false).is_err(), "{bad}");
        }
        assert!(Email::new(Some("$.federated_claims.connector_id"), false).is_ok());
    }
}
