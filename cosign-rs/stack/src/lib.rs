//! sigstack
pub mod browser;
pub mod issuer;
pub mod material;
pub mod registry;
pub mod repository;
pub mod state;
