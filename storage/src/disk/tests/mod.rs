//! Tests of the disk engine.

mod anomaly;
mod damage;
mod dedup;
mod engine;
mod fixtures;
mod format;
mod full;
mod moment;
mod panics;
mod reads;
mod repair;
mod rig;
mod steps;
mod store;
