//! Checkpoints with cosignatures: the log asks witnesses, at a slower pace than it signs.
//!
//! Specifications: C2SP tlog-witness 1.0 (`add-checkpoint`), tlog-policy, tlog-cosignature.
//!
//! ```text
//! sequencer  -- every commit, some milliseconds --> checkpoint with the log's signature      GET /checkpoint/latest, replies
//! this task  -- every `interval_seconds` ---------> the same, with cosignatures of witnesses  GET /checkpoint, ?wait=witnessed
//! ```
//!
//! Invariants:
//! - a cosignature is handed on only after it was verified with the key that the policy has;
//! - with `without_quorum = "hold"` no checkpoint without a quorum is at `/checkpoint`, and no reply waits for less;
//! - every checkpoint that is shown was committed by the engine before.
//!
//! What is shown last is kept in the file `witnessed` beside the log's own, so that a restart does not take it back. It is no state of
//! the log: a lost or damaged file costs one round.
//!
//! A witness that knows a larger tree than we have says that this log was rolled back. That is logged as an error and counted; the log goes
//! on, as otherwise any one witness could stop it.

mod ask;
mod config;

use std::sync::Arc;
use std::time::Duration;

use client::Agent;
use note::{Cosignature, Note, VerifierKey};
use sequencer::{Log, Published, WeakLog};
use store::Disk;
use tlog::{LeafIndex, TreeHead};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::leaf::Entry;
use ask::Witness;
pub(crate) use config::RawWitnessing;
pub use config::{WithoutQuorum, WitnessingConfig};

/// The file in the log's folder.
const FILE: &str = "witnessed";

/// A checkpoint as it is shown, with the cosignatures that it has.
#[derive(Clone, Debug)]
pub(crate) struct Witnessed {
    pub(crate) head: TreeHead,
    pub(crate) checkpoint: Arc<[u8]>,
    /// Whether the policy is met.
    pub(crate) quorum: bool,
}

/// What the routes see of it.
#[derive(Clone, Debug)]
pub(crate) struct Witnessing {
    shown: watch::Receiver<Option<Witnessed>>,
    without_quorum: WithoutQuorum,
    wait: bool,
    patience: Duration,
}

impl Witnessing {
    /// Begins to ask the witnesses, until the log is closed.
    pub(crate) async fn start(
        config: &WitnessingConfig,
        files: Arc<dyn Disk>,
        log: &Log<Entry>,
        verifier: &VerifierKey,
    ) -> anyhow::Result<Self> {
        let kept = recall(files.clone(), config, log, verifier).await;
        let (show, shown) = watch::channel(kept);
        let task = Task {
            config: config.clone(),
            agent: ask::agent(config.timeout),
            witnesses: Witness::all(&config.policy)?,
            log: log.downgrade(),
            files,
            show,
        };
        tokio::spawn(task.run(log.clone().published().head));
        Ok(Self {
            shown,
            without_quorum: config.without_quorum,
            wait: config.wait,
            patience: config.patience,
        })
    }

    /// For an instance that only reads: shows what the one that leads has shown last, until the log is closed.
    pub(crate) async fn follow(
        config: &WitnessingConfig,
        files: Arc<dyn Disk>,
        log: &Log<Entry>,
        verifier: &VerifierKey,
    ) -> Self {
        let kept = recall(files.clone(), config, log, verifier).await;
        let (show, shown) = watch::channel(kept);
        let (weak, verifier) = (log.downgrade(), verifier.clone());
        let settings = config.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(settings.interval).await;
                let Some(log) = weak.upgrade() else { return };
                let Some(now) = recall(files.clone(), &settings, &log, &verifier).await else {
                    continue;
                };
                show.send_if_modified(|before| {
                    let new = before
                        .as_ref()
                        .is_none_or(|before| before.checkpoint != now.checkpoint);
                    if new {
                        *before = Some(now);
                    }
                    new
                });
            }
        });
        Self {
            shown,
            without_quorum: config.without_quorum,
            wait: config.wait,
            patience: config.patience,
        }
    }

    /// The checkpoint for `GET /checkpoint`; `None` while there is none that may be shown.
    pub(crate) fn shown(&self) -> Option<Witnessed> {
        self.shown.borrow().clone()
    }

    /// Whether replies wait for cosignatures unless they are asked otherwise.
    pub(crate) const fn by_default(&self) -> bool {
        self.wait
    }

    /// What is done without a quorum.
    pub(crate) const fn without_quorum(&self) -> WithoutQuorum {
        self.without_quorum
    }

    /// How long [`Witnessing::covering`] waits.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits for a checkpoint with a quorum over a tree that has this leaf; `None` when the patience ends before.
    pub(crate) async fn covering(&self, index: LeafIndex) -> Option<Witnessed> {
        let mut shown = self.shown.clone();
        let covers = |shown: &Option<Witnessed>| {
            let shown = shown.as_ref();
            shown.is_some_and(|shown| shown.quorum && shown.head.size.holds(index))
        };
        let waited = tokio::time::timeout(self.patience, shown.wait_for(covers)).await;
        waited.ok()?.ok()?.clone()
    }
}

