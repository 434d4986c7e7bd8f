//! Whole bundles.

use bundle::{Bundle, Content, Signer as Who, Version};
use dsse::{Envelope, IN_TOTO, STATEMENT_V1};
use entry::{LogEntry, Proposed, REKOR_V2_ALGORITHMS, Signed, Verifier, hashedrekord_algorithm};
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, Digest, HashAlgorithm};
use pki::{Certificate, SubjectName};
use signer::Signer;
use trust::{TrustedRoot, Validity};

use crate::{Ca, CtLog, Leaf, Log, SctList, Tsa};

/// All services, and the time.
#[derive(Debug)]
pub struct Sigstore {
    /// Issues certificates.
    pub ca: Ca,
    /// Vouches for them.
    pub ct: CtLog,
    /// States the time.
    pub tsa: Tsa,
    /// Records signatures.
    pub log: Log,
    /// When everything began.
    pub since: Timestamp,
    /// When everything that is minted is signed: an hour later.
    pub now: Timestamp,
}

/// A bundle that holds, with what it was made from.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The bundle.
    pub bundle: Bundle,
    /// The key that signed.
    pub signer: Signer,
    /// Its certificate.
    pub leaf: Certificate,
}

impl Default for Sigstore {
    fn default() -> Self {
        Self::new("2026-06-01T12:00:00Z".parse().unwrap())
    }
}

impl Sigstore {
    /// Who signs by default.
    pub const SUBJECT: &str = "alice@example.org";
    /// By whose word.
    pub const ISSUER: &str = "https://issuer.example.org";

    /// A Sigstore that begins then.
    pub fn new(since: Timestamp) -> Self {
        Self {
            ca: Ca::new(since),
            ct: CtLog::default(),
            tsa: Tsa::new(since),
            log: Log::new("rekor.example.org"),
            since,
            now: since + SignedDuration::from_hours(1),
        }
    }

    /// What trusts all of it.
    pub fn root(&self) -> TrustedRoot {
        let validity = Validity::since(self.since);
        TrustedRoot {
            tlogs: vec![self.log.trusted(validity)],
            ctlogs: vec![self.ct.trusted("https://ctlog.example.org", validity)],
            authorities: vec![self.ca.trusted("https://fulcio.example.org", validity)],
            timestamp_authorities: vec![
                self.tsa
                    .trusted("https://tsa.example.org/api/v1/timestamp", validity),
            ],
        }
    }

    /// What the default signer's certificate says.
    pub fn leaf(&self, signer: &Signer) -> Leaf {
        let subject = SubjectName::Email(Self::SUBJECT.into());
        let began = self.now - SignedDuration::from_mins(1);
        Leaf::new(signer.public_key(), subject, Self::ISSUER, began)
    }

    /// The certificate for it, with its SCT.
    pub fn issue(&self, leaf: Leaf) -> Certificate {
        self.ca.issue(leaf, SctList::Of(&[&self.ct]))
    }

    /// Signs a file as the default signer.
    pub fn sign(&self, file: &[u8]) -> Minted {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let leaf = self.issue(self.leaf(&signer));
        self.sign_with(file, signer, leaf)
    }

    /// Signs a file with this key and certificate.
    pub fn sign_with(&self, file: &[u8], signer: Signer, leaf: Certificate) -> Minted {
        let digest = Digest::of(HashAlgorithm::Sha256, file);
        let content = Content::Message {
            signature: signer.sign_local(file).unwrap(),
            digest: Some(digest),
        };
        self.close(content, &digest, signer, leaf)
    }

    /// Signs a statement as the default signer.
    pub fn attest(&self, statement: &[u8]) -> Minted {
        let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let leaf = self.issue(self.leaf(&signer));
        self.attest_with(statement, signer, leaf)
    }

    /// Signs a statement with this key and certificate.
    pub fn attest_with(&self, statement: &[u8], signer: Signer, leaf: Certificate) -> Minted {
        let pae = dsse::pae(IN_TOTO, statement);
        let envelope = Envelope {
            payload: statement.to_vec(),
            payload_type: IN_TOTO.into(),
            signature: signer.sign_local(&pae).unwrap(),
            keyid: String::new(),
        };
        let digest = Digest::of(HashAlgorithm::Sha256, &pae);
        self.close(Content::Envelope(envelope), &digest, signer, leaf)
    }

    /// Records a signature over a digest.
    pub fn record(&self, digest: &Digest, signature: &[u8], by: Verifier) -> LogEntry {
        let algorithm = hashedrekord_algorithm(by.key());
        let signed = Signed {
            signature: signature.to_vec(),
            verifier: by,
        };
        let accepted = Proposed::hashedrekord(digest, &signed, algorithm)
            .admit(&REKOR_V2_ALGORITHMS)
            .unwrap();
        self.log
            .add(accepted.kind(), accepted.version(), accepted.body())
    }

    fn close(
        &self,
        content: Content,
        digest: &Digest,
        signer: Signer,
        leaf: Certificate,
    ) -> Minted {
        let entry = self.record(
            digest,
            content.signature(),
            Verifier::Certificate(leaf.clone()),
        );
        let bundle = Bundle {
            version: Version::V03,
            signer: Who::Certificate {
                leaf: leaf.clone(),
                intermediates: Vec::new(),
            },
            entries: vec![entry],
            timestamps: vec![self.tsa.stamp(content.signature(), self.now)],
            content,
        };
        Minted {
            bundle,
            signer,
            leaf,
        }
    }
}

/// A statement about a file of this digest.
pub fn statement(digest: &Digest) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "_type": STATEMENT_V1,
        "subject": [{ "name": "file", "digest": { digest.algorithm().name(): digest.to_hex() } }],
        "predicateType": "https://example.org/predicate/v1",
        "predicate": { "checked": true },
    }))
    .unwrap()
}
