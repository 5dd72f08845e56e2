//! Proves what a power cut leaves of a store: the real engine writes through a [`Recorder`], and every state that a disk may legally be
//! in afterwards is built from the record and opened again.
//!
//! - What a disk may do between two syncs: keep or lose every sector of 512 bytes that was written, in any order, each as it stood at
//!   some moment since the last sync; keep or lose every change of a length, in order; keep or lose every name that was made, changed
//!   or removed, in any combination, a rename as a whole.
//! - What is checked: everything acknowledged is there, dense and byte for byte; behind it stands a prefix of what was attempted; a
//!   record that was trimmed is gone only if what takes its place is there; ids that are remembered are those of the log.
//! - The recorder can drop syncs as a disk that lies would. A check that does not notice proves nothing, so tests demand that it does.
//!
//! It is part of the product: `eventail torture` runs it on a user's disk.

mod check;
mod decisions;
mod load;
mod recorder;
mod trace;
mod world;

pub use check::{CheckOptions, CheckReport, check};
pub use load::{LoadOptions, Loss, Promise, Safe, payload, record_load, run_load, verify};
pub use recorder::{Omit, Recorder};
pub use trace::Trace;

#[cfg(test)]
mod tests;
