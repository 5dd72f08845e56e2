//! What the benches share: payloads that prove themselves, a target in its own process, raw HTTP connections, latencies,
//! and tables with the durability in their first column.
//!
//! A fast wrong answer is a failure: every event that a run counts was compared byte for byte where it arrived.

pub mod abuser;
pub mod bare_client;
pub mod bare_function;
pub mod broker_process;
pub mod clock;
pub mod function;
pub mod latencies;
pub mod limits;
pub mod pace;
pub mod payload;
pub mod process;
pub mod quic_crowd;
pub mod read_back;
pub mod report;
pub mod requests;
pub mod scenario;
pub mod system;
pub mod target;
