//! What decides where an event goes, when it is tried again, and how a target is called.

pub mod function;
pub mod http;
pub mod input;
pub mod key;
pub mod lambda;
pub mod ledger;
pub mod limiter;
pub mod outcome;
pub mod panics;
pub mod pattern;
pub mod payload;
pub mod policy;
pub mod rate;
pub mod report;
pub mod schedule;
pub mod subscription;
pub mod target;
