//! sigstack
