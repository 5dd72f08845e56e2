//! Who may do what: tokens, certificates, permissions, and the gate that everything passes that the broker serves.
//!
//! - `permission.rs`, `need.rs` and `principal.rs` are the rules, and pure: a permission is a scope and the topics that it goes for; every
//!   route and every frame says in its table what it needs; a decision follows from the two.
//! - `token.rs`, `tokens.rs` and `file.rs` are the tokens: what is kept of them, and where.
//! - `gate.rs` finds out who asks; `attempts.rs` holds back who fails too often; `audit.rs` writes down what was done.
//! - `exposure.rs` says what must not be started.
//!
//! Without `[auth]` nobody is asked: a sidecar or a laptop needs no token. It must not know how requests come in: that is the
//! part of `http/guard.rs` and `quic/conversation.rs`.

mod attempts;
mod audit;
pub mod exposure;
mod file;
mod gate;
mod need;
mod permission;
mod principal;
mod token;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use audit::Act;
pub use exposure::Exposed;
pub use file::TokensFileError;
pub(crate) use file::{change, read};
pub(crate) use gate::{Denied, Gate, Session};
pub(crate) use need::Need;
pub use permission::{Permission, PermissionError, Scope};
pub(crate) use principal::{Decision, Place, Principal, Who};
pub(crate) use token::{TokenHash, generate};
pub use tokens::{Token, Tokens, TokensError};
