//! Taking in a certificate: the same for those who come over HTTP and for a CA in this process.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use ct::{CtError, Entry, LeafEntry, Sct, to_be_signed};
use jiff::Timestamp;
use keys::PublicKey;
use pki::Certificate;
use pki::profile::Precertificate;
use sequencer::{AppendError, Log};
use signer::{Signer, SignerError, Watch};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::admit::{self, Admitted, Kind, Refusal, Window};
use crate::issuers::Issuers;
use crate::leaf::{CertificateLeaf, extensions};
use crate::roots::{Roots, RootsError};

/// Submissions that may wait for their signature check. At some 200 microseconds each this is half a second of one core.
const WAITING: usize = 2048;

/// Why there is no SCT.
#[derive(Debug, Error)]
pub enum AddError {
    /// The log does not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log takes nothing any more, for good.
    #[error("the log is frozen: it takes no entries any more")]
    Frozen,
    /// Too much is waiting. Nothing happened.
    #[error("the log is overloaded, try again")]
    Overloaded(Duration),
    /// Nothing happened, or nobody knows; the same again is right.
    #[error("{what}, try again")]
    Unavailable {
        /// What is the matter.
        what: &'static str,
        /// When it makes sense to try again.
        retry_after: Duration,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Something is broken.
    #[error("the log failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AddError {
    /// The word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Frozen => "LOG_FROZEN",
            Self::Overloaded(_) => "LOG_OVERLOADED",
            Self::Unavailable { .. } => "LOG_UNAVAILABLE",
            Self::Internal(_) => "LOG_FAILED",
        }
    }

    fn unavailable(
        what: &'static str,
        seconds: u64,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable {
            what,
            retry_after: Duration::from_secs(seconds),
            source: Some(source.into()),
        }
    }
}

/// The way into one log. Clones are the same.
#[derive(Clone, Debug)]
pub struct Submissions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Log<CertificateLeaf>,
    signer: Signer,
    watch: Watch,
    roots: Roots,
    issuers: Issuers,
    window: Window,
    leaf_index: bool,
    /// First line of the log's checkpoints: its name among others.
    origin: String,
    waiting: Arc<Semaphore>,
    checking: Arc<Semaphore>,
}

/// What [`Submissions`] are made of.
pub(crate) struct Parts {
    pub(crate) log: Log<CertificateLeaf>,
    pub(crate) signer: Signer,
    pub(crate) roots: Roots,
    pub(crate) issuers: Issuers,
    pub(crate) window: Window,
    pub(crate) leaf_index: bool,
    pub(crate) origin: String,
}

