//! The append log of Eventail, and the rebuildable index beside it.

pub mod conformance;
mod dedup;
pub mod disk;
pub mod disk_io;
pub mod index;
pub mod log;
pub mod metric_names;

pub use disk::{DiskStore, OpenError, OpenReport};
