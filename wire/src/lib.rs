//! What crosses a wire or a disk in Eventail: events, names, limits, error codes, frames and the CloudEvents bindings.
//!
//! Everything here is pure: bytes in, values out. No clock, no socket, no file; a user of the client library compiles
//! this crate and little else.

pub mod clock;
pub mod cloudevents;
pub mod code;
pub mod event;
pub mod frame;
pub mod limits;
pub mod name;
pub mod offset;

pub use clock::{Clock, Timestamp};
pub use code::Code;
pub use event::{Event, EventBuilder, EventError, ValueKind};
pub use name::{NameError, TopicName, TriggerName};
pub use offset::Offset;