impl Submissions {
    pub(crate) fn new(parts: Parts) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Inner {
            log: parts.log,
            signer: parts.signer,
            watch: Watch::default(),
            roots: parts.roots,
            issuers: parts.issuers,
            window: parts.window,
            leaf_index: parts.leaf_index,
            origin: parts.origin,
            waiting: Arc::new(Semaphore::new(WAITING)),
            checking: Arc::new(Semaphore::new(cores)),
        }))
    }

    /// Which certificates the log takes.
    pub fn window(&self) -> Window {
        self.0.window
    }

    /// Whether the log takes no entries any more.
    pub fn is_frozen(&self) -> bool {
        self.0.log.is_frozen()
    }

    /// Takes in a certificate or precertificate with those above it (DER, leaf first). The SCT is there when entry and issuers are durable.
    pub async fn add(&self, kind: Kind, chain: Vec<Vec<u8>>) -> Result<Sct, AddError> {
        let added = async {
            let admitted = self.admit(kind, chain).await?;
            Ok(self.append(admitted).await?.sct)
        };
        self.counted(added).await
    }

    /// Takes in a precertificate that an authority in this process has just sealed, with those above it (DER).
    pub async fn add_issued(
        &self,
        issued: &Precertificate,
        above: Vec<Vec<u8>>,
    ) -> Result<Vouched, AddError> {
        let added = async {
            let admitted = self.admit_issued(issued, above).await?;
            self.append(admitted).await
        };
        self.counted(added).await
    }

    async fn counted<T>(
        &self,
        adding: impl Future<Output = Result<T, AddError>>,
    ) -> Result<T, AddError> {
        let added = adding.await;
        let result = match &added {
            Ok(_) => "OK",
            Err(error) => error.reason(),
        };
        metrics::counter!("ctlog_submissions", "result" => result).increment(1);
        added
    }

    /// Before the work is done that would be for nothing.
    fn check_open(&self) -> Result<(), AddError> {
        if self.0.log.is_frozen() {
            return Err(AddError::Frozen);
        }
        if self.0.log.is_full() {
            return Err(overloaded());
        }
        Ok(())
    }

    async fn admit(&self, kind: Kind, chain: Vec<Vec<u8>>) -> Result<Admitted, AddError> {
        self.check_open()?;
        let inner = &self.0;
        let place = inner.waiting.clone().try_acquire_owned();
        let place = place.map_err(|_| overloaded())?;
        let going = |_| AddError::unavailable("the log is going down", 5, "no thread");
        let turn = inner.checking.clone().acquire_owned().await;
        let turn = turn.map_err(|_| AddError::unavailable("the log is going down", 5, "closed"))?;
        let work = self.0.clone();
        // A signature of the chain, and for a new issuer a sync of the disk: not on the threads that serve connections.
        let admitted = tokio::task::spawn_blocking(move || {
            // As long as the work, even when nobody waits for it any more.
            let _permits = (place, turn);
            let roots = work.roots.now();
            let admitted = admit::admit(&chain, kind, &roots, work.window, work.leaf_index)?;
            work.issuers
                .keep(&admitted.chain)
                .map_err(|error| AddError::Internal(error.into()))?;
            Ok::<_, AddError>(admitted)
        });
        admitted.await.map_err(going)?
    }

    async fn admit_issued(
        &self,
        issued: &Precertificate,
        above: Vec<Vec<u8>>,
    ) -> Result<Admitted, AddError> {
        self.check_open()?;
        let inner = &self.0;
        let roots = inner.roots.now();
        let known = roots.known(&above);
        if known.is_some_and(|chain| inner.issuers.keeps(&chain)) {
            // No signature to verify and nothing to write: cheaper here than on another thread.
            let admitted =
                admit::admit_issued(issued, &above, &roots, inner.window, inner.leaf_index);
            return Ok(admitted?);
        }
        // The first of its chain goes the long way.
        let leaf = issued.certificate().der().to_vec();
        let chain = std::iter::once(leaf).chain(above).collect();
        self.admit(Kind::Precertificate, chain).await
    }

    async fn append(&self, admitted: Admitted) -> Result<Vouched, AddError> {
        let inner = &self.0;
        let appended = inner.log.append(admitted.leaf).await;
        let appended = appended.map_err(not_appended)?;
        // From here on the entry is durable; a crash before the answer costs the client a repetition, which gets the same time and index.
        let index = appended.inclusion.index;
        let extensions = extensions(inner.leaf_index, index);
        // An SCT for a leaf that is not in the tree would be a lie for ever: time and index come from files, the leaf hash from the tree.
        let leaf = LeafEntry {
            entry: admitted.entry.clone(),
            precertificate: None,
            chain: Vec::new(),
        };
        let leaf = leaf
            .merkle_tree_leaf(appended.timestamp_ms, &extensions)
            .map_err(malformed)?;
        if tlog::hash::leaf(&leaf) != appended.inclusion.leaf {
            let what = format!(
                "entry {index} is in the tree with another time or other extensions than this log would give it now: leaf_index was \
                 changed, or run fsck"
            );
            return Err(AddError::Internal(what.into()));
        }
        let signed =
            to_be_signed(&admitted.entry, appended.timestamp_ms, &extensions).map_err(malformed)?;
        let signature = inner.signer.sign(&signed).await;
        let signature = signature.map_err(|cause: SignerError| {
            AddError::unavailable("the log cannot sign now", 5, cause)
        })?;
        let key = inner.signer.public_key();
        let sct = Sct::new(key, appended.timestamp_ms, extensions, signature);
        // Whoever relies on an SCT verifies it, a CA that asks over HTTP before it goes into a certificate.
        if inner.watch.looks(&inner.signer) {
            let verified = sct.verify(&admitted.entry, key);
            if verified.is_err() {
                inner.watch.found_a_wrong_one();
            }
            verified.map_err(malformed)?;
        }
        if !appended.duplicate {
            metrics::counter!("ctlog_new_entries").increment(1);
            // CTFE's name.
            metrics::gauge!("last_sct_timestamp", "logid" => inner.origin.clone())
                .set(milliseconds(appended.timestamp_ms));
        }
        Ok(Vouched {
            sct,
            entry: admitted.entry,
        })
    }
}

/// An SCT of a log in this process, by its own key.
#[derive(Debug)]
pub struct Vouched {
    /// The SCT.
    pub sct: Sct,
    /// What it is about.
    pub entry: Entry,
}

/// Too much is waiting.
fn overloaded() -> AddError {
    AddError::Overloaded(Duration::from_secs(1))
}

/// For a gauge: whole milliseconds are exact in it until the year 287,000.
pub(crate) fn milliseconds(count: u64) -> f64 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "see above"
    )]
    {
        count as f64
    }
}

