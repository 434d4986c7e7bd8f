//! Which subjects an issuer may speak for: those of its own domain.

use super::address::Address;

/// Upstream's rule for types `uri` and `username`: the same host, or the same last two labels.
pub(super) fn check(subject_host: &str, issuer: &Address) -> Result<(), String> {
    let issuer_host = issuer.host_name();
    if subject_host == issuer_host {
        return Ok(());
    }
    let last_two = |host: &str| {
        let mut labels = host.rsplit('.');
        let (top, second) = (labels.next()?.to_owned(), labels.next()?.to_owned());
        (!top.is_empty() && !second.is_empty()).then_some((second, top))
    };
    match (last_two(subject_host), last_two(issuer_host)) {
        (Some(subject), Some(issuer)) if subject == issuer => Ok(()),
        _ => Err(format!(
            "subject-domain {subject_host:?} is not of the issuer's domain {issuer_host:?}: their last two labels must be the same"
        )),
    }
}

/// Might a person or program take this subject for a mail address? Types other than `email` must not issue such names.
pub(super) fn looks_like_email(subject: &str) -> bool {
    subject.rsplit_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && !host.contains(['/', ':', '?', '#'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_speaks_for_its_own_domain() {
        let issuer = |host: &str| Address::parse(&format!("https://{host}/auth")).unwrap();
        for (subject, of, expected) in [
            ("example.com", "accounts.example.com", true),
            ("users.example.com", "accounts.example.com", true),
            ("accounts.example.com", "accounts.example.com:8443", true),
            ("localhost", "localhost", true),
            ("example.org", "accounts.example.com", false),
            ("com", "example.com", false),
            ("other.com", "example.com", false),
            (".com", ".example.com", false),
        ] {
            assert_eq!(
                check(subject, &issuer(of)).is_ok(),
                expected,
                "{subject} {of}"
            );
        }
    }

    #[test]
    fn mail_addresses_are_noticed() {
        for email in [
            "a@b",
            "a b@example.com",
            "\"x\"@example.com",
            "https://x/y@b",
        ] {
            assert!(looks_like_email(email), "{email}");
        }
        for other in ["", "@", "a", "https://example.com/@user/x", "repo:x@y:z"] {
            assert!(!looks_like_email(other), "{other}");
        }
    }
}
