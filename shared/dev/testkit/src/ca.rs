//! The certificate authority and the CT log.

use ct::Sct;
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, PublicKey};
use pki::profile::{self, Authority, LeafParameters};
use pki::{Certificate, FulcioExtensions, SubjectName};
use signer::Signer;
use trust::{CertificateAuthority, LogInstance, Validity};

use crate::authority;

/// A root and an intermediate.
#[derive(Debug, Clone)]
pub struct Ca {
    signer: Signer,
    intermediate: Certificate,
    root: Certificate,
}

/// A CT log that keeps nothing.
#[derive(Debug, Clone)]
pub struct CtLog(Signer);

/// What a leaf should say.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Whose key.
    pub key: PublicKey,
    /// Who.
    pub subject: SubjectName,
    /// What else.
    pub extensions: FulcioExtensions,
    /// From when.
    pub not_before: Timestamp,
    /// To when.
    pub not_after: Timestamp,
}

/// Which SCTs a leaf gets.
#[derive(Debug, Clone, Copy)]
pub enum SctList<'a> {
    /// One of each of these logs.
    Of(&'a [&'a CtLog]),
    /// None, and no extension for them.
    None,
}

impl Leaf {
    /// A leaf of ten minutes, as Fulcio issues.
    pub fn new(key: &PublicKey, subject: SubjectName, issuer: &str, not_before: Timestamp) -> Self {
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(issuer);
        Self {
            key: key.clone(),
            subject,
            extensions,
            not_before,
            not_after: not_before + SignedDuration::from_mins(10),
        }
    }
}

impl Ca {
    /// A new authority.
    pub fn new(since: Timestamp) -> Self {
        let root_key = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
        let signer = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
        let root = authority(Authority::Root, &root_key, None, since);
        let intermediate = authority(
            Authority::CodeSigningIntermediate,
            &signer,
            Some((&root, &root_key)),
            since,
        );
        Self {
            signer,
            intermediate,
            root,
        }
    }

    /// Issues what it is told to.
    pub fn issue(&self, leaf: Leaf, scts: SctList<'_>) -> Certificate {
        let parameters = LeafParameters {
            subject: leaf.subject,
            key: leaf.key,
            extensions: leaf.extensions,
            serial: signer::random::bytes().unwrap(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        };
        let sign = |bytes: &[u8]| self.signer.sign_local(bytes).unwrap();
        let SctList::Of(logs) = scts else {
            let unsigned =
                profile::prepare_leaf_without_ct(&parameters, &self.intermediate).unwrap();
            let signature = sign(unsigned.to_be_signed());
            return unsigned.seal(&signature).unwrap();
        };
        let prepared = profile::prepare_leaf(parameters, &self.intermediate).unwrap();
        let signature = sign(prepared.to_be_signed());
        let precertificate = prepared.seal(&signature).unwrap();
        let scts: Vec<Sct> = logs
            .iter()
            .map(|log| {
                log.vouch(
                    precertificate.certificate(),
                    &self.intermediate,
                    leaf.not_before,
                )
            })
            .collect();
        let list = Sct::encode_list(&scts).unwrap();
        let prepared = precertificate.with_scts(&list).unwrap();
        let signature = sign(prepared.to_be_signed());
        prepared.seal(&signature).unwrap()
    }

    /// Intermediate and root.
    pub fn chain(&self) -> Vec<Certificate> {
        vec![self.intermediate.clone(), self.root.clone()]
    }

    /// Its place in a trusted root.
    pub fn trusted(&self, uri: &str, validity: Validity) -> CertificateAuthority {
        CertificateAuthority {
            uri: uri.into(),
            chain: self.chain(),
            validity,
            operator: "testkit".into(),
        }
    }
}

impl Default for CtLog {
    fn default() -> Self {
        Self(Signer::generate(Algorithm::EcdsaP256Sha256).unwrap())
    }
}

impl CtLog {
    /// Signs that it has seen a precertificate.
    pub fn vouch(&self, precertificate: &Certificate, issuer: &Certificate, at: Timestamp) -> Sct {
        let entry = ct::entry_of_precertificate(precertificate, issuer).unwrap();
        let milliseconds = u64::try_from(at.as_millisecond()).unwrap();
        let bytes = ct::to_be_signed(&entry, milliseconds, &[]).unwrap();
        let signature = self.0.sign_local(&bytes).unwrap();
        Sct::new(self.0.public_key(), milliseconds, Vec::new(), signature)
    }

    /// Its place in a trusted root.
    pub fn trusted(&self, base_url: &str, validity: Validity) -> LogInstance {
        let id = self.0.public_key().key_id().to_vec();
        LogInstance {
            base_url: base_url.into(),
            key: self.0.public_key().clone(),
            algorithm: self.0.algorithm(),
            checkpoint_id: id.clone(),
            id,
            validity,
            operator: "testkit".into(),
        }
    }
}
