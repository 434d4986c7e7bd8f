//! The log engine: one sequencer per tree, under Rekor and the CT log alike.
//!
//! Specifications: RFC 6962 section 2 (the tree, crate `tlog`), C2SP tlog-tiles and tlog-checkpoint (what is served).
//!
//! ```text
//! append(leaf) -> bounded queue -> sequencer thread:   1 place   2 sign   3 one write   4 one fdatasync   = commit
//!      ^                                               5 show    6 wake the waiters     7 hand the files on
//!      |                                                                                      |
//!      +-- index, proof, checkpoint <------------------------------+     writer thread: tiles, bundles, index,
//!                                                                        checkpoint copy; old segments away
//! ```
//!
//! ```text
//! let log = Log::<MyLeaf>::open(Config::new(folder), signer, clock).await?;    // recovers, or refuses
//! let appended = log.append(leaf).await?;           // durable: place, time, duplicate?, verified proof, checkpoint
//! log.published()                                   // newest head and its signed checkpoint
//! log.read(&Resource::parse(path, MyLeaf::BUNDLE)?).await?   // C2SP paths; Ok(None) beyond the published size
//! log.tile(id) / log.bundle(id) / log.entry(index) / log.inclusion(index) / log.consistency(old)
//! log.follow(index).next().await                    // all entries from there on, and then as they come
//! LeafHashes::follow(&log).find(&log, &hash, size)  // from a leaf's Merkle hash to its index
//! log.health()                                      // Err(reason) once a write failed
//! log.close().await                                 // everything written and synced
//! ```
//!
//! Invariants:
//! - one thread gives places, so no index is given twice, and duplicates are found exactly;
//! - a checkpoint leaves the process only after it, and all entries it covers, are durable;
//! - after a failed write or sync nothing more is added: what the disk has is read on the next start, not guessed;
//! - on start the tree is recomputed and must be the one of the last signed checkpoint, and not behind its second copy;
//! - files of full tiles and bundles are only written with bytes that the write-ahead log has, and the log is kept until
//!   they are durable.
//!
//! What someone could do who controls the disk: take away the newest batches and the second copy of the checkpoint with
//! them. Then a fork could be signed; only witnesses outside notice that.
//!
//! Deliberately not here: what an entry means (the owner of the [`Leaf`]), HTTP, witnesses; and where the files are: on several machines, that
//! is crate `cluster`.

mod backup;
mod checkpoint_signer;
mod config;
mod error;
mod follow;
mod fsck;
mod incoming;
mod known;
mod layout;
mod leaf;
mod leaf_hashes;
mod log;
mod open;
mod reader;
mod record;
mod recover;
mod sequence;
mod shared;
mod state;
mod write_behind;

pub use backup::{CopyReport, copy, finish, guard, mend};
pub use checkpoint_signer::{CheckpointSigner, NoteSigner, SignError, SignFuture, TreeHeadSigner};
pub use config::{Clock, Config};
pub use error::{AppendError, FreezeError, FsckError, OpenError, ReadError};
pub use follow::{Follower, Piece};
pub use fsck::{FsckReport, fsck, fsck_on};
pub use leaf::{Leaf, SealedLeaf, StoredLeaf};
pub use leaf_hashes::{Found, LeafHashes};
pub use log::{Appended, FilePlace, Inclusion, Log, PastInclusion, Resource, WeakLog, copy_place};
pub use shared::Published;
