//! rekor-rs
