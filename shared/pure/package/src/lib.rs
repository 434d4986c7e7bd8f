//! Software packages as a Rekor v1 log sees them: what is signed in them, by what, and which facts about them go into an entry.
//!
//! One module for each format: [`apk`] (Alpine), [`rpm`], [`jar`] (signed Java archives). Each takes the whole package as bytes and does bounded work in
//! memory; every length, count and inflated size has a limit, named in the module. Where formats leave room, the reading is that of upstream
//! (sigstore/rekor 1.5), since the entry must be the same byte for byte; where upstream would believe something that nobody checked, the
//! package is refused, and the module says so.

mod crypto;
mod error;
mod tar;
mod text;

pub mod apk;
pub mod jar;
pub mod rpm;

pub use apk::Apk;
pub use error::PackageError;
pub use jar::Jar;
pub use rpm::Rpm;
