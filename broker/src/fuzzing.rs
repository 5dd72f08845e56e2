//! Ways in for the fuzz targets of `tests/fuzz`: what outsiders' bytes meet, without sockets and disks around it. No part of the
//! library's interface: it may change at any time.

use bytes::Bytes;
use eventail_triggers::subscription::Snapshot;
use eventail_wire::Event;
use http::Response;
use http::request::Parts;
use http_body_util::Full;

use crate::config::Limits;

/// The events that a publishing request with this head and body carries.
///
/// # Errors
/// The answer where it is refused.
pub fn ingest(parts: &Parts, limits: &Limits, body: Bytes) -> Result<Vec<Event>, Box<Response<Full<Bytes>>>> {
    crate::http::decode(parts, limits, body)
}

/// The states of lanes that these records of the settlements' journal come to, up to the first that cannot be read.
#[must_use]
pub fn settlements(records: &[&[u8]]) -> Vec<Snapshot> {
    crate::core::replayed_settlements(records)
}
