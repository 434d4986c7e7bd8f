//! All of Sigstore in one process, for development and end-to-end tests.
//!
//! ```text
//! sigstack up      certificate authority, CT log, timestamp authority, Rekor v2   each brought to life by its own `service(settings)`
//!                  identity provider, container registry, TUF repository           which only this package has
//! sigstack token   a token for scripts              sigstack demo   the whole story, told step by step
//! sigstack init    keys, trust files and settings   sigstack serve  one of its own services alone, for containers
//! ```
//!
//! This is the one crate that knows every service. It adds nothing to them: it makes keys and settings files, and starts each service
//! from its file as the service's own program would. Services meet over HTTP here too.
//!
//! Not for production: the identity provider believes everybody, the registry lets everybody write.

pub mod args;
pub mod browser;
pub mod demo;
pub mod issuer;
pub mod layout;
pub mod material;
mod parts;
pub mod program;
pub mod registry;
pub mod repository;
pub mod scripts;
pub mod state;
pub mod token;
pub mod trust_files;
pub mod up;
