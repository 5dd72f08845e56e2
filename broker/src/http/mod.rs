//! The HTTP API: publishing and reading events, topics, triggers, functions, dead letters, replays, health and metrics, on one listener
//! that speaks HTTP/1.1 and HTTP/2 with prior knowledge, or both by ALPN where the configuration has a certificate.
//!
//! - Every refusal is `application/problem+json` with a stable `code` and, for a limit, the limit and the value. The two
//!   exceptions are made by hyper before there is a request to answer: a head that is no HTTP (400) or is many times over its limits
//!   (431), both without a body.
//! - The routes are one table (`routes.rs`); the router is built from it, and a test holds `openapi.json` against it.
//! - Nothing a peer does ends the server or takes memory without bound: heads, bodies, connections and the time that each may
//!   take are limited, and a handler that panics becomes a 500. A connection on which nothing happens for as long as a
//!   request may take to arrive (`limits.request_timeout`) is closed, and so is one whose peer takes ten times as long to read an
//!   answer. Answers under way hold no more together than request bodies may. Where there are as many connections as there may
//!   be, one that has never asked anything makes room.
//!
//! It holds no state of its own: it must not know topics, triggers or logs but through [`crate::Broker`].

mod answers;
mod api;
mod backups;
mod body;
mod config;
mod connection;
mod cross_site;
mod dead_letters;
mod delayed;
mod deliveries;
mod door;
mod events;
mod functions;
mod guard;
mod handshake;
mod health;
mod invoke;
mod problem;
mod publish;
mod query;
mod replays;
mod requests;
mod routes;
mod schedules;
mod server;
mod sigv4;
mod stall;
mod starting;
mod timeline;
mod topics;
mod triggers;

#[cfg(test)]
mod tests;

pub(crate) use publish::decode;
pub use server::{Drained, HttpError, HttpOptions, HttpServer, serve, serve_on};
pub use starting::{StartingServer, serve_starting};

/// The OpenAPI 3.1 description that `/openapi.json` answers with.
pub const OPENAPI: &str = include_str!("openapi.json");
