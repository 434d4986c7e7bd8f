//! The trees of a Rekor v1 log: old ones that are only read, and the one that takes entries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use entry::{LogEntry, promise};
use jiff::Timestamp;
use keys::Algorithm;
use sequencer::{
    AppendError, Appended, CheckpointSigner as _, Inclusion, Log, NoteSigner, Published, ReadError,
};
use serve::Clock;
use signer::{Signer, SignerError};
use thiserror::Error;
use tlog::{Hash, LeafIndex, TreeSize};
use tokio::sync::watch;
use wire::encoding::Bytes;
use wire::rekor_v1 as shape;

use super::config::{ShardConfig, V1Config};
use super::id::EntryId;
use super::leaf::{Entry, Stored};
use crate::search::http::log_entry;
use crate::search::{Followed, Identity, Search};
use crate::storage::{Ground, Storage};

/// Clients take only this kind of key for promises (cosign, sigstore-go).
pub const KEY_ALGORITHM: Algorithm = Algorithm::EcdsaP256Sha256;

/// The file beside a tree's own that names the tree that followed it. Indexes count over all trees, so a tree that was followed must not grow: not
/// even under a process whose settings are older than that.
///
/// `<tree>\n` is written before the tree is closed, and `<tree> <entries>\n` when nothing can be added to it any more: only then does anybody know
/// where the indexes of the next tree begin.
pub(crate) const SUCCESSOR: &str = "successor";
/// Longest mark: two numbers of 64 bits.
pub(crate) const MARK_MAX: u64 = 64;
/// How long an entry waits for a new tree when its tree was closed: as long as it takes to commit what was in the queue.
const PATIENCE: Duration = Duration::from_secs(5);

/// What this process does with the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is the only one that writes them.
    Write,
    /// Another one writes them, or nobody does.
    Read,
}

/// One tree.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its number; it is part of every entry's id.
    pub tree_id: u64,
    /// The engine below.
    pub log: Log<Entry>,
    /// Entries of all shards before it.
    pub offset: u64,
    ground: Ground,
    /// Its place in the search index.
    followed: Option<Followed>,
    signer: Signer,
    log_id: [u8; 32],
}

/// All trees, the oldest first. Clones are the same trees.
#[derive(Clone, Debug)]
pub struct Shards {
    inactive: Arc<[Shard]>,
    active: Shard,
}

/// The trees of now: a new one may be put behind them while the log runs.
#[derive(Clone, Debug)]
pub struct Trees(watch::Receiver<Shards>);

impl Trees {
    /// These trees, and the place where others are put.
    pub(crate) fn new(shards: Shards) -> (watch::Sender<Shards>, Self) {
        let (sender, receiver) = watch::channel(shards);
        (sender, Self(receiver))
    }

    pub(crate) fn of(sender: &watch::Sender<Shards>) -> Self {
        Self(sender.subscribe())
    }

    /// The trees of now.
    pub fn now(&self) -> Shards {
        self.0.borrow().clone()
    }

    /// The trees when another one than this takes entries; `None` when that does not happen soon.
    pub(crate) async fn after(&self, tree_id: u64) -> Option<Shards> {
        let mut trees = self.0.clone();
        let other = trees.wait_for(|shards| shards.active.tree_id != tree_id);
        let other = tokio::time::timeout(PATIENCE, other).await;
        Some(other.ok()?.ok()?.clone())
    }
}

