//! The event's W3C trace context as AWS writes it (X-Ray, "Tracing header").

use eventail_wire::Event;
use eventail_wire::event::rules::is_traceparent;

/// `Root=1-…;Parent=…;Sampled=…`, for `AWSTraceHeader`, `X-Amzn-Trace-Id` and `Lambda-Runtime-Trace-Id`; `None` where the
/// publisher gave a trace that is none.
#[must_use]
pub fn trace_header(event: &Event) -> Option<String> {
    let trace = event.traceparent();
    is_traceparent(&trace).then_some(())?;
    // `00-TRACE-SPAN-FLAGS`: the root is the trace with a dash behind its first eight digits.
    let (root, rest, parent) = (trace.get(3..11)?, trace.get(11..35)?, trace.get(36..52)?);
    // The lowest bit of the flags.
    let is_sampled = trace.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
    let sampled = if is_sampled { "1" } else { "0" };
    Some(["Root=1-", root, "-", rest, ";Parent=", parent, ";Sampled=", sampled].concat())
}
