//! cosign-rs
