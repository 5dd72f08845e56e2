//! The client against a server that answers by script: every order of answers, refusals and losses can be had.

// What the script takes for granted may panic: it is a test.
#![allow(clippy::unwrap_used)]

mod delivery;
mod publisher;
mod scripted;
mod subscription;
