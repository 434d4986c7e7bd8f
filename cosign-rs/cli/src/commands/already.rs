//! What is signed already, and by whom: `--if-missing` looks before anybody signs in, where it can, and always before there is a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bundle::{Bundle, Signer};
use pki::FulcioExtensions;
use trust::TrustedRoot;
use verify::{Artifact, Expect, IdentityPolicy};

use crate::failure::in_line;

/// What a bundle is to whoever is about to sign.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum There {
    /// The signature that would be made.
    Signed,
    /// It says that it is by the same signer, and is not about this artifact, or does not hold any more.
    Outdated,
    /// It is by this signer, who is another one.
    Others(String),
}

/// Looks at a bundle.
pub(super) fn judge(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    own: Option<&Expect>,
) -> There {
    match own {
        Some(own) if verify::bundle(bundle, artifact, root, own).is_ok() => There::Signed,
        Some(own) if claims(bundle, own) => There::Outdated,
        _ => There::Others(signer(bundle)),
    }
}

/// Who made all of these bundles, each about its artifact, if that is one and the same identity.
pub(super) fn one_signer<'a>(
    bundles: impl IntoIterator<Item = (&'a Bundle, Artifact)>,
    root: &TrustedRoot,
) -> Option<String> {
    let mut found: Option<String> = None;
    for (bundle, artifact) in bundles {
        let Signer::Certificate { leaf, .. } = &bundle.signer else {
            return None;
        };
        let exactly = Expect::ExactCertificate(leaf.clone());
        verify::bundle(bundle, &artifact, root, &exactly).ok()?;
        let who = signer(bundle);
        if found.as_ref().is_some_and(|found| *found != who) {
            return None;
        }
        found = Some(who);
    }
    found
}

/// Whether it says that it is by this signer; nothing of that is verified.
fn claims(bundle: &Bundle, own: &Expect) -> bool {
    let named = |policy: &IdentityPolicy| match names(&bundle.signer) {
        Some((subject, issuer)) => {
            policy.subject.matches(&subject) && policy.issuer.matches(&issuer)
        }
        None => false,
    };
    match (own, &bundle.signer) {
        (Expect::Identity(policy), _) => named(policy),
        (Expect::AnyOf(policies), _) => policies.iter().any(named),
        (Expect::Key(key) | Expect::UnloggedKey(key), Signer::Key { hint }) => {
            *hint == STANDARD.encode(key.key_id())
        }
        // With a certificate for the same key.
        (Expect::Key(key) | Expect::UnloggedKey(key), Signer::Certificate { leaf, .. }) => {
            leaf.public_key() == key
        }
        _ => false,
    }
}

/// Subject and issuer.
fn names(signer: &Signer) -> Option<(String, String)> {
    let Signer::Certificate { leaf, .. } = signer else {
        return None;
    };
    let issuer = FulcioExtensions::from_certificate(leaf).ok()?;
    let subject = leaf.subject_names().first()?.value().to_owned();
    Some((subject, issuer.issuer()?.to_owned()))
}

/// Who it says that it is by.
fn signer(bundle: &Bundle) -> String {
    match (&bundle.signer, names(&bundle.signer)) {
        (_, Some((subject, issuer))) => {
            format!("{}, by the word of {}", in_line(&subject), in_line(&issuer))
        }
        (Signer::Key { hint }, None) if hint.is_empty() => "a key that it does not name".to_owned(),
        (Signer::Key { hint }, None) => format!("the key {}", in_line(hint)),
        (Signer::Certificate { .. }, None) => "a certificate without an identity".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use keys::{Algorithm, Digest, HashAlgorithm};
    use testkit::Sigstore;
    use verify::Matcher;

    use super::*;

    fn identity(subject: &str) -> Expect {
        Expect::Identity(IdentityPolicy {
            subject: Matcher::Exact(subject.to_owned()),
            issuer: Matcher::Exact(Sigstore::ISSUER.to_owned()),
            extensions: Vec::new(),
        })
    }

    #[test]
    fn ones_own_is_told_from_others() {
        let sigstore = Sigstore::default();
        let root = sigstore.root();
        let bundle = sigstore.sign(b"file").bundle;
        let (file, other) = (
            Artifact::from_bytes(b"file"),
            Artifact::from_bytes(b"other"),
        );
        let own = identity(Sigstore::SUBJECT);
        let judged = |artifact, own: Option<&Expect>| judge(&bundle, artifact, &root, own);
        assert_eq!(judged(&file, Some(&own)), There::Signed);
        assert_eq!(judged(&other, Some(&own)), There::Outdated);
        let who = "alice@example.org, by the word of https://issuer.example.org";
        let others = || There::Others(who.to_owned());
        assert_eq!(judged(&file, Some(&identity("bob@example.org"))), others());
        assert_eq!(judged(&file, None), others());
        let key = signer::Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let key = Expect::Key(key.public_key().clone());
        assert_eq!(judged(&file, Some(&key)), others());
    }

    #[test]
    fn one_signer_is_one_of_bundles_that_hold() {
        let sigstore = Sigstore::default();
        let root = sigstore.root();
        let (one, two) = (sigstore.sign(b"one").bundle, sigstore.sign(b"two").bundle);
        let artifact = |text: &[u8]| Artifact::from_digest(Digest::of(HashAlgorithm::Sha256, text));
        let both = [(&one, artifact(b"one")), (&two, artifact(b"two"))];
        let who = one_signer(both, &root).unwrap();
        assert!(who.starts_with(Sigstore::SUBJECT), "{who}");
        let wrong = [(&one, artifact(b"one")), (&two, artifact(b"one"))];
        assert_eq!(one_signer(wrong, &root), None);
        assert_eq!(
            one_signer([(&one, artifact(b"one"))], &TrustedRoot::default()),
            None
        );
        assert_eq!(one_signer([], &root), None);
    }
}
