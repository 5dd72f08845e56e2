//! Tests of the disk engine.

mod anomaly;
mod damage;
mod dedup;
mod engine;
mod fixtures;
mod full;
mod repair;
mod rig;
mod steps;
mod store;