fn malformed(error: CtError) -> AddError {
    AddError::Internal(error.into())
}

fn not_appended(error: AppendError) -> AddError {
    match error {
        AppendError::Overloaded { retry_after } => AddError::Overloaded(retry_after),
        AppendError::NotSigned(_) => AddError::unavailable("the log cannot sign now", 5, error),
        AppendError::Frozen => AddError::Frozen,
        AppendError::Clock(_) => AddError::unavailable(
            "the log's clock is wrong, and until it is right nothing is taken",
            60,
            error,
        ),
        AppendError::Stopped(_) | AppendError::Closed => {
            AddError::unavailable("the log takes no entries now", 30, error)
        }
        AppendError::Proof(_) | AppendError::Unreadable(_) => AddError::Internal(error.into()),
    }
}

/// A log of this process cannot take the roots that the process believes.
#[derive(Debug, Error)]
#[error("the log {origin}")]
pub struct BelieveError {
    origin: String,
    #[source]
    source: RootsError,
}

/// The logs of one process: an entry goes into the oldest one that still takes it. So a log that was begun gets none before its time has come, or
/// the one before it is frozen, and its key can be in every trusted root by then.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<RwLock<Held>>);

#[derive(Debug, Default)]
struct Held {
    logs: Vec<Submissions>,
    /// What the process believes besides the settings; a log that begins later does too.
    roots: Vec<Certificate>,
}

impl Logs {
    pub(crate) fn push(&self, log: Submissions) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.0.roots.add(&held.roots) {
            tracing::error!(%error, origin = log.0.origin, "the roots of this process");
        }
        held.logs.push(log);
    }

    /// Takes chains that end in these certificates too, in all logs that may take a certificate from `now` on, or in none of them. A log that is
    /// frozen, or whose window has passed, needs no more roots, and whether it has room for them matters to nobody.
    pub fn believe(&self, roots: &[Certificate], now: Timestamp) -> Result<(), BelieveError> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let open = |log: &&Submissions| {
            !log.is_frozen() && log.window().limit.is_none_or(|limit| now < limit)
        };
        let named = |log: &Submissions| {
            let origin = log.0.origin.clone();
            |source| BelieveError { origin, source }
        };
        for log in held.logs.iter().filter(open) {
            log.0.roots.now().with(roots).map_err(named(log))?;
        }
        // A file or a trust bundle that has grown in between may still leave no room; roots only ever add, so what was taken by then stays.
        for log in held.logs.iter().filter(open) {
            log.0.roots.add(roots).map_err(named(log))?;
        }
        for root in roots {
            if !held.roots.contains(root) {
                held.roots.push(root.clone());
            }
        }
        Ok(())
    }

    /// Is there a log that takes certificates that end then?
    pub fn probe(&self, not_after: Timestamp) -> Result<(), AddError> {
        let takes = |log: &Submissions| !log.is_frozen() && log.window().holds(not_after);
        if self.held().logs.iter().any(takes) {
            Ok(())
        } else {
            Err(AddError::Frozen)
        }
    }

    /// The key of the log with this id.
    pub fn key(&self, log_id: &[u8; 32]) -> Option<PublicKey> {
        let held = self.held();
        let mut keys = held.logs.iter().map(|log| log.0.signer.public_key());
        keys.find(|key| key.key_id() == *log_id).cloned()
    }

    /// [`Submissions::add`] of the oldest log, by the order of the settings, that is not frozen and whose window holds the leaf.
    pub async fn add(&self, kind: Kind, chain: Vec<Vec<u8>>) -> Result<Sct, AddError> {
        let not_after = chain
            .first()
            .and_then(|leaf| Certificate::from_der(leaf).ok())
            .map(|leaf| leaf.not_after());
        self.oldest(not_after)?.add(kind, chain).await
    }

    /// [`Submissions::add_issued`] of that log.
    pub async fn add_issued(
        &self,
        issued: &Precertificate,
        above: Vec<Vec<u8>>,
    ) -> Result<Vouched, AddError> {
        let log = self.oldest(Some(issued.certificate().not_after()))?;
        log.add_issued(issued, above).await
    }

    fn oldest(&self, not_after: Option<Timestamp>) -> Result<Submissions, AddError> {
        let fits = |log: &&Submissions| {
            !log.is_frozen() && not_after.is_none_or(|end| log.window().holds(end))
        };
        let held = self.held();
        // One that refuses says why.
        let oldest = held.logs.iter().find(fits).or_else(|| held.logs.last());
        oldest.cloned().ok_or(AddError::Frozen)
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
