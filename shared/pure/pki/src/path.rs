//! Certificate paths at a chosen time.
//!
//! webpki builds and verifies the path; what it leaves out by design (keyUsage, validity of the anchor itself, presence of the
//! purpose) is checked here.

use jiff::Timestamp;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime,
};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

use crate::cert::{Certificate, SigningKey};
use crate::oid;

/// What the leaf must be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// id-kp-codeSigning: Fulcio's leaves.
    CodeSigning,
    /// id-kp-timeStamping, critical and alone (RFC 3161 2.3).
    TimeStamping,
}

/// id-kp-codeSigning and id-kp-timeStamping, the contents octets of the OID.
const CODE_SIGNING: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 3];
const TIME_STAMPING: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 8];

/// Why there is no path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// Nothing to trust was given: that is never "trust everything".
    #[error("no trusted certificate was given")]
    NoAnchor,
    /// A certificate of the path is not valid at that time.
    #[error("the certificate {subject:?} is valid from {not_before} to {not_after}, not at {at}")]
    NotValidAt {
        /// Its subject, or its serial number where the subject is empty.
        subject: String,
        /// First moment.
        not_before: Timestamp,
        /// Last moment.
        not_after: Timestamp,
        /// The time in question.
        at: Timestamp,
    },
    /// The leaf's usage or purpose is another one.
    #[error("the certificate may not be used for {0:?}")]
    Purpose(Purpose),
    /// The leaf is a CA.
    #[error("the certificate is a CA's, not a leaf")]
    LeafIsCa,
    /// A certificate of the path may not sign certificates.
    #[error("{0:?} may not sign certificates")]
    NotCa(String),
    /// No path to any trusted certificate.
    #[error("no path to a trusted certificate: {0}")]
    NoPath(String),
}

/// A path that holds: the leaf first, the trusted certificate last. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedPath {
    certificates: Vec<Certificate>,
    at: Timestamp,
}

impl VerifiedPath {
    /// Leaf, intermediates, trusted certificate.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificate that signed the leaf.
    pub fn issuer(&self) -> Option<&Certificate> {
        self.certificates.get(1)
    }

    /// When it holds.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Finds a path from the leaf over any of the intermediates to one of the anchors and checks it at the time `at`.
///
/// Anchors may be intermediates themselves: the last certificate of a chain in a trusted root is trusted whatever it is.
pub fn verify(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    at: Timestamp,
    purpose: Purpose,
) -> Result<VerifiedPath, PathError> {
    if anchors.is_empty() {
        return Err(PathError::NoAnchor);
    }
    check_leaf(leaf, purpose)?;
    check_validity(leaf, at)?;
    let seconds = u64::try_from(at.as_second())
        .map_err(|_| PathError::NoPath("a time before 1970".into()))?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let no_path = |error: webpki::Error| PathError::NoPath(error.to_string());
    let leaf_der = CertificateDer::from(leaf.der());
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(no_path)?;
    let anchor_ders: Vec<_> = anchors
        .iter()
        .map(|anchor| CertificateDer::from(anchor.der()))
        .collect();
    let trusted = anchor_ders
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(no_path)?;
    let between: Vec<_> = intermediates
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der()))
        .collect();
    // Where an authority names purposes ours must be among them; the leaf's own were checked above.
    let usage = match purpose {
        Purpose::CodeSigning => KeyUsage::required_if_present(CODE_SIGNING),
        Purpose::TimeStamping => KeyUsage::required_if_present(TIME_STAMPING),
    };
    let given: Vec<&Certificate> = intermediates.iter().chain([leaf]).collect();
    let remembering: Vec<_> = webpki::ALL_VERIFICATION_ALGS
        .iter()
        .map(|&algorithm| Remembering {
            algorithm,
            certificates: &given,
        })
        .collect();
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = remembering
        .iter()
        .map(|algorithm| -> &dyn SignatureVerificationAlgorithm { algorithm })
        .collect();
    let found = end_entity
        .verify_for_usage(&algorithms, &trusted, &between, time, usage, None, None)
        .map_err(|error| {
            diagnose(&error, intermediates, anchors, at).unwrap_or_else(|| no_path(error))
        })?;
    let mut certificates = vec![leaf.clone()];
    for step in found.intermediate_certificates() {
        let der = step.der();
        let certificate = intermediates
            .iter()
            .find(|certificate| certificate.der() == der.as_ref())
            .ok_or_else(|| {
                PathError::NoPath("the path has a certificate that was not given".into())
            })?;
        certificates.push(certificate.clone());
    }
    let anchor = found.anchor();
    let anchor = trusted
        .iter()
        .zip(anchors)
        .find(|(candidate, _)| *candidate == anchor)
        .map(|(_, certificate)| certificate)
        .ok_or_else(|| {
            PathError::NoPath("the path ends in a certificate that was not given".into())
        })?;
    certificates.push(anchor.clone());
    for authority in certificates.iter().skip(1) {
        check_authority(authority, at)?;
    }
    Ok(VerifiedPath { certificates, at })
}

