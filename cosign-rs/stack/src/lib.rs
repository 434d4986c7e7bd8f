//! sigstack
pub mod issuer;
pub mod registry;
pub mod repository;
pub mod state;
