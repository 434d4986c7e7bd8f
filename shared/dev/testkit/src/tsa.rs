//! The timestamp authority.

use jiff::Timestamp;
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::Certificate;
use pki::profile::Authority as Kind;
use signer::Signer;
use trust::{CertificateAuthority, Validity};
use tsp::{Authority, Request, Stated};

use crate::authority;

/// A root and a leaf.
#[derive(Debug, Clone)]
pub struct Tsa {
    signer: Signer,
    authority: Authority,
}

impl Tsa {
    /// A new authority.
    pub fn new(since: Timestamp) -> Self {
        let root_key = Signer::generate(Algorithm::EcdsaP384Sha384).unwrap();
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let root = authority(Kind::Root, &root_key, None, since);
        let leaf = authority(
            Kind::TimestampingLeaf,
            &signer,
            Some((&root, &root_key)),
            since,
        );
        Self {
            signer,
            authority: Authority::new(vec![leaf, root], None, false, since).unwrap(),
        }
    }

    /// Stamps a signature: a whole `TimeStampResp`.
    pub fn stamp(&self, signature: &[u8], at: Timestamp) -> Vec<u8> {
        self.answer(
            &Request {
                imprint: Digest::of(HashAlgorithm::Sha256, signature),
                policy: None,
                nonce: None,
                certificates: false,
            },
            at,
        )
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request, at: Timestamp) -> Vec<u8> {
        let serial = signer::random::bytes().unwrap();
        let prepared = tsp::prepare(&self.authority, request, serial, Stated::seconds(at)).unwrap();
        let signature = self.signer.sign_local(prepared.to_be_signed()).unwrap();
        prepared.seal(&signature).unwrap()
    }

    /// Leaf and root.
    pub fn chain(&self) -> &[Certificate] {
        self.authority.chain()
    }

    /// Its place in a trusted root.
    pub fn trusted(&self, uri: &str, validity: Validity) -> CertificateAuthority {
        CertificateAuthority {
            uri: uri.into(),
            chain: self.chain().to_vec(),
            validity,
            operator: "testkit".into(),
        }
    }
}
