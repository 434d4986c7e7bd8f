//! Type `uri`: whatever the issuer's own domain calls by a URI.

use oidc::Claims;
use pki::{FulcioExtensions, SubjectName};

use super::address::Address;
use super::{IdentityError, Principal, domain};

#[derive(Debug)]
pub(super) struct Uri {
    domain: Address,
}

impl Uri {
    /// `subject_domain` has a scheme, and both scheme and domain are the issuer's.
    pub(super) fn new(subject_domain: Option<&str>, issuer: &Address) -> Result<Self, String> {
        let text = subject_domain.ok_or("subject-domain is missing")?;
        let domain = Address::parse(text).ok_or_else(|| {
            format!("subject-domain {text:?} has no scheme: expected https:// and a host")
        })?;
        if domain.scheme() != issuer.scheme() {
            return Err(format!(
                "subject-domain {text:?} has not the issuer's scheme {:?}",
                issuer.scheme()
            ));
        }
        domain::check(domain.host_name(), issuer)?;
        Ok(Self { domain })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let subject = claims.text("sub")?;
        let address = Address::parse(subject)
            .filter(|_| !domain::looks_like_email(subject))
            .ok_or(IdentityError::UnfitClaim("sub"))?;
        if (address.scheme(), address.host_name())
            != (self.domain.scheme(), self.domain.host_name())
        {
            return Err(IdentityError::ForeignSubject {
                expected: self.domain.to_string(),
            });
        }
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(claims.issuer()?);
        Ok(Principal::new(
            SubjectName::Uri(address.to_string()),
            extensions,
            subject,
        ))
    }
}