/// One of webpki's algorithms that asks once about the signature of a certificate under a key. The certificates of an authority's own chain come
/// with each leaf, and a signature with P-384 takes as long as all the rest of a bundle.
#[derive(Debug)]
struct Remembering<'a> {
    algorithm: &'a dyn SignatureVerificationAlgorithm,
    certificates: &'a [&'a Certificate],
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let ask = || {
            self.algorithm
                .verify_signature(public_key, message, signature)
        };
        let Some(certificate) = self
            .certificates
            .iter()
            .find(|one| one.tbs_der() == message && one.signature() == signature)
        else {
            return ask();
        };
        let is_this = |key: &SigningKey| {
            key.key_algorithm == self.public_key_alg_id()
                && key.signature_algorithm == self.signature_alg_id()
                && key.bits == public_key
        };
        if certificate.signed().get().is_some_and(is_this) {
            return Ok(());
        }
        ask()?;
        // Where it is signed by two keys, the first stays.
        certificate.signed().get_or_init(|| SigningKey {
            key_algorithm: self.public_key_alg_id(),
            signature_algorithm: self.signature_alg_id(),
            bits: public_key.to_vec(),
        });
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), PathError> {
    if leaf.is_ca() {
        return Err(PathError::LeafIsCa);
    }
    let fits = match (purpose, leaf.purposes()) {
        (Purpose::CodeSigning, Some((_, purposes))) => purposes.contains(&oid::CODE_SIGNING),
        // RFC 3161 2.3: one purpose, and critical.
        (Purpose::TimeStamping, Some((critical, purposes))) => {
            critical && purposes == [oid::TIME_STAMPING]
        }
        (_, None) => false,
    };
    if fits && leaf.may_sign_data() {
        Ok(())
    } else {
        Err(PathError::Purpose(purpose))
    }
}

fn check_authority(authority: &Certificate, at: Timestamp) -> Result<(), PathError> {
    if !authority.is_ca() || !authority.may_sign_certificates() {
        return Err(PathError::NotCa(authority.subject_text()));
    }
    check_validity(authority, at)
}

fn check_validity(certificate: &Certificate, at: Timestamp) -> Result<(), PathError> {
    if certificate.is_valid_at(at) {
        return Ok(());
    }
    let subject = certificate.subject_text();
    Err(PathError::NotValidAt {
        subject: if subject.is_empty() {
            format!("serial {}", hex::encode(certificate.serial()))
        } else {
            subject
        },
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        at,
    })
}

/// Names the certificate that is out of its time, where that is why there is no path.
fn diagnose(
    error: &webpki::Error,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    at: Timestamp,
) -> Option<PathError> {
    let about_time = matches!(
        error,
        webpki::Error::CertExpired { .. }
            | webpki::Error::CertNotValidYet { .. }
            | webpki::Error::UnknownIssuer
    );
    about_time
        .then(|| {
            intermediates
                .iter()
                .chain(anchors)
                .find_map(|certificate| check_validity(certificate, at).err())
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls_pki_types::alg_id;

    use super::*;

    /// Takes the key "good", and counts.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(&self, key: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if key == b"good" {
                Ok(())
            } else {
                Err(InvalidSignature)
            }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    #[test]
    fn only_what_was_found_good_is_not_asked_again() {
        let made = || {
            let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
            Certificate::from_der(made.cert.der()).unwrap()
        };
        let (certificate, other, counting) = (made(), made(), Counting::default());
        let ask = |given: &Certificate, key: &[u8], message: &[u8], signature: &[u8]| {
            let remembering = Remembering {
                algorithm: &counting,
                certificates: &[given],
            };
            let before = counting.0.load(Ordering::SeqCst);
            let answer = remembering.verify_signature(key, message, signature);
            (answer.is_ok(), counting.0.load(Ordering::SeqCst) - before)
        };
        let (tbs, signature) = (certificate.tbs_der(), certificate.signature());
        let bad = || ask(&certificate, b"bad", tbs, signature);
        assert_eq!([bad(), bad()], [(false, 1); 2]);
        assert_eq!(ask(&certificate, b"good", tbs, signature), (true, 1));
        assert_eq!(
            ask(&certificate.clone(), b"good", tbs, signature),
            (true, 0)
        );
        // Another key, another certificate, another signature or message: asked.
        assert_eq!(bad(), (false, 1));
        assert_eq!(ask(&other, b"good", tbs, signature), (true, 1));
        assert_eq!(ask(&certificate, b"good", tbs, b"another"), (true, 1));
        assert_eq!(ask(&certificate, b"good", b"another", signature), (true, 1));
        assert_eq!(ask(&certificate, b"good", tbs, signature), (true, 0));
    }
}