/// Why an entry cannot be shown.
#[derive(Debug, Error)]
pub enum ShowError {
    /// Its files cannot be read.
    #[error("cannot read the entry")]
    Read(#[from] ReadError),
    /// The bytes in the bundle are no entry.
    #[error("the entry at {0} of tree {1} is damaged")]
    Damaged(u64, u64),
    /// The key did not sign.
    #[error("cannot sign the promise")]
    Sign(#[from] SignerError),
}

impl Shards {
    /// Opens all trees to write them. Must be called within a tokio runtime.
    pub(crate) async fn open(
        config: &V1Config,
        signers: Vec<Signer>,
        clock: &Clock,
        storage: &Storage,
    ) -> anyhow::Result<Self> {
        let mut shards = Vec::new();
        let mut offset = 0_u64;
        for (shard, signer) in paired(config, signers)? {
            let access = Access::Write;
            let shard = Shard::open(config, shard, signer, clock, storage, access, offset).await?;
            offset = offset.saturating_add(shard.size());
            shards.push(shard);
        }
        let active = shards.pop().context("v1.shards is empty")?;
        let mut next = active.tree_id;
        if let Some(told) = active.told_of_another().await? {
            // To go on with it would move the indexes of all entries after it.
            anyhow::bail!(told);
        }
        for shard in shards.iter().rev() {
            // Nobody adds to it: not this process, and no other one can while it is open here.
            shard.succeeded_by(next, Some(shard.size())).await?;
            next = shard.tree_id;
        }
        Ok(Self {
            inactive: shards.into(),
            active,
        })
    }

    /// Opens the trees to read them, up to the one that takes entries. The settings may have trees that nobody has begun yet: see [`Self::taking_up`].
    /// Must be called within a tokio runtime.
    pub(crate) async fn open_to_read(
        config: &V1Config,
        signers: Vec<Signer>,
        clock: &Clock,
        storage: &Storage,
    ) -> anyhow::Result<Self> {
        let mut trees = paired(config, signers)?;
        let (first, signer) = trees.next().context("v1.shards is empty")?;
        let access = Access::Read;
        let active = Shard::open(config, first, signer, clock, storage, access, 0).await?;
        let mut shards = Self {
            inactive: Arc::default(),
            active,
        };
        for (shard, signer) in trees {
            let next = shards
                .taking_up(config, shard, signer, clock, storage)
                .await?;
            let Some(next) = next else {
                tracing::warn!(
                    tree = shard.tree_id,
                    "this v1 tree is in the settings, and nobody has begun it yet"
                );
                return Ok(shards);
            };
            shards = shards.with(next);
        }
        if let Some(told) = shards.active.told_of_another().await? {
            tracing::warn!("{told}");
        }
        Ok(shards)
    }

    /// The next tree, to read it, when whoever writes the logs has begun it; `None` when that is still to come.
    pub(crate) async fn taking_up(
        &self,
        config: &V1Config,
        shard: &ShardConfig,
        signer: Signer,
        clock: &Clock,
        storage: &Storage,
    ) -> anyhow::Result<Option<Shard>> {
        let old = &self.active;
        let Some(Successor {
            tree_id,
            entries: Some(entries),
        }) = old.successor().await?
        else {
            return Ok(None);
        };
        old.expect_successor(tree_id, shard.tree_id)?;
        // All that the old tree has: it may be followed by reading, a moment behind.
        if let Some(before) = entries.checked_sub(1) {
            let grown = old.log.grown(TreeSize::new(before));
            if !tokio::time::timeout(PATIENCE, grown).await.unwrap_or(false) {
                return Ok(None);
            }
        }
        old.expect_end(entries)?;
        let offset = old.offset.saturating_add(entries);
        let access = Access::Read;
        let next = Shard::open(config, shard, signer, clock, storage, access, offset).await?;
        Ok(Some(next))
    }

    /// These trees with a new one behind them that takes entries from now on. The one that did is closed, with all it was given.
    ///
    /// If we crash before the first mark is durable, the next start goes on with the old tree or, as the settings have it by now, with the new one;
    /// after it, only with the new one. If we crash before the second one, the next start writes it.
    pub(crate) async fn followed_by(&self, next: Shard) -> anyhow::Result<Self> {
        let old = &self.active;
        old.succeeded_by(next.tree_id, None).await?;
        let right = old.log.close_and_hold().await;
        let ended = old.ended_before(next.tree_id).await;
        // A lease is given up in the database, and that may take its time.
        let given_up = tokio::task::spawn_blocking(move || drop(right)).await;
        ended?;
        given_up?;
        let offset = old.offset.saturating_add(old.size());
        Ok(self.with(Shard { offset, ..next }))
    }

    /// These trees with another one behind them.
    pub(crate) fn with(&self, next: Shard) -> Self {
        let inactive = self.inactive.iter().chain([&self.active]);
        Self {
            inactive: inactive.cloned().collect(),
            active: next,
        }
    }

    /// Has all trees indexed from now on.
    pub async fn follow(&mut self, search: &Search, host: &str) -> anyhow::Result<()> {
        let mut shards: Vec<Shard> = self.inactive.to_vec();
        for shard in shards.iter_mut().chain([&mut self.active]) {
            shard.follow(search, host).await?;
        }
        self.inactive = shards.into();
        Ok(())
    }

    /// The trees that are in the search index.
    pub fn followed(&self) -> impl Iterator<Item = (&Followed, &Shard)> {
        self.all()
            .filter_map(|shard| Some((shard.followed.as_ref()?, shard)))
    }

    /// The trees that are in the search index, and what each has now.
    pub(crate) fn sizes(&self) -> Vec<(Followed, u64)> {
        let size = |(tree, shard): (&Followed, &Shard)| (tree.clone(), shard.size());
        self.followed().map(size).collect()
    }

    /// The tree that takes entries.
    pub const fn active(&self) -> &Shard {
        &self.active
    }

    /// The trees before it, the oldest first.
    pub fn inactive(&self) -> &[Shard] {
        &self.inactive
    }

    /// The active tree, then the others.
    pub fn all(&self) -> impl Iterator<Item = &Shard> {
        std::iter::once(&self.active).chain(self.inactive.iter())
    }

    /// The tree of this number.
    pub fn by_tree(&self, tree_id: u64) -> Option<&Shard> {
        self.all().find(|shard| shard.tree_id == tree_id)
    }

    /// Where an index that counts over all trees is.
    pub fn by_index(&self, index: u64) -> Option<(&Shard, LeafIndex)> {
        // An empty tree has the offset of the next one.
        let shard = self.all().filter(|shard| shard.offset <= index);
        let shard =
            shard.max_by_key(|shard| (shard.offset, shard.tree_id == self.active.tree_id))?;
        let index = index.checked_sub(shard.offset)?;
        let index = LeafIndex::new(index);
        shard
            .log
            .published()
            .head
            .size
            .holds(index)
            .then_some((shard, index))
    }

    /// Where an entry is. Without a tree, all are looked through, the active one first.
    pub async fn by_id(&self, id: &EntryId) -> Result<Option<(&Shard, LeafIndex)>, ReadError> {
        for shard in self.all() {
            if id.tree.is_none_or(|tree| tree == shard.tree_id)
                && let Some(index) = shard.log.find(id.leaf.as_bytes()).await?
            {
                return Ok(Some((shard, index)));
            }
        }
        Ok(None)
    }
}

impl Shard {
    pub(crate) async fn open(
        config: &V1Config,
        shard: &ShardConfig,
        signer: Signer,
        clock: &Clock,
        storage: &Storage,
        access: Access,
        offset: u64,
    ) -> anyhow::Result<Self> {
        let tree_id = shard.tree_id;
        let open = async {
            let algorithm = signer.algorithm();
            anyhow::ensure!(
                algorithm == KEY_ALGORITHM,
                "its key is {}, and clients believe only {}",
                algorithm.registry_name(),
                KEY_ALGORITHM.registry_name()
            );
            let note_signer = NoteSigner::rekor_v1(&config.host, tree_id, signer.clone())?;
            let engine = shard.engine(config);
            let ground = storage.ground(&shard.home)?;
            let log = match access {
                Access::Write => {
                    let clock = clock.clone();
                    let clock: sequencer::Clock = Arc::new(move || clock.now());
                    ground
                        .write::<Entry>(engine, Arc::new(note_signer), clock)
                        .await?
                }
                Access::Read => {
                    let verifier = note_signer.verifier().clone();
                    ground.read::<Entry>(verifier).await?
                }
            };
            check_origin(&log.published(), &config.host, tree_id)?;
            Ok((log, ground))
        };
        let (log, ground) = open.await.with_context(|| format!("v1 shard {tree_id}"))?;
        Ok(Self {
            tree_id,
            log_id: signer.public_key().key_id(),
            log,
            offset,
            ground,
            followed: None,
            signer,
        })
    }

    /// Entries of it now.
    fn size(&self) -> u64 {
        self.log.published().head.size.get()
    }

    /// The tree that followed this one, if one did.
    async fn successor(&self) -> anyhow::Result<Option<Successor>> {
        let files = self.ground.files();
        let read = tokio::task::spawn_blocking(move || files.read(&mark()?, MARK_MAX)).await?;
        let read = read.with_context(|| format!("v1 shard {}", self.tree_id))?;
        let Some(bytes) = read.filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        let successor = Successor::parse(&bytes);
        let odd = || {
            let text = String::from_utf8_lossy(&bytes);
            format!(
                "v1 shard {}: {SUCCESSOR} is no tree: {text:?}",
                self.tree_id
            )
        };
        successor.map(Some).with_context(odd)
    }

    /// Why this cannot be the tree that takes entries, if another one followed it.
    async fn told_of_another(&self) -> anyhow::Result<Option<String>> {
        let next = self.tree_id;
        let tell = |successor: Successor| {
            format!(
                "v1 tree {next} takes no entries any more: tree {} followed it, and the settings do not have that one",
                successor.tree_id
            )
        };
        Ok(self.successor().await?.map(tell))
    }

    fn expect_successor(&self, followed: u64, next: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            followed == next,
            "v1 tree {} was followed by tree {followed}, and the settings say {next}",
            self.tree_id
        );
        Ok(())
    }

    fn expect_end(&self, entries: u64) -> anyhow::Result<()> {
        let size = self.size();
        anyhow::ensure!(
            size == entries,
            "v1 tree {} ended with {entries} entries, and has {size} now: the indexes of all entries after it count on that. Was it brought \
             back from an old copy?",
            self.tree_id
        );
        Ok(())
    }

    /// Marks the tree for good: another one follows it. Only the process that writes the tree may; and it may say with how many `entries` the tree
    /// ends when nothing can be added any more.
    async fn succeeded_by(&self, next: u64, entries: Option<u64>) -> anyhow::Result<()> {
        if let Some(marked) = self.successor().await? {
            self.expect_successor(marked.tree_id, next)?;
            if let Some(entries) = marked.entries {
                return self.expect_end(entries);
            }
            if entries.is_none() {
                return Ok(());
            }
        }
        let files = self.ground.files();
        let text = Successor {
            tree_id: next,
            entries,
        }
        .to_string();
        let write = move || files.replace_durable(&mark()?, text.as_bytes());
        let written = tokio::task::spawn_blocking(write).await?;
        written.with_context(|| format!("v1 shard {}", self.tree_id))
    }

    /// Marks the tree, whose log was closed, with all that it has.
    async fn ended_before(&self, next: u64) -> anyhow::Result<()> {
        // What was being written when it stopped may be there after a restart, or not.
        if let Err(failure) = self.log.health() {
            anyhow::bail!("v1 tree {} has stopped: {failure}", self.tree_id);
        }
        self.succeeded_by(next, Some(self.size())).await
    }

    /// Waits until this process does not lead the tree any more, or its log has stopped.
    pub(crate) async fn ended(self) {
        let stopped = self.log.stopped();
        let ground = self.ground.clone();
        drop(self);
        tokio::select! {
            () = ground.lost() => {}
            _ = stopped => {}
        }
    }

    /// Has the tree indexed from now on.
    pub(crate) async fn follow(&mut self, search: &Search, host: &str) -> anyhow::Result<()> {
        let origin = format!("{host} - {}", self.tree_id);
        let identity = Identity {
            origin: &origin,
            log_id: &self.log_id,
        };
        let followed = Box::pin(search.follow(identity, &self.log, search_keys)).await?;
        self.followed = Some(followed);
        Ok(())
    }

    /// The id of an entry of this tree.
    pub const fn id(&self, leaf: Hash) -> EntryId {
        EntryId {
            tree: Some(self.tree_id),
            leaf,
        }
    }

    /// Adds an entry.
    pub async fn append(&self, entry: Entry) -> Result<Appended, AppendError> {
        self.log.append(entry).await
    }

    /// The key that signs promises and checkpoints.
    pub fn public_key(&self) -> &keys::PublicKey {
        self.signer.public_key()
    }

    /// An entry of this tree as clients get it, with a proof in the newest tree.
    pub async fn show(&self, index: LeafIndex) -> Result<(EntryId, shape::LogEntry), ShowError> {
        let damaged = || ShowError::Damaged(index.get(), self.tree_id);
        let bytes = self.log.entry(index).await?.ok_or_else(damaged)?;
        let stored = Stored::parse(&bytes).ok_or_else(damaged)?;
        let inclusion = self.log.inclusion(index).await?;
        self.render(&inclusion, stored.body, stored.timestamp_ms)
            .await
    }

    /// An entry with this proof. The promise is made anew each time, as upstream does.
    pub async fn render(
        &self,
        inclusion: &Inclusion,
        body: &[u8],
        timestamp_ms: u64,
    ) -> Result<(EntryId, shape::LogEntry), ShowError> {
        let damaged = || ShowError::Damaged(inclusion.index.get(), self.tree_id);
        let log_index = self.offset.saturating_add(inclusion.index.get());
        let (integrated_time, promise) = self.promise(body, timestamp_ms, log_index).await?;
        let hex = |hash: &Hash| hex::encode(hash.as_bytes());
        let entry = shape::LogEntry {
            attestation: None,
            body: body.into(),
            integrated_time,
            log_id: hex::encode(self.log_id),
            log_index,
            verification: shape::Verification {
                inclusion_proof: shape::InclusionProof {
                    checkpoint: String::from_utf8(inclusion.checkpoint.to_vec())
                        .map_err(|_| damaged())?,
                    hashes: inclusion.proof.iter().map(hex).collect(),
                    log_index: inclusion.index.get(),
                    root_hash: hex(&inclusion.head.root),
                    tree_size: inclusion.head.size.get(),
                },
                signed_entry_timestamp: Bytes(promise),
            },
        };
        Ok((self.id(inclusion.leaf), entry))
    }

    /// An entry of this tree as bundles carry it, with promise and a proof in the newest tree.
    pub async fn log_entry(&self, index: LeafIndex) -> Result<LogEntry, ShowError> {
        let damaged = || ShowError::Damaged(index.get(), self.tree_id);
        let bytes = self.log.entry(index).await?.ok_or_else(damaged)?;
        let stored = Stored::parse(&bytes).ok_or_else(damaged)?;
        let inclusion = self.log.inclusion(index).await?;
        let log_index = self.offset.saturating_add(index.get());
        let (seconds, set) = self
            .promise(stored.body, stored.timestamp_ms, log_index)
            .await?;
        let entry = log_entry(&inclusion, stored.body, log_index, &self.log_id);
        Ok(LogEntry {
            integrated_time: Some(Timestamp::from_second(seconds).map_err(|_| damaged())?),
            promise: Some(set),
            ..entry.ok_or_else(damaged)?
        })
    }

    /// The time and the signed entry timestamp.
    async fn promise(
        &self,
        body: &[u8],
        timestamp_ms: u64,
        log_index: u64,
    ) -> Result<(i64, Vec<u8>), ShowError> {
        let damaged = || ShowError::Damaged(log_index, self.tree_id);
        let integrated_time = i64::try_from(timestamp_ms / 1000).map_err(|_| damaged())?;
        let promised =
            promise(body, integrated_time, &self.log_id, log_index).ok_or_else(damaged)?;
        Ok((integrated_time, self.signer.sign(&promised).await?))
    }

    /// Size, root and checkpoint.
    pub fn info(&self) -> shape::ShardInfo {
        let Published {
            head, checkpoint, ..
        } = self.log.published();
        shape::ShardInfo {
            root_hash: hex::encode(head.root.as_bytes()),
            signed_tree_head: String::from_utf8_lossy(&checkpoint).into_owned(),
            tree_id: self.tree_id.to_string(),
            tree_size: head.size.get(),
        }
    }
}

/// What the mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Successor {
    /// The tree that followed.
    pub(crate) tree_id: u64,
    /// Entries of the tree that was followed; not known while its last ones may still be on their way.
    pub(crate) entries: Option<u64>,
}

