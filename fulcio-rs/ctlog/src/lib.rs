//! ctlog-rs
