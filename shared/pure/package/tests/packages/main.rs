//! Packages against what upstream's own code says of them, and packages that were damaged.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

mod alpine;
mod cases;
mod jar;
mod rpm;
