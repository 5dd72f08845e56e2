//! The configuration: what an operator may decide, checked while it is read.

pub mod model;

pub use model::*;
