//! CloudEvents 1.0 at the edge: the JSON format, the JSON batch format and the HTTP binding (cloudevents/spec
//! `formats/json-format.md`, `bindings/http-protocol-binding.md`), as pure functions between bytes and [`crate::Event`].
//!
//! It promises that data passes byte for byte (JSON data keeps its spelling), that what breaks the specification is
//! refused with the attribute's name, and that no input panics. It must not know sockets, nor the `http` crate: headers
//! come and go as names and bytes, so that the server, the client and the targets can share it.

mod binary;
mod error;
mod mode;
mod percent;
mod structured;
mod write;

pub use binary::{BinaryHeader, binary_headers, decode_binary};
pub use error::CloudEventError;
pub use mode::{BATCH_MEDIA_TYPE, Mode, STRUCTURED_MEDIA_TYPE};
pub use structured::{BatchLimits, decode_batch, decode_structured};
pub use write::{
    encode_batch, encode_structured, encode_structured_correlated, write_structured,
    write_structured_correlated,
};

/// The one version of the specification that is spoken.
const SPEC_VERSION: &str = "1.0";

#[cfg(test)]
mod tests;
