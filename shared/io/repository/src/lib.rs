//! A TUF repository for a Sigstore deployment, from its first ceremony to its tenth rotation.
//!
//! The state folder ([`repository`]) may be kept in git. People propose a change ([`Writer::edit_root`], [`Writer::edit_targets`]), sign it one
//! at a time on their own machines ([`sign_file`]), and publish it ([`publish`]); the online key signs what has to be signed daily. Who may write
//! to the folder can delay things; what clients accept still needs the keys. Who has the online key can hold clients at an old state for the
//! life of a timestamp, and give them no target that people did not sign.
//!
//! Time is an argument everywhere but in [`service`], which has a clock. The disk is a [`store::Disk`], so that tests stop it at every write.

pub mod discover;
mod error;
mod exchange;
pub mod places;
pub mod policy;
pub mod publish;
pub mod published;
pub mod repository;
pub mod service;
pub mod status;
mod trusted;

pub use error::RepositoryError;
pub use exchange::Files as ImportFiles;
pub use places::Copied;
pub use policy::Policy;
pub use publish::{Done, Timestamp};
pub use published::{Published, Seen, walk};
pub use repository::{
    Beginning, Repository, Review, Signers, Staged, Writer, online_entry, review, sign_file,
};
pub use status::{Level, Status};

/// The target that says whom to trust.
pub const TRUSTED_ROOT: &str = "trusted_root.json";
/// The target that says whom to call.
pub const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
