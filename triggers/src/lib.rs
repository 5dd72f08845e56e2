//! What decides where an event goes, when it is tried again, and how a target is called.

pub mod http;
pub mod key;
pub mod outcome;
pub mod pattern;
pub mod policy;
pub mod subscription;
pub mod target;
