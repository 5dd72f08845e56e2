//! The trace header of Lambda (AWS X-Ray), made from W3C's `traceparent`.

use std::fmt::Write as _;

use eventail_wire::Timestamp;

/// `Root=1-8hex-24hex;Parent=16hex;Sampled=0|1` from a `traceparent`. What is none is taken to be a trace header already.
pub(super) fn header(trace: &str) -> String {
    let mut parts = trace.split('-');
    let (_version, Some(id), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return trace.to_owned();
    };
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex(id, 32) || !is_hex(parent, 16) || !is_hex(flags, 2) {
        return trace.to_owned();
    }
    let sampled = u8::from_str_radix(flags, 16).unwrap_or_default() & 1;
    format!("Root=1-{}-{};Parent={parent};Sampled={sampled}", &id[..8], &id[8..])
}

/// A trace of its own for an invocation that belongs to none: not sampled, and the same for the same request.
pub(super) fn fresh(request_id: &str, now: Timestamp) -> String {
    let mut header = format!("Root=1-{:08x}-", (now.0 / 1000) & 0xffff_ffff);
    let high =
        rapidhash::v3::rapidhash_v3_seeded(request_id.as_bytes(), &rapidhash::v3::RapidSecrets::seed(1));
    let low =
        rapidhash::v3::rapidhash_v3_seeded(request_id.as_bytes(), &rapidhash::v3::RapidSecrets::seed(2));
    // Writing to a string cannot fail.
    let _ = write!(header, "{high:016x}{:08x};Parent={low:016x};Sampled=0", low >> 32);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_becomes_an_x_ray_header() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let wanted = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1";
        assert_eq!(header(given), wanted);
    }

    #[test]
    fn an_x_ray_header_stays_as_it_is() {
        let given = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(header(given), given);
    }

    #[test]
    fn an_invocation_without_a_trace_gets_one_in_the_right_form() {
        let header = fresh("r-1", Timestamp(1_700_000_000_123));
        let (root, rest) = header.split_once(';').unwrap();
        assert_eq!(root.len(), "Root=1-5759e988-bd862e3fe1be46a994272793".len());
        assert!(root.starts_with("Root=1-6553f100-"), "{header}");
        assert!(rest.ends_with(";Sampled=0"), "{header}");
        assert_ne!(fresh("r-2", Timestamp(1_700_000_000_123)), header);
    }
}
