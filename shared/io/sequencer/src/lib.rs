//! The log engine: one sequencer per tree, under Rekor and the CT log alike.
//!
//! ```text
//! let log = Log::<MyLeaf>::open(Config::new(folder), signer, clock).await?;    // recovers, or refuses
//! let appended = log.append(leaf).await?;           // durable: index, timestamp, duplicate?, proof, head, checkpoint
//! log.published()                                   // newest head and its signed checkpoint
//! log.read(&Resource::parse(path, MyLeaf::BUNDLE)?).await?   // C2SP paths; Ok(None) beyond the published size
//! log.tile(id) / log.bundle(id) / log.entry(index) / log.inclusion(index) / log.consistency(old)
//! log.health()                                      // Err(reason) once a write failed
//! log.close().await                                 // everything written and synced
//! ```
mod checkpoint_signer;
mod leaf;

pub use checkpoint_signer::{CheckpointSigner, NoteSigner, SignError, SignFuture, TreeHeadSigner};
pub use leaf::{Leaf, SealedLeaf, StoredLeaf};
