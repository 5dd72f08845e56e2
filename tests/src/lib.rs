//! What the tests share: the real binary in a folder of its own, a scripted HTTP receiver, a small HTTP client, and bounded
//! waiting on conditions.
//!
//! Everything binds loopback, leaves nothing behind when it is dropped, and panics with what it saw when a promise of the
//! harness itself does not hold. It must not know how the broker works inside.

pub mod aws;
pub mod binary;
pub mod events;
pub mod function;
pub mod fuzz;
pub mod github;
pub mod home;
pub mod http;
pub mod raw_quic;
pub mod receiver;
pub mod script;
pub mod server;
pub mod tls;
pub mod wait;

pub use home::Home;
pub use http::{Answer, Api};
pub use receiver::{Received, Receiver};
pub use script::Reply;
pub use server::Server;
pub use wait::{eventually, until, within};
