//! What concerns the broker as a whole: listeners, certificate, limits, the ranges that targets may be at.

use std::net::SocketAddr;

use eventail_wire::limits;

use super::amount::{Count, count, set};
use super::auth;
use super::model::{Config, Limits};
use super::problem::{Conflict, Problem};
use super::reader::{Reader, Section};
use super::units::{ByteSize, Duration};
use super::{schema, tls};

/// A stop that waits longer than this is stuck.
const DRAIN_MAX: Duration = Duration::from_secs(60 * 60);
/// Half a minute is the default; whoever needs more than an hour for one request has another problem.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// Events of one publish: each needs an entry in the answer, which stays in memory until it was sent.
const BATCH_EVENTS_CEILING: u64 = 100_000;
/// Bytes of one publish: a batch must fit into one frame.
const BATCH_BYTES_CEILING: u64 = limits::EVENT_BYTES_CEILING as u64;
/// Bytes that wait for their sync are memory.
const IN_FLIGHT_BYTES_CEILING: u64 = 16 << 30;
/// File descriptors, at most.
const CONNECTIONS_CEILING: u64 = 1_000_000;
/// The HTTP server cannot read a request with less than this.
const HEADER_BYTES_LEAST: u64 = 8 << 10;
/// More than this in headers is data.
const HEADER_BYTES_CEILING: u64 = 1 << 20;
/// Each topic has an open file.
const TOPICS_CEILING: u64 = 1_000_000;
/// Each has a few rows in the index.
const DELAYED_EVENTS_CEILING: u64 = 100_000_000;
/// Held events are disk.
const DELAYED_BYTES_CEILING: u64 = 4 << 40;
/// A chain of replies longer than this is a loop.
const HOPS_CEILING: u64 = 1_000;

/// Reads what stands at the top of the file and in the sections of the broker as a whole.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>, config: &mut Config) {
    if let Some((path, _)) = root.string(reader, "data_dir") {
        config.data_dir = reader.path(path);
    }
    set(&mut config.drain_ms, root.amount(reader, "drain", Duration::default()..=DRAIN_MAX));
    if let Some(listen) = root.section(reader, "listen", schema::LISTEN) {
        set(&mut config.http, listen.parsed(reader, "http", |text| address("http", text)));
        set(&mut config.quic, listen.parsed(reader, "quic", |text| address("quic", text)));
        config.listen = auth::read_listen(reader, &listen);
        if let Some(section) = listen.section(reader, "tls", schema::TLS) {
            config.tls = tls::read(reader, &section);
        }
    }
    if let Some(section) = root.section(reader, "limits", schema::LIMITS) {
        read_limits(reader, &section, &mut config.limits);
    }
    read_egress(reader, root, config);
}

/// Reads `[egress]`.
fn read_egress(reader: &mut Reader<'_>, root: &Section<'_>, config: &mut Config) {
    let Some(egress) = root.section(reader, "egress", schema::EGRESS) else { return };
    for item in egress.get("allow").map(|allow| allow.items(reader)).unwrap_or_default() {
        let Some(text) = item.string(reader) else { continue };
        match text.parse() {
            Ok(range) => config.egress_allow.push(range),
            Err(source) => {
                let (key, value) = (item.key.clone(), text.to_owned());
                reader.note(Problem::Network { key, value, source }, &item.span);
            }
        }
    }
    for item in egress.get("ports").map(|ports| ports.items(reader)).unwrap_or_default() {
        let Some(text) = item.string(reader) else { continue };
        match text.parse() {
            Ok(range) => config.egress_ports.push(range),
            Err(source) => {
                let (key, value) = (item.key.clone(), text.to_owned());
                reader.note(Problem::Ports { key, value, source }, &item.span);
            }
        }
    }
    let origin = egress.parsed(reader, "origin", |text| {
        text.parse().map_err(|source| Problem::Origin {
            key: "origin".to_owned(),
            value: text.to_owned(),
            source,
        })
    });
    if let Some(origin) = origin {
        config.egress_origin = origin;
    }
}

/// Where a listener is: an IP address and a port, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAt(pub Option<SocketAddr>);

/// A text is no address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be an IP address and a port, such as 127.0.0.1:4080, or off")]
pub struct ListenAtError;

impl std::str::FromStr for ListenAt {
    type Err = ListenAtError;

    fn from_str(text: &str) -> Result<Self, ListenAtError> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| ListenAtError)
    }
}

