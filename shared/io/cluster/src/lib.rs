//! The files of a log in PostgreSQL and an S3 bucket, so that several machines can take turns at leading it.
//!
//! ```text
//! let cluster = Cluster::open(settings).await?;                    // makes its tables; one pool and one client for all trees
//! let tree: Tree = cluster.tree("rekor.example.org")?;             // a store::Disk: the engine runs on it unchanged
//! tree.leader().await?                                             // who leads, and where: writes are sent there
//! tree.vacant().await                                              // a standby waits here, and then opens the log
//! tree.lost().await                                                // this instance led, and does not any more: close the log
//! ```
//!
//! ```text
//! wal/*  index  frozen  and the rest   PostgreSQL    what is ordered and fenced: pieces of files, (tree, path, at, bytes)
//! tile/*                               the bucket    what never changes: PREFIX/TREE/tile/..., put only where nothing is
//! ```
//!
//! **Who may write.** A row for each tree says who leads, until when, and the number of its turn (its fence). Each transaction that
//! writes locks that row first and wants to find the writer's own fence in it. So whoever was paused, cut off or believed
//! dead commits nothing once another instance has taken over: there is no moment when two can, whatever their clocks say. Times
//! only decide how soon a standby may take over, and they are PostgreSQL's.
//!
//! **What a crash does at each step** stands beside the code: a turn in `lease`, a transaction in `database`, a tile in `tiles`.
//!
//! Invariants:
//! - what [`store::AppendFile::sync_data`] has returned for was committed with `synchronous_commit = on`, whatever the server's default is, in one
//!   transaction that found our fence; a server that runs with `fsync = off` is refused;
//! - a commit whose answer was lost is an error, never a guess: the engine stops, and the next turn reads what is there. Nothing that was
//!   still under way can land after that, as each turn has a fence of its own, also the next one of the same process;
//! - an object of the bucket is never overwritten and never removed. One that is there with other bytes is a second history, and stops
//!   the log with the tile's name;
//! - a tile that the bucket does not take stands in PostgreSQL meanwhile and is moved later, so the log does not depend on the
//!   bucket being there, except when a tree is led for the first time, and to read older tiles;
//! - everything has an end: statements, requests, retries, answers, queues and pools.
//!
//! What someone could do who controls the database: take away the newest batches, as with a disk. With tiles in the bucket that the
//! database does not know of, the next start refuses; else only the second copy of the checkpoint (best on another
//! machine's disk) or a witness notices. A database that fails over to a replica that lagged behind is the same thing: use
//! a synchronous one. Who controls the bucket can withhold tiles, and not change history unnoticed.
//!
//! A crate beside `store`, and not a file in it: `store` has no dependencies, and the services that keep their logs in a folder link neither
//! a database driver nor an S3 client.
//!
//! Deliberately not here: telling readers of commits (a `NOTIFY` takes a lock of the whole server; they look), sending a write on to the leader, electing more cleverly than by time, garbage in the bucket (nothing
//! becomes garbage).

mod bucket;
mod cluster;
mod database;
mod error;
mod kept;
mod lease;
mod settings;
mod tiles;
mod tree;

pub use cluster::Cluster;
pub use error::ClusterError;
pub use lease::Leader;
pub use settings::{BucketSettings, Credentials, DatabaseSettings, LeaseSettings, Settings};
pub use tree::Tree;
