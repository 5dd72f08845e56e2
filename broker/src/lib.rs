//! Eventail as a library: the broker that the `eventail` binary runs, in the process of whoever opens it.

pub mod cli;
pub mod config;
mod core;
pub mod status;

pub use core::{Broker, BrokerBuilder, BrokerError, Delivery, SubscribeOptions, Subscriber};
