//! A small OCI registry for development (OCI distribution specification 1.1): push, pull, tags, referrers; files in one folder.
//!
//! ```text
//! blobs/<hex>                              every blob and manifest, by SHA-256
//! repositories/<name>/_manifests/<hex>     media type of a manifest that this repository has
//! repositories/<name>/_blobs/<hex>         empty: this repository has the blob
//! repositories/<name>/_tags/<tag>          digest
//! repositories/<name>/_referrers/<hex>/<hex>   descriptor of a manifest whose subject is the first digest
//! uploads/<id>                             unfinished; emptied on start
//! ```
//!
//! Nobody logs in: it listens on loopback and whoever reaches it may write. What it does check is what a client's safety rests
//! on: content has the digest that it is stored under, a manifest's parts are there, sizes have an end. The referrers API can be
//! switched off, since clients have to live with registries that have none.

mod http;
mod name;
mod storage;

pub use http::{Settings, build};
pub use name::{Digest, Reference, Repository, Tag};
pub use storage::{Storage, StorageError};
