//! Type `username`: a name that means something in the issuer's domain only. The certificate has it as an otherName, `name!domain`.

use oidc::Claims;
use pki::{FulcioExtensions, SubjectName};

use super::address::Address;
use super::{IdentityError, Principal, domain};

#[derive(Debug)]
pub(super) struct Username {
    domain: String,
}

impl Username {
    /// `subject_domain` is a host without scheme, of the issuer's domain.
    pub(super) fn new(subject_domain: Option<&str>, issuer: &Address) -> Result<Self, String> {
        let text = subject_domain.ok_or("subject-domain is missing")?;
        let is_host = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_host {
            return Err(format!(
                "subject-domain {text:?} is no host name: expected it without scheme or port"
            ));
        }
        domain::check(text, issuer)?;
        Ok(Self {
            domain: text.to_owned(),
        })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let name = claims.text("sub")?;
        // The mark between name and domain.
        let plain = !name.contains('!') && !name.chars().any(char::is_control);
        if !plain || domain::looks_like_email(name) {
            return Err(IdentityError::UnfitClaim("sub"));
        }
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(claims.issuer()?);
        Ok(Principal::new(
            SubjectName::UserName(format!("{name}!{}", self.domain)),
            extensions,
            name,
        ))
    }
}
