//! Tests of the disk engine.

mod anomaly;
mod damage;
mod dedup;
mod engine;
mod full;
mod rig;
mod store;
