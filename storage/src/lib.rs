//! The append log of Eventail, and the rebuildable index beside it.

pub mod index;
pub mod log;
