//! Reading the body of an answer: no further than it is wanted.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::link::Link;

/// What is read of a body so that its connection can be used again, though nobody wants it: reading more costs more than
/// a new connection does.
const DRAINED_BYTES_MAX: usize = 64 << 10;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// Its first bytes, as many as were to be kept.
    pub(crate) kept: Bytes,
    /// Whether `kept` is all of it.
    pub(crate) is_whole: bool,
    /// Whether it was read to its end, so that the connection is ready for the next request.
    pub(crate) is_read: bool,
}

/// Reads the body and keeps its first `keep_bytes_max` bytes.
pub(super) async fn read(
    link: &mut Link,
    mut incoming: Incoming,
    keep_bytes_max: usize,
) -> Result<Body, hyper::Error> {
    if incoming.is_end_stream() {
        return Ok(Body { kept: Bytes::new(), is_whole: true, is_read: true });
    }
    let read_bytes_max = keep_bytes_max.max(DRAINED_BYTES_MAX);
    link.drive(async {
        let mut kept = BytesMut::new();
        let mut read_bytes = 0;
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            read_bytes += data.len();
            kept.extend_from_slice(&data[..data.len().min(keep_bytes_max - kept.len())]);
            if read_bytes > read_bytes_max {
                return Ok(Body { kept: kept.freeze(), is_whole: false, is_read: false });
            }
        }
        Ok(Body { is_whole: kept.len() == read_bytes, kept: kept.freeze(), is_read: true })
    })
    .await
}
