//! The TUF client with a door to the street: mirrors, a cache in a folder, and the refreshes between them. What holds is decided in `tuf`.
//!
//! ```text
//! Domain { mirror, pinned root }  +  Cache { folder }  +  Follow { refresh, now }  ->  Client
//! Client::follow   cache young enough?  -> from the cache alone
//!                  else lock, look again, -> update from the mirror, each checked file kept at once
//! Client::target   search, then the cache or the mirror
//! ```
//!
//! The cache is laid out as sigstore-go's, so that cosign and this share it:
//!
//! ```text
//! ~/.sigstore/root/HOST-PATH/{root,timestamp,snapshot,targets,ROLE}.json     the newest of each role, as it came
//!                           /targets/NAME                                  targets, one file each
//!                           /root_history/N.root.json                      ours: every root since the pinned one
//!                           /root_history/{pinned.root,mirror}.json        ours: what `initialize` was told
//!                           /root_history/mirror-cacert.pem                ours: certificate authorities for calls to it
//! ~/.sigstore/root/HOST-PATH.json     {"lastTimestamp": when it was refreshed}
//! ~/.sigstore/root/HOST-PATH.lock     ours: who refreshes
//! ```
//!
//! Nothing in the cache is believed: every start verifies it again from the pinned root on, offline too, and a file that does not hold is as
//! good as none. So whoever can write there can make us fetch again or fail, and no more; whoever runs the mirror, or sits between, can keep us
//! at what we have until it expires, and no more. Files are replaced whole, so a crash between two of them leaves older ones beside newer ones,
//! which the next update fetches again. A cache that cannot be written is not used, which costs requests and is told.

mod cache;
mod client;
mod domain;
mod mirror;

pub use cache::Cache;
pub use client::{Client, Follow, FollowError, Followed, Refresh, Source, Warning};
pub use domain::{Built, DOMAINS, Domain, DomainError, Folder, Known, is_name};
pub use mirror::{Mirror, MirrorError, agent};
