//! fulcio-rs
