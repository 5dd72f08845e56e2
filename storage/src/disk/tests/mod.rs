//! Tests of the disk engine.

mod anomaly;
mod damage;
mod dedup;
mod engine;
mod format;
mod full;
mod moment;
mod panics;
mod rig;
mod store;
