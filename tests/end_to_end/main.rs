//! End to end: the real binary over real sockets, each promise of DESIGN as tests that try to break it.
#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

mod control;
mod dead_letters;
mod deliver;
mod lifecycle;
mod outages;
mod publish;
mod replies;
mod support;
