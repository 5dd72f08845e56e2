//! The stable error codes: one table for HTTP, frames, the client and the CLI.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $text:literal, $status:literal, $retryable:literal;)*) => {
        /// A stable error code. Its text, HTTP status and whether a retry can help never change for a given code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$meta])* $name),* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it stands in answers, logs and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// Whether the same request may succeed later without a change.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retryable),* }
            }
        }

        impl std::str::FromStr for Code {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$name),)* _ => Err(()) }
            }
        }
    };
}

codes! {
    /// It needs a token, a client certificate or a signature, and there is none that counts.
    Unauthenticated = "unauthenticated", 401, false;
    /// Whoever asks may not do this; the message says which permission it needs.
    Forbidden = "forbidden", 403, false;
    /// Too many tokens from this address were none. One that is right is taken all the same.
    TooManyAttempts = "too_many_attempts", 429, true;
    /// A web page of another origin asks for something that changes something.
    ForeignOrigin = "foreign_origin", 403, false;
    /// The request is addressed to a host that is not known to be this one.
    ForeignHost = "foreign_host", 403, false;
    /// The request or frame could not be understood.
    Malformed = "malformed", 400, false;
    /// An event breaks the CloudEvents rules.
    InvalidEvent = "invalid_event", 400, false;
    /// A name of a topic or trigger is not one.
    InvalidName = "invalid_name", 400, false;
    /// A parameter has a value that it cannot have.
    InvalidParameter = "invalid_parameter", 400, false;
    /// The configuration cannot be loaded; the answer says everything that is wrong with it.
    InvalidConfig = "invalid_config", 422, false;
    /// An event is larger than `limits.event_bytes_max`.
    EventTooLarge = "event_too_large", 413, false;
    /// A batch has more events or bytes than its limits.
    BatchTooLarge = "batch_too_large", 413, false;
    /// A frame is longer than its limit. The connection is closed.
    FrameTooLarge = "frame_too_large", 413, false;
    /// The content type is none that this route takes.
    UnsupportedMediaType = "unsupported_media_type", 415, false;
    /// The headers are larger than their limit.
    HeadersTooLarge = "headers_too_large", 431, false;
    /// The route does not exist.
    NotFound = "not_found", 404, false;
    /// The method is not allowed on this route.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// The topic does not exist and may not be created by publishing.
    UnknownTopic = "unknown_topic", 404, false;
    /// The topic takes only signed requests of the Invoke API.
    ReservedTopic = "reserved_topic", 403, false;
    /// The topic cannot be created: there are `limits.topics_max` of them.
    TooManyTopics = "too_many_topics", 507, false;
    /// The subscription cannot be created: there are as many as there may be.
    TooManySubscriptions = "too_many_subscriptions", 507, false;
    /// An event is to be delivered later than `DELAY_MS_MAX` (a year) from now.
    DelayTooLong = "delay_too_long", 400, false;
    /// The event cannot be held: as many are, or as many bytes of them, as `limits.delayed_events_max` and `_bytes_max` allow.
    TooManyDelayed = "too_many_delayed", 507, false;
    /// The trigger does not exist.
    UnknownTrigger = "unknown_trigger", 404, false;
    /// The schedule does not exist.
    UnknownSchedule = "unknown_schedule", 404, false;
    /// The function does not exist, or did nothing that is still known.
    UnknownFunction = "unknown_function", 404, false;
    /// The replay does not exist, or ended too long ago.
    UnknownReplay = "unknown_replay", 404, false;
    /// The event or dead letter does not exist, or retention took it.
    UnknownEvent = "unknown_event", 404, false;
    /// The offset lies before what retention kept.
    OffsetTrimmed = "offset_trimmed", 410, false;
    /// The request does not fit the present state, for instance a redrive into a trigger that is gone.
    Conflict = "conflict", 409, false;
    /// The lease of a delivery is no longer held.
    StaleLease = "stale_lease", 409, false;
    /// No delivery waits for a callback with this token: it was settled, ran out, is of before a restart, or never was.
    DeliveryNotFound = "delivery_not_found", 404, false;
    /// The server holds back: too much is under way.
    Overloaded = "overloaded", 429, true;
    /// The disk is full. Nothing was acknowledged that is not safe.
    StorageFull = "storage_full", 507, true;
    /// The log of this topic refuses writes after a failed write or sync, until a restart.
    StoragePoisoned = "storage_poisoned", 503, true;
    /// Stored bytes do not have their checksum.
    StorageCorrupt = "storage_corrupt", 500, false;
    /// The server is starting: it recovers what is on disk, and `/readyz` tells how far it is.
    Starting = "starting", 503, true;
    /// The server is stopping.
    ShuttingDown = "shutting_down", 503, true;
    /// The peer speaks another version of the protocol.
    ProtocolVersion = "protocol_version", 400, false;
    /// The request took too long to arrive.
    RequestTimeout = "request_timeout", 408, true;
    /// A mistake of the server itself.
    Internal = "internal", 500, true;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A code of a newer server is read as [`Code::Internal`]: an older client must survive it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.parse().unwrap_or(Self::Internal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_as_itself_and_has_an_error_status() {
        for &code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
    }
}
