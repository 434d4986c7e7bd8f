//! Asking one witness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use client::{Agent, Call, CallError, Refused, Settings};
use note::{Cosignature, CosignerKey, Note, NoteError};
use sequencer::{ReadError, WeakLog};
use thiserror::Error;
use tlog::{TreeHead, TreeSize};
use url::Url;
use witness::{Policy, Submission, SubmissionError};

use crate::leaf::Entry;

/// A witness that was asked with the wrong size says the right one; when it is wrong again, somebody else feeds it this log too.
const ATTEMPTS: usize = 3;

/// A witness that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    name: String,
    key: CosignerKey,
    url: Url,
    /// Size of the tree that it knows, as far as we know; owned by the round that asks.
    known: Arc<AtomicU64>,
}

/// Why there is no cosignature.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// Not in time.
    #[error("it did not answer in time")]
    Late,
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Call(#[from] CallError),
    /// It said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It knows a larger tree.
    #[error(
        "it has cosigned a tree of {known} leaves, and this log has {have}: it was rolled back, or somebody else signs with its key"
    )]
    Ahead {
        /// Its size.
        known: TreeSize,
        /// Our size.
        have: TreeSize,
    },
    /// 409 again and again.
    #[error("it answers each size with another one")]
    Undecided,
    /// Its answer is nothing that we know.
    #[error("its answer is no size")]
    Size,
    /// Its answer is nothing that we know.
    #[error("its answer is no signature line")]
    Lines(#[source] NoteError),
    /// It did not cosign, or not this.
    #[error("its answer has no cosignature that holds")]
    Cosignature(#[source] note::cosignature::CosignatureError),
    /// We cannot say what it needs.
    #[error("the consistency proof cannot be made")]
    Proof(#[from] ReadError),
    /// We cannot say what it needs.
    #[error("the submission cannot be made")]
    Submission(#[from] SubmissionError),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl AskError {
    /// A word for figures.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Late => "timeout",
            Self::Call(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Ahead { .. } => "ahead",
            Self::Undecided | Self::Size | Self::Lines(_) | Self::Cosignature(_) => "nonsense",
            Self::Proof(_) | Self::Submission(_) | Self::Closed => "internal",
        }
    }

    pub(super) fn log(&self, witness: &str, size: TreeSize) {
        let mut cause = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            cause = format!("{cause}: {error}");
            next = error.source();
        }
        if matches!(self, Self::Ahead { .. }) {
            tracing::error!(witness, %size, cause, "the witness does not cosign");
        } else {
            tracing::warn!(witness, %size, cause, "the witness does not cosign");
        }
    }
}

/// One try a round: the next round is the retry.
pub(super) fn agent(timeout: Duration) -> Agent {
    Agent::new(Settings {
        connect_timeout: timeout,
        read_timeout: timeout,
        call_timeout: timeout,
        attempts: 1,
        ..Settings::default()
    })
}

impl Witness {
    /// The witnesses of a policy in its order. Each must say where it is.
    pub(super) fn all(policy: &Policy) -> anyhow::Result<Vec<Self>> {
        let one = |witness: &witness::PolicyWitness| {
            let url = witness
                .url
                .as_deref()
                .with_context(|| format!("witness {} has no URL", witness.name))?;
            let prefix = url.trim_end_matches('/');
            let url = Url::parse(&format!("{prefix}/add-checkpoint"));
            Ok(Self {
                name: witness.name.clone(),
                key: witness.key.clone(),
                url: url.with_context(|| format!("the URL of witness {}", witness.name))?,
                known: Arc::default(),
            })
        };
        policy.witnesses().iter().map(one).collect()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Hands the checkpoint in, and returns its cosignature.
    pub(super) async fn ask(
        self,
        agent: Agent,
        log: WeakLog<Entry>,
        note: Arc<Note>,
        head: TreeHead,
    ) -> Result<Cosignature, AskError> {
        for _ in 0..ATTEMPTS {
            let old = TreeSize::new(self.known.load(Ordering::Relaxed));
            if old > head.size {
                // One answer is not believed for ever: the next round asks from the beginning, and is told again if it is so.
                self.known.store(0, Ordering::Relaxed);
                return Err(AskError::Ahead {
                    known: old,
                    have: head.size,
                });
            }
            let proof = {
                let log = log.upgrade().ok_or(AskError::Closed)?;
                let (proof, _) = log.consistency_between(old, head.size).await?;
                proof.ok_or(AskError::Closed)?
            };
            let submission = Submission::new(old, proof, (*note).clone())?;
            let call = Call::post(
                self.url.clone(),
                "text/plain; charset=utf-8",
                submission.to_bytes(),
            );
            let answer = agent.send(&call.limit(note::MAX_NOTE_BYTES)).await?;
            match answer.status.as_u16() {
                200 => {
                    let lines = note::signature_lines(&answer.body).map_err(AskError::Lines)?;
                    let cosignature = self.key.find(&note, &lines);
                    let cosignature = cosignature.map_err(AskError::Cosignature)?;
                    self.known.store(head.size.get(), Ordering::Relaxed);
                    return Ok(cosignature);
                }
                409 => {
                    let size = std::str::from_utf8(&answer.body).ok();
                    let size = size.and_then(|size| size.trim_end().parse().ok());
                    self.known
                        .store(size.ok_or(AskError::Size)?, Ordering::Relaxed);
                }
                _ => return Err(answer.refused().into()),
            }
        }
        Err(AskError::Undecided)
    }
}
