//! Type `email`: a person, by mail address.

use oidc::{ClaimPath, Claims, TokenError};
use pki::{FulcioExtensions, SubjectName};

use super::{IdentityError, Principal};

#[derive(Debug)]
pub(super) struct Email {
    /// Where the token names the provider behind its issuer.
    issuer_claim: Option<ClaimPath>,
    skip_verification: bool,
}

impl Email {
    pub(super) fn new(issuer_claim: Option<&str>, skip_verification: bool) -> Result<Self, String> {
        let issuer_claim = issuer_claim.map(ClaimPath::parse).transpose();
        Ok(Self {
            issuer_claim: issuer_claim.map_err(|error| format!("issuer-claim: {error}"))?,
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
        extensions.set_issuer(&self.issuer(claims)?);
        Ok(Principal::new(
            SubjectName::Email(address.to_owned()),
            extensions,
            address,
        ))
    }

    fn issuer(&self, claims: &Claims) -> Result<String, TokenError> {
        let Some(path) = &self.issuer_claim else {
            return claims.issuer().map(str::to_owned);
        };
        path.written(claims)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| TokenError::MissingClaim(path.to_string()))
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
    fn only_paths_to_one_place_are_taken() {
        for bad in ["federated_claims", "$", "$.", "$..a", "$.*"] {
            assert!(Email::new(Some(bad), false).is_err(), "{bad}");
        }
        assert!(Email::new(Some("$.federated_claims.connector_id"), false).is_ok());
    }
}