impl Successor {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_end();
        let (tree_id, entries) = match text.split_once(' ') {
            Some((tree_id, entries)) => (tree_id, Some(entries.parse().ok()?)),
            None => (text, None),
        };
        let tree_id = tree_id.parse().ok()?;
        Some(Self { tree_id, entries })
    }
}

impl fmt::Display for Successor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            Some(entries) => writeln!(out, "{} {entries}", self.tree_id),
            None => writeln!(out, "{}", self.tree_id),
        }
    }
}

/// The trees of the settings, each with its key.
fn paired(
    config: &V1Config,
    signers: Vec<Signer>,
) -> anyhow::Result<impl Iterator<Item = (&ShardConfig, Signer)>> {
    anyhow::ensure!(
        signers.len() == config.shards.len(),
        "{} keys for {} shards",
        signers.len(),
        config.shards.len()
    );
    Ok(config.shards.iter().zip(signers))
}

fn mark() -> std::io::Result<store::Path> {
    store::Path::new(SUCCESSOR).ok_or_else(|| std::io::ErrorKind::InvalidInput.into())
}

/// The key's name is the host, so the checkpoint of another tree of this host opens too.
fn check_origin(published: &Published, host: &str, tree_id: u64) -> anyhow::Result<()> {
    let expected = format!("{host} - {tree_id}\n");
    anyhow::ensure!(
        published.checkpoint.starts_with(expected.as_bytes()),
        "the log in its folder is not tree {tree_id} of {host}: its checkpoint begins with {:?}",
        String::from_utf8_lossy(&published.checkpoint)
            .lines()
            .next()
            .unwrap_or_default()
    );
    Ok(())
}

/// All that an entry is found by: what its body tells, and what is kept beside it.
fn search_keys(entry: &[u8]) -> Vec<String> {
    let Some(stored) = Stored::parse(entry) else {
        return Vec::new();
    };
    let mut keys = entry::search_keys(stored.body);
    keys.extend(stored.keys.lines().map(str::to_owned));
    keys
}

#[cfg(test)]
mod tests {
    use super::Successor;

    #[test]
    fn marks_are_read_and_written() {
        for (text, tree_id, entries) in [
            ("7\n", 7, None),
            (
                "18446744073709551615 18446744073709551615\n",
                u64::MAX,
                Some(u64::MAX),
            ),
            ("7 0\n", 7, Some(0)),
        ] {
            let mark = Successor { tree_id, entries };
            assert_eq!(Successor::parse(text.as_bytes()), Some(mark));
            assert_eq!(mark.to_string(), text);
        }
        for wrong in ["", "x", "7 x", "7  8", "7 8 9", "-7", "7\n8", "\u{0}"] {
            assert_eq!(Successor::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(Successor::parse(&[0xff]), None);
    }
}
