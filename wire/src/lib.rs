//! What crosses a wire or a disk in Eventail: events, names, limits, error codes, frames and the CloudEvents bindings.
//!
//! Everything here is pure: bytes in, values out. No clock, no socket, no file; a user of the client library compiles
//! this crate and little else.
//!
//! # The protocol
//!
//! Eventail's own protocol runs over QUIC with the ALPN name `eventail/1` ([`frame::ALPN`]). A client opens one
//! bidirectional stream for each publisher and each subscription and keeps it; unidirectional streams, datagrams and 0-RTT
//! data are not used. 0-RTT can be replayed by whoever recorded it, so a server takes none.
//!
//! ## Limits
//!
//! | what | limit | past it |
//! | --- | --- | --- |
//! | a frame with events | `frame_bytes_max` of the welcome | fault `frame_too_large`, the connection ends |
//! | a frame without events | [`limits::CONTROL_FRAME_BYTES_MAX`] | the same |
//! | an event | `event_bytes_max` of the welcome | the publish is refused, `event_too_large` |
//! | a publish | `batch_events_max`, `batch_bytes_max` of the welcome | the publish is refused, `batch_too_large` |
//! | deliveries owed to a subscription | `credit_max` of the welcome | fault `invalid_parameter`, the stream ends |
//! | time from a stream's opening to its hello | the server's request timeout | fault `request_timeout`, the stream ends |
//! | half a frame, with no further byte | the same | the same |
//! | connections | the server's `limits.connections_max` | the handshake is refused |
//! | bytes of publishes under way on a connection | the server's choice | it stops reading: flow control holds the client |
//!
//! ## Layout
//!
//! A stream is frames one behind the other. Integers outside MessagePack are little-endian.
//!
//! ```text
//! frame:    u32 length of what follows   u8 kind   body
//! body:     one MessagePack array of the fields of the frame's type in [`frame`], in their order
//! body with events (publish, deliver):
//!           u32 length of the header   header (MessagePack)   events, each: u32 length   event
//! event:    the bytes of [`Event`], never encoded anew
//! ```
//!
//! | kind | number | from | fields |
//! | --- | --- | --- | --- |
//! | hello | `01` | client | version, client, token (left out where there is none) |
//! | publish | `02` | client | header: request, topic; events |
//! | subscribe | `03` | client | request, name, topic, pattern or nil, start, lease_ms, max_attempts, credit |
//! | credit | `04` | client | deliveries |
//! | ack | `05` | client | tokens |
//! | nack | `06` | client | tokens, delay_ms or nil, reason |
//! | reject | `07` | client | tokens, reason |
//! | extend | `08` | client | tokens |
//! | goodbye | `09` | both | (no body) |
//! | callback | `0a` | client | request, token, action |
//! | welcome | `81` | server | version, server, limits: \[event_bytes_max, batch_events_max, batch_bytes_max, frame_bytes_max, credit_max\] |
//! | published | `82` | server | request, runs: \[offset, count, duplicate\] each |
//! | refused | `83` | server | request, code, message, retry_after_ms or nil |
//! | subscribed | `84` | server | request |
//! | deliver | `85` | server | header: a list of \[token, offset, appended_at, attempt, deadline\]; as many events |
//! | stale | `86` | server | tokens |
//! | fault | `87` | server | code, message |
//! | called back | `88` | server | request, outcome |
//! | held | `89` | server | request, runs as published has them, held: \[index, id, deliver_at, duplicate\] each |
//!
//! `start` is `"latest"`, `"earliest"` or `{"at": milliseconds}`; times are milliseconds since the Unix epoch; codes are the
//! texts of [`Code`]. `action` is `"ack"`, `{"nack": [after_ms or nil, reason]}`, `{"reject": [reason]}` or
//! `{"extend": [by_ms or nil]}`; `outcome` is `"delivered"`, `{"retry": [at]}`, `"dead_lettered"`, `{"extended": [deadline]}` or
//! `"kept"`. A field more or less is malformed: what changes the protocol gets a version of its own. A new kind does not: only
//! who asks for what it does sends it.
//!
//! ## The conversation
//!
//! 1. **Hello** comes first on each stream, **welcome** answers it. A server that does not speak the client's version
//!    answers fault `protocol_version`, and one that does not take the token fault `unauthenticated`, or `too_many_attempts`
//!    where that happened too often. Without a token a client may do what nobody needs one for. What it may not do is refused
//!    (publish, subscribe) or ends the stream (all else, for instance after the token was revoked) with `unauthenticated` or
//!    `forbidden`.
//! 2. **Publish** frames may follow without waiting for answers. Requests count up by one on a stream; answers come in the
//!    order of the requests. A publish is taken whole or not at all: **published** when its events are durable,
//!    **refused** otherwise. A refusal ends neither stream nor connection. A publish of which some events are held until their
//!    time (attributes `deliverat`, `deliverafter`) is answered **held** instead: `held` tells of those by their index in the
//!    publish, in ascending order, and `runs` of the others.
//! 3. After a refusal whose code is retryable ([`Code::is_retryable`]) the server refuses with the same code whatever was
//!    sent behind it, until the refused request's number comes again: so a client that goes back to it and sends all again
//!    keeps its order. Where storage failed in the midst, requests that were under way beside the refused one may have been
//!    taken: they are answered so.
//! 4. A client whose connection was lost sends what was not answered again, with the same event ids; deduplication makes
//!    one event of two.
//! 5. **Subscribe** is answered **subscribed** or refused; one for each stream. The server sends **deliver** frames while
//!    the credit lasts; each delivery takes one, **credit** adds some. Each delivery is settled by its token with ack, nack
//!    or reject, or its lease runs out. A token belongs to its stream; outcomes for leases that are no longer held come
//!    back as **stale**. When the stream ends, its leases are handed back.
//! 6. **Callback** tells what became of an event that a trigger's target took over, by the token that came with it. It is answered
//!    **called back**, or refused: `delivery_not_found` where nobody waits for that token. A token is good for one ack, nack or
//!    reject, on any stream. Callbacks may follow each other without waiting; answers come in their order.
//! 7. **Goodbye** from a client ends the stream in order: what it sent before is answered, then the server ends its side.
//!    From a server it says that it is stopping: it takes nothing more, answers what is under way and ends its side;
//!    what it did not answer is to be sent again, to this server when it is back or to another.
//! 8. **Fault** says why the server ends the stream: bytes that are no frame (`malformed`, `frame_too_large`), a frame out
//!    of turn (`malformed`), half a frame at the end of the stream (`malformed`). Only `frame_too_large` ends the
//!    connection with it. Other streams and connections never notice.

pub mod clock;
pub mod cloudevents;
pub mod code;
pub mod event;
pub mod frame;
pub mod limits;
pub mod name;
pub mod offset;
pub mod placed;

pub use clock::{Clock, Timestamp};
pub use code::Code;
pub use event::{Event, EventBuilder, EventError, ValueKind};
pub use name::{FunctionName, NameError, ScheduleName, TopicName, TriggerName};
pub use offset::Offset;
pub use placed::{HeldId, Placed};
