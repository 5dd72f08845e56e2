//! The engine that keeps logs in segment files of this machine. The format and its rules are told in the crate's
//! documentation.

pub(crate) mod batch;
mod check;
mod core;
pub mod files;
mod format;
mod handle;
mod moment;
pub(crate) mod names;
pub(crate) mod reader;
pub(crate) mod recovery;
mod repair;
mod scan;
mod segment;
pub(crate) mod shared;
mod sidecar;
mod steps;
mod store;
mod survey;
mod tail;
mod threads;
mod window;
mod writer;

pub use check::{Corruption, LogCheck, TornTail, check, try_writing};
pub use files::Checked;
pub use format::{FORMAT, mark as mark_format};
pub use moment::{LogAtMoment, Moment, SegmentAtMoment};
pub use repair::{QUARANTINE, Repair, RepairError, repair};
pub use steps::Steps;
pub use store::{DiskStore, OpenError, OpenReport};

#[cfg(test)]
mod tests;
