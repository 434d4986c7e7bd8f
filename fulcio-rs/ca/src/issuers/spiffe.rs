//! Type `spiffe`: a workload, by its SPIFFE ID (SPIFFE-ID specification, sections 2 and 2.3).

use oidc::Claims;
use pki::{FulcioExtensions, SubjectName};

use super::{IdentityError, Principal};

/// SPIFFE-ID 2.3: implementations must take at least this many bytes, and may stop there.
const MAX_ID: usize = 2048;

#[derive(Debug)]
pub(super) struct Spiffe {
    trust_domain: String,
}

impl Spiffe {
    /// `trust_domain` is a name, or the ID of something in it.
    pub(super) fn new(trust_domain: Option<&str>) -> Result<Self, String> {
        let text = trust_domain.ok_or("spiffe-trust-domain is missing")?;
        let name = if text.contains(":/") {
            trust_domain_of(text)
        } else {
            is_trust_domain(text).then_some(text)
        };
        let name =
            name.ok_or_else(|| format!("spiffe-trust-domain {text:?} is no trust domain"))?;
        Ok(Self {
            trust_domain: name.to_owned(),
        })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let id = claims.text("sub")?;
        let domain = trust_domain_of(id).ok_or(IdentityError::UnfitClaim("sub"))?;
        if domain != self.trust_domain {
            return Err(IdentityError::ForeignSubject {
                expected: format!("spiffe://{}", self.trust_domain),
            });
        }
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(claims.issuer()?);
        Ok(Principal::new(
            SubjectName::Uri(id.to_owned()),
            extensions,
            id,
        ))
    }
}

/// The trust domain of a well-formed ID.
fn trust_domain_of(id: &str) -> Option<&str> {
    let rest = id
        .strip_prefix("spiffe://")
        .filter(|_| id.len() <= MAX_ID)?;
    let (domain, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_segment = |segment: &str| {
        !["", ".", ".."].contains(&segment)
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let path_fits = path.is_empty() || path.split('/').skip(1).all(is_segment);
    (is_trust_domain(domain) && path_fits).then_some(domain)
}

fn is_trust_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed() {
        for (id, domain) in [
            ("spiffe://example.com/ns/a/sa/b_c", Some("example.com")),
            ("spiffe://example.com", Some("example.com")),
            ("spiffe://example.com/", None),
            ("spiffe://example.com//a", None),
            ("spiffe://example.com/a/../b", None),
            ("spiffe://example.com/a%2fb", None),
            ("spiffe://EXAMPLE.com/a", None),
            ("spiffe://example.com:80/a", None),
            ("spiffe://user@example.com/a", None),
            ("SPIFFE://example.com/a", None),
            ("https://example.com/a", None),
            ("spiffe://example.com/a?b", None),
            ("spiffe:///a", None),
        ] {
            assert_eq!(trust_domain_of(id), domain, "{id}");
        }
        assert!(Spiffe::new(Some("example.com")).is_ok());
        assert!(Spiffe::new(Some("spiffe://example.com/x")).is_ok());
        for bad in [
            None,
            Some(""),
            Some("Example.com"),
            Some("a/b"),
            Some("https://a"),
        ] {
            assert!(Spiffe::new(bad).is_err(), "{bad:?}");
        }
    }
}
