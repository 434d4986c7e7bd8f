//! Who signs checkpoints, and how.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use note::{OpenError, Prepared, VerifierKey};
use signer::{Signer, SignerError};
use tlog::TreeHead;

/// Signs the heads of one log. The log's origin is the name of the [`CheckpointSigner::verifier`].
pub trait CheckpointSigner: Send + Sync + 'static {
    /// The key with which the log's checkpoints are opened again, on start and by `fsck`.
    fn verifier(&self) -> &VerifierKey;

    /// The signed checkpoint of `head`. `timestamp_ms` is the time of the batch, for signatures that cover a time.
    ///
    /// The engine calls this once per batch, before the batch is durable, and releases the bytes only afterwards.
    fn sign(&self, head: TreeHead, timestamp_ms: u64) -> SignFuture<'_>;

    /// The last checkpoint, of a log that takes no entries any more. Unless a signer has a way to say so in it, it is one like the others.
    fn sign_last(&self, head: TreeHead, at: Timestamp) -> SignFuture<'_> {
        self.sign(head, u64::try_from(at.as_millisecond()).unwrap_or(0))
    }
}

/// The signed checkpoint of `head`, or an error when that takes too long. A signature that comes later is dropped where it is made.
pub(crate) async fn sign_within(
    limit: Duration,
    signer: &dyn CheckpointSigner,
    head: TreeHead,
    timestamp_ms: u64,
) -> Result<Vec<u8>, SignError> {
    let signed = tokio::time::timeout(limit, signer.sign(head, timestamp_ms)).await;
    signed.map_err(|_| SignError::Late(limit))?
}

/// What [`CheckpointSigner::sign`] returns: the bytes of the signed note.
pub type SignFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SignError>> + Send + 'a>>;

/// Why there is no signed checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key did not sign.
    #[error("the log key did not sign")]
    Signer(#[source] SignerError),
    /// It did not answer.
    #[error("the log key did not sign within {} s", .0.as_secs_f32())]
    Late(Duration),
    /// What it signed does not open with its public key.
    #[error("the signed checkpoint does not open with the log's own key")]
    Seal(#[source] OpenError),
}

/// Signs the text of the note (C2SP signed-note): Rekor v2 with Ed25519, Rekor v1 with ECDSA P-256.
#[derive(Clone, Debug)]
pub struct NoteSigner {
    origin: String,
    verifier: VerifierKey,
    signer: Signer,
}

impl NoteSigner {
    /// A log named `origin`, whose key id follows from the kind of key (see [`VerifierKey::new`]).
    pub fn new(origin: &str, signer: Signer) -> Result<Self, note::KeyError> {
        Ok(Self {
            origin: origin.to_owned(),
            verifier: VerifierKey::new(origin, signer.public_key().clone())?,
            signer,
        })
    }

    /// A shard of a Rekor v1 log: its key is named after the host, its origin names the tree too.
    pub fn rekor_v1(host: &str, tree_id: u64, signer: Signer) -> Result<Self, note::KeyError> {
        Ok(Self {
            origin: format!("{host} - {tree_id}"),
            verifier: VerifierKey::rekor_v1(host, signer.public_key().clone())?,
            signer,
        })
    }
}

impl NoteSigner {
    async fn seal(&self, prepared: Prepared) -> Result<Vec<u8>, SignError> {
        let signature = self.signer.sign(prepared.to_be_signed()).await;
        let signature = signature.map_err(SignError::Signer)?;
        prepared.seal(signature).map_err(SignError::Seal)
    }
}

impl CheckpointSigner for NoteSigner {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, head: TreeHead, _timestamp_ms: u64) -> SignFuture<'_> {
        Box::pin(self.seal(note::prepare_for(&self.origin, &self.verifier, head)))
    }

    /// With a line that says that the log is frozen, as rekor-tiles writes it.
    fn sign_last(&self, head: TreeHead, at: Timestamp) -> SignFuture<'_> {
        let at = at.strftime("%a %b %e %H:%M:%S UTC %Y");
        let line = format!("Log frozen \u{2014} {at}");
        let prepared = note::prepare_with(&self.origin, &self.verifier, head, vec![line]);
        Box::pin(self.seal(prepared))
    }
}

/// Signs RFC 6962 tree heads (static-ct-api): a CT log with ECDSA P-256. Its checkpoints have no further lines, the last one neither: what
/// is signed is the tree head alone.
#[derive(Debug)]
pub struct TreeHeadSigner {
    verifier: VerifierKey,
    signer: Signer,
}

impl TreeHeadSigner {
    /// A CT log named `origin`.
    pub fn new(origin: &str, signer: Signer) -> Result<Self, note::KeyError> {
        Ok(Self {
            verifier: VerifierKey::rfc6962(origin, signer.public_key().clone())?,
            signer,
        })
    }
}

impl CheckpointSigner for TreeHeadSigner {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, head: TreeHead, timestamp_ms: u64) -> SignFuture<'_> {
        Box::pin(async move {
            let prepared = note::prepare(&self.verifier, head);
            let signed = note::tree_head::to_be_signed(&head, timestamp_ms);
            let signature = self.signer.sign(&signed).await.map_err(SignError::Signer)?;
            // An ECDSA signature has at most 72 bytes here; an empty one would fail in `seal`.
            let line =
                note::tree_head::ecdsa_signature(timestamp_ms, &signature).unwrap_or_default();
            prepared.seal(line).map_err(SignError::Seal)
        })
    }
}
