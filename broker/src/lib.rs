//! Eventail as a library: the broker that the `eventail` binary runs, in the process of whoever opens it.

pub mod auth;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
mod core;
mod crowd;
mod file_watch;
#[doc(hidden)]
pub mod fuzzing;
mod glob;
pub mod http;
mod lambda_name;
pub mod metrics;
pub mod panics;
pub(crate) mod peer;
pub mod quic;
pub mod rehearsal;
mod resources;
pub mod status;
mod tls;

pub use core::{
    Broker, BrokerBuilder, BrokerError, Delivery, ReloadError, ReplayError, StartProgress, SubscribeOptions,
    Subscriber,
};
pub use eventail_wire::frame::{CallbackAction, CallbackOutcome};
pub use tls::TlsError;