fn address(key: &str, text: &str) -> Result<Option<SocketAddr>, Problem> {
    let problem = |_| Problem::Address { key: key.to_owned(), value: text.to_owned() };
    text.parse().map(|ListenAt(address)| address).map_err(problem)
}

fn read_limits(reader: &mut Reader<'_>, section: &Section<'_>, limits: &mut Limits) {
    let bytes = |least: u64, most: u64| ByteSize::from_bytes(least)..=ByteSize::from_bytes(most);
    let event_ceiling = limits::EVENT_BYTES_CEILING as u64;
    set(
        &mut limits.event_bytes_max,
        count(section.amount(reader, "event_bytes_max", bytes(1 << 10, event_ceiling))),
    );
    set(
        &mut limits.batch_events_max,
        count(section.amount(reader, "batch_events_max", Count(1)..=Count(BATCH_EVENTS_CEILING))),
    );
    set(
        &mut limits.batch_bytes_max,
        count(section.amount(reader, "batch_bytes_max", bytes(1 << 10, BATCH_BYTES_CEILING))),
    );
    set(
        &mut limits.connections_max,
        count(section.amount(reader, "connections_max", Count(1)..=Count(CONNECTIONS_CEILING))),
    );
    let per_address =
        section.amount(reader, "connections_per_address_max", Count(1)..=Count(CONNECTIONS_CEILING));
    limits.connections_per_address_max = count(per_address).or(limits.connections_per_address_max);
    let in_flight =
        count(section.amount(reader, "in_flight_bytes_max", bytes(1 << 20, IN_FLIGHT_BYTES_CEILING)));
    limits.in_flight_is_told |= in_flight.is_some();
    set(&mut limits.in_flight_bytes_max, in_flight);
    set(
        &mut limits.header_bytes_max,
        count(section.amount(reader, "header_bytes_max", bytes(HEADER_BYTES_LEAST, HEADER_BYTES_CEILING))),
    );
    set(
        &mut limits.topics_max,
        count(section.amount(reader, "topics_max", Count(1)..=Count(TOPICS_CEILING))),
    );
    let hops = section.amount(reader, "hops_max", Count(1)..=Count(HOPS_CEILING));
    set(&mut limits.hops_max, hops.and_then(|hops| u32::try_from(hops).ok()));
    set(
        &mut limits.delayed_events_max,
        count(section.amount(reader, "delayed_events_max", Count(0)..=Count(DELAYED_EVENTS_CEILING))),
    );
    set(
        &mut limits.delayed_bytes_max,
        count(section.amount(reader, "delayed_bytes_max", bytes(0, DELAYED_BYTES_CEILING))),
    );
    let timeout = section.amount(reader, "request_timeout", Duration::from_ms(1)..=REQUEST_TIMEOUT_MAX);
    set(&mut limits.request_timeout_ms, timeout);
    let wait = section.amount(reader, "publish_wait", Duration::from_ms(1)..=PUBLISH_WAIT_MAX);
    set(&mut limits.publish_wait_ms, wait);
    let ordered = [
        ("event_bytes_max", limits.event_bytes_max),
        ("batch_bytes_max", limits.batch_bytes_max),
        ("in_flight_bytes_max", limits.in_flight_bytes_max),
    ];
    for pair in ordered.windows(2) {
        check_order(reader, section, pair[0], pair[1]);
    }
}

/// An event must fit into a batch, and a batch into what may wait.
fn check_order(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    (key, value): (&'static str, usize),
    (other, other_value): (&'static str, usize),
) {
    if value <= other_value {
        return;
    }
    let shown = |bytes: usize| ByteSize::from_bytes(bytes as u64).to_string();
    let span =
        section.get(key).or_else(|| section.get(other)).map_or(section.span.clone(), |found| found.span);
    let conflict = Conflict::MoreThan { value: shown(value), other, other_value: shown(other_value) };
    reader.note(Problem::Conflict { key: key.to_owned(), conflict }, &span);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_at_an_address_and_a_port_or_off() {
        assert_eq!("off".parse(), Ok(ListenAt(None)));
        assert_eq!("[::1]:80".parse(), Ok(ListenAt(Some("[::1]:80".parse().unwrap()))));
        for text in ["localhost:80", "127.0.0.1", "", "OFF", ":80"] {
            assert_eq!(text.parse::<ListenAt>(), Err(ListenAtError), "{text}");
        }
    }
}