/// The last checkpoint that was shown before the restart, if it still is one of this log.
async fn recall(
    files: Arc<dyn Disk>,
    config: &WitnessingConfig,
    log: &Log<Entry>,
    verifier: &VerifierKey,
) -> Option<Witnessed> {
    let path = store::Path::new(FILE)?;
    let max = u64::try_from(note::MAX_NOTE_BYTES).ok()?;
    let read = tokio::task::spawn_blocking(move || files.read(&path, max)).await;
    let bytes = read.ok()?.ok()??;
    let opened = note::open(&bytes, std::slice::from_ref(verifier)).ok()?;
    let head = *opened.head();
    if head.size > log.published().head.size {
        // At the start of the one that writes it is a log that was rolled back, which the copy of the checkpoint or a witness notices too; one that
        // reads may be a moment behind.
        tracing::warn!(size = %head.size, "the last witnessed checkpoint is larger than the log, and is not shown");
        return None;
    }
    let note = Note::parse(&bytes).ok()?;
    let held: Vec<bool> = config
        .policy
        .witnesses()
        .iter()
        .map(|witness| witness.key.find(&note, note.signatures()).is_ok())
        .collect();
    let quorum = config
        .policy
        .met_by(|place| held.get(place).copied().unwrap_or(false));
    (quorum || config.without_quorum == WithoutQuorum::Publish).then(|| Witnessed {
        head,
        checkpoint: bytes.into(),
        quorum,
    })
}

struct Task {
    config: WitnessingConfig,
    agent: Agent,
    witnesses: Vec<Witness>,
    log: WeakLog<Entry>,
    files: Arc<dyn Disk>,
    show: watch::Sender<Option<Witnessed>>,
}

impl Task {
    /// One round after the other, at most one an interval; when the log does not grow, one each `refresh` for a fresh time, and at once
    /// again while the last round has missed its quorum.
    async fn run(mut self, mut head: TreeHead) {
        let mut due = true;
        loop {
            if !due {
                let Some(log) = self.log.upgrade() else {
                    return;
                };
                let grown = log.grown(head.size);
                drop(log);
                let grown = tokio::time::timeout(self.config.refresh, grown).await;
                if grown == Ok(false) {
                    return;
                }
            }
            let begun = Instant::now();
            let Some(log) = self.log.upgrade() else {
                return;
            };
            let published = log.published();
            drop(log);
            head = published.head;
            due = !self.round(&published).await;
            tokio::time::sleep_until(begun + self.config.interval).await;
        }
    }

    /// Asks all witnesses at once, and shows what is enough as soon as it is. Whether there is a quorum.
    async fn round(&mut self, published: &Published) -> bool {
        let note = match Note::parse(&published.checkpoint) {
            Ok(note) => Arc::new(note),
            Err(error) => {
                tracing::error!(%error, "our own checkpoint is no note");
                return false;
            }
        };
        let mut asked = JoinSet::new();
        for (place, witness) in self.witnesses.iter().enumerate() {
            let ask = witness.clone().ask(
                self.agent.clone(),
                self.log.clone(),
                note.clone(),
                published.head,
            );
            let limit = self.config.timeout;
            asked.spawn(async move { (place, tokio::time::timeout(limit, ask).await) });
        }
        let mut cosigned: Vec<Option<Cosignature>> = vec![None; self.witnesses.len()];
        while let Some(done) = asked.join_next().await {
            // A task that panicked has cosigned nothing.
            let Ok((place, outcome)) = done else { continue };
            let Some(witness) = self.witnesses.get(place) else {
                continue;
            };
            let outcome = outcome.unwrap_or(Err(ask::AskError::Late));
            let result = outcome
                .as_ref()
                .err()
                .map_or("cosigned", ask::AskError::word);
            let labels = [
                ("witness", witness.name().to_owned()),
                ("result", result.to_owned()),
            ];
            metrics::counter!("rekor_witness_cosignatures_total", &labels).increment(1);
            match outcome {
                Ok(cosignature) => {
                    if let Some(slot) = cosigned.get_mut(place) {
                        *slot = Some(cosignature);
                    }
                    if self.met(&cosigned) {
                        self.show(published, &note, &cosigned, true).await;
                    }
                }
                Err(error) => error.log(witness.name(), published.head.size),
            }
        }
        let met = self.met(&cosigned);
        if !met {
            tracing::warn!(
                size = %published.head.size,
                cosigned = cosigned.iter().flatten().count(),
                witnesses = self.witnesses.len(),
                "no quorum of cosignatures"
            );
            if self.config.without_quorum == WithoutQuorum::Publish {
                self.show(published, &note, &cosigned, false).await;
            }
        }
        met
    }

    /// Places in the policy and in `witnesses` are the same.
    fn met(&self, cosigned: &[Option<Cosignature>]) -> bool {
        let has = |place: usize| cosigned.get(place).is_some_and(Option::is_some);
        self.config.policy.met_by(has)
    }

    /// If we crash here, the file has the old note, the new one or a torn one, which the next start does not believe.
    async fn show(
        &self,
        published: &Published,
        note: &Note,
        cosigned: &[Option<Cosignature>],
        quorum: bool,
    ) {
        let lines = cosigned.iter().flatten().map(Cosignature::line);
        let checkpoint: Arc<[u8]> = note.with_signatures(lines).to_bytes().into();
        let (files, bytes) = (self.files.clone(), checkpoint.clone());
        let keep = move || match store::Path::new(FILE) {
            Some(path) => files.replace(&path, &bytes),
            None => Ok(()),
        };
        let kept = tokio::task::spawn_blocking(keep).await;
        if let Err(error) = kept.map_err(std::io::Error::from).flatten() {
            tracing::warn!(%error, "cannot keep the witnessed checkpoint");
        }
        if let Ok(size) = u32::try_from(published.head.size.get()) {
            metrics::gauge!("rekor_witnessed_size").set(f64::from(size));
        }
        self.show.send_replace(Some(Witnessed {
            head: published.head,
            checkpoint,
            quorum,
        }));
    }
}
