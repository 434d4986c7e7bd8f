//! tsa-rs
