//! End to end: the real binary over real sockets, each promise of DESIGN as tests that try to break it.
#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

mod auth;
mod bad_frames;
mod bad_input;
mod batches;
mod callbacks;
mod cli;
mod control;
mod dead_letters;
mod delayed;
mod deliver;
mod examples;
mod function_failures;
mod functions;
mod github;
mod inputs;
mod invoke_api;
mod lambda;
mod ledger;
mod lifecycle;
mod observe;
mod orphans;
mod outages;
mod publish;
mod quic;
mod quickstart;
mod reload;
mod replay;
mod replies;
mod schedules;
mod support;
mod tls;
mod traffic;
mod what_if;
mod why;
