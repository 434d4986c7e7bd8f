//! The transparency log: Rekor v2.

use std::sync::Mutex;

use entry::{InclusionProof, LogEntry};
use keys::Algorithm;
use note::VerifierKey;
use signer::Signer;
use tlog::{Hash, LeafIndex, TreeHead, TreeSize, hash};
use trust::{LogInstance, Validity};

/// A log with some older entries.
#[derive(Debug)]
pub struct Log {
    signer: Signer,
    origin: String,
    key: VerifierKey,
    leaves: Mutex<Vec<Hash>>,
}

impl Log {
    /// A new log of this name with seven entries of somebody else's, so that proofs have something to prove.
    pub fn new(origin: &str) -> Self {
        let signer = Signer::generate(Algorithm::Ed25519).unwrap();
        let key = VerifierKey::new(origin, signer.public_key().clone()).unwrap();
        let leaves = (0_u8..7).map(|number| hash::leaf(&[number])).collect();
        Self {
            signer,
            origin: origin.into(),
            key,
            leaves: Mutex::new(leaves),
        }
    }

    /// Adds a body and says where it stands.
    pub fn add(&self, kind: &str, version: &str, body: &[u8]) -> LogEntry {
        let mut leaves = self.leaves.lock().unwrap();
        let index = leaves.len();
        leaves.push(hash::leaf(body));
        let number = u64::try_from(index).unwrap();
        let head = TreeHead {
            size: TreeSize::new(number + 1),
            root: root(&leaves),
        };
        LogEntry {
            index: number,
            log_id: self.key.id().to_vec(),
            kind: kind.into(),
            version: version.into(),
            integrated_time: None,
            promise: None,
            proof: Some(InclusionProof {
                index: LeafIndex::new(number),
                size: head.size,
                root: head.root,
                hashes: path(&leaves, index),
                checkpoint: self.checkpoint(head),
            }),
            body: body.to_vec(),
        }
    }

    /// Signs whatever it is given as its tree.
    pub fn checkpoint(&self, head: TreeHead) -> String {
        let prepared = note::prepare(&self.key, head);
        let signature = self.signer.sign_local(prepared.to_be_signed()).unwrap();
        String::from_utf8(prepared.seal(signature).unwrap()).unwrap()
    }

    /// The id in its entries.
    pub fn id(&self) -> &[u8] {
        self.key.id()
    }

    /// Its place in a trusted root.
    pub fn trusted(&self, validity: Validity) -> LogInstance {
        LogInstance {
            base_url: format!("https://{}", self.origin),
            key: self.signer.public_key().clone(),
            algorithm: self.signer.algorithm(),
            id: self.key.id().to_vec(),
            checkpoint_id: self.key.id().to_vec(),
            validity,
            operator: "testkit".into(),
        }
    }
}

/// MTH of RFC 6962 2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => hash::EMPTY,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(middle(leaves));
            hash::node(&root(left), &root(right))
        }
    }
}

/// PATH of RFC 6962 2.1.1.
fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = middle(leaves);
    let (left, right) = leaves.split_at(middle);
    let (mut below, beside) = if index < middle {
        (path(left, index), right)
    } else {
        (path(right, index - middle), left)
    };
    below.push(root(beside));
    below
}

/// The largest power of two below the number of leaves.
fn middle(leaves: &[Hash]) -> usize {
    leaves.len().next_power_of_two() / 2
}
