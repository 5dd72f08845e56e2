//! Which addresses may be called: a pure judgement over each address that a name resolves to.
//!
//! Whoever may name a URL in a trigger must not reach the operator's own network with it. So the public unicast space passes
//! and all else is refused, unless the configuration allows its range. An IPv6 address that carries an IPv4 address is
//! judged by that one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use super::connect::client_config;
use crate::target::BoxFuture;

/// A network in CIDR form, such as `127.0.0.0/8`; one address alone means just that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// Its base address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix_bits: u8,
}

/// Why a text is no [`AddressRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// What stands before the slash is no IP address.
    #[error("it does not begin with an IP address, as 127.0.0.0/8 does")]
    Address,
    /// What stands behind the slash is no number of bits, or more than the address has.
    #[error("the number behind the slash is not between 0 and {bits_max}")]
    Prefix {
        /// The bits that the address has.
        bits_max: u8,
    },
}

impl AddressRange {
    /// Whether `address` lies in it. The families are kept apart.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(self.prefix_bits.into());
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(self.prefix_bits.into());
                (base.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| AddressRangeError::Address)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(digits) => match digits.parse() {
                Ok(bits) if bits <= bits_max => bits,
                _ => return Err(AddressRangeError::Prefix { bits_max }),
            },
        };
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Some ports, such as `8000-8999`; one alone means just that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// A text is no [`PortRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither a port nor two of them such as 8000-8999, the lower one first")]
pub struct PortRangeError;

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or(PortRangeError);
        let (first, last) = (port(first)?, port(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(PortRangeError) }
    }
}

/// The name by which a sender asks targets for their leave: a DNS expression that stands for all of its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// A text is no [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no DNS name such as events.example.com")]
pub struct OriginError;

impl Origin {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self("eventail".to_owned())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        if is_name { Ok(Self(text.to_owned())) } else { Err(OriginError) }
    }
}

/// Turns a host's name into addresses.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`, each with `port`, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver (`getaddrinfo`).
struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The way out, shared by all HTTP targets: what may be called, how names are resolved, whose certificates are believed.
#[derive(Clone)]
pub struct Egress {
    allow: Arc<[AddressRange]>,
    /// Empty for all.
    ports: Arc<[PortRange]>,
    pub(super) origin: Origin,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) tls: Arc<ClientConfig>,
}

impl Egress {
    /// Public addresses and those in `allow`, the system's resolver, and the certificate authorities of the web.
    #[must_use]
    pub fn new(allow: impl IntoIterator<Item = AddressRange>) -> Self {
        Self {
            allow: allow.into_iter().collect(),
            ports: Arc::default(),
            origin: Origin::default(),
            resolver: Arc::new(SystemResolver),
            tls: Arc::new(client_config(&[])),
        }
    }

    /// Calls these ports alone; without any, all.
    #[must_use]
    pub fn with_ports(mut self, ports: impl IntoIterator<Item = PortRange>) -> Self {
        self.ports = ports.into_iter().collect();
        self
    }

    /// Asks targets for their leave by this name.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Resolves names with `resolver` instead.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Believes these certificate authorities as well.
    #[must_use]
    pub fn with_root_certificates(mut self, roots: &[CertificateDer<'static>]) -> Self {
        self.tls = Arc::new(client_config(roots));
        self
    }

    /// The same for hosts that the operator's own environment names, such as AWS's metadata services: every address passes.
    #[cfg(feature = "aws")]
    pub(crate) fn unscreened(&self) -> Self {
        let everything = |address| AddressRange { address, prefix_bits: 0 };
        let allow = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()].map(everything);
        Self { allow: Arc::new(allow), ports: Arc::default(), ..self.clone() }
    }

    /// Whether a port may be called.
    pub(super) fn allows_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| (range.first..=range.last).contains(&port))
    }

    /// Judges one address: `Err` names the kind of range that it lies in.
    pub(super) fn screen(&self, address: IpAddr) -> Result<(), &'static str> {
        let canonical = address.to_canonical();
        if self.allow.iter().any(|range| range.contains(address) || range.contains(canonical)) {
            return Ok(());
        }
        forbidden(address).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allow, ports, origin, .. } = self;
        let mut shown = f.debug_struct("Egress");
        shown.field("allow", allow).field("ports", ports).field("origin", origin).finish_non_exhaustive()
    }
}

/// The kind of range that keeps `address` from being called, or `None` where it is public.
#[must_use]
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

/// IANA's special-purpose registry for IPv4.
fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let kind = match address.octets() {
        [0, ..] => "unspecified",
        [127, ..] => "loopback",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [169, 254, ..] => "link-local",
        [100, 64..=127, ..] => "carrier-grade NAT",
        [192, 0, 0, _] | [192, 88, 99, _] => "protocol assignment",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [198, 18..=19, ..] => "benchmark",
        [224..=239, ..] => "multicast",
        [255, 255, 255, 255] => "broadcast",
        [240..=255, ..] => "reserved",
        _ => return None,
    };
    Some(kind)
}

/// IANA's special-purpose registry for IPv6; what lies outside global unicast (2000::/3) is refused as a whole.
fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded = |at: usize| {
        let [a, b] = segments[at].to_be_bytes();
        let [c, d] = segments[at + 1].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // IPv4-compatible, IPv4-mapped, IPv4-translated, and the well-known prefix of NAT64.
        [0, 0, 0, 0, 0, 0, _, _]
        | [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => forbidden_v4(embedded(6)),
        // Teredo: its server stands in front, its client inverted at the end.
        [0x2001, 0, ..] => {
            let client = Ipv4Addr::from_bits(!embedded(6).to_bits());
            forbidden_v4(embedded(2)).or_else(|| forbidden_v4(client))
        }
        [0x2001, 0x1..=0x1ff, ..] => Some("protocol assignment"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation"),
        // 6to4.
        [0x2002, ..] => forbidden_v4(embedded(1)),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // ISATAP.
        [0x2000..=0x3fff, _, _, _, 0 | 0x200, 0x5efe, _, _] => forbidden_v4(embedded(6)),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused_in_every_spelling() {
        for (address, kind) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.1", "private"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("100.127.255.255", "carrier-grade NAT"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "protocol assignment"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "protocol assignment"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmark"),
            ("198.19.255.255", "benchmark"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:0:169.254.169.254", "link-local"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b:1::1.1.1.1", "reserved"),
            ("2002:7f00:1::", "loopback"),
            ("2002:a9fe:a9fe::1", "link-local"),
            ("2002:c0a8:101::", "private"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("64:ff9b::ac10:1", "private"),
            ("::ffff:a9fe:a9fe", "link-local"),
            ("::ffff:100.64.0.1", "carrier-grade NAT"),
            ("::a00:1", "private"),
            ("2001:0:a00:1::", "private"),
            ("2001:0:808:808:0:0:5601:5601", "link-local"),
            ("2001:0:7f00:1::", "loopback"),
            ("2001:0:808:808:0:0:80ff:fffe", "loopback"),
            ("2001:2::1", "protocol assignment"),
            ("2001:10::1", "protocol assignment"),
            ("2001:db8::1", "documentation"),
            ("3fff::1", "documentation"),
            ("2606:4700::200:5efe:7f00:1", "loopback"),
            ("100::1", "reserved"),
            ("5f00::1", "reserved"),
            ("fc00::1", "private"),
            ("fd12:3456::1", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), Some(kind), "{address}");
        }
    }

    #[test]
    fn what_is_public_passes() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808:0:0:f7f7:f7f7",
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn ranges_hold_what_their_leading_bits_say() {
        for (range, inside, outside) in [
            ("127.0.0.0/8", "127.255.0.1", "128.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.3/16", "10.1.255.255", "10.2.0.0"),
            ("fd00::/8", "fd00::1", "fc00::1"),
            ("::1", "::1", "127.0.0.1"),
            ("0.0.0.0/0", "169.254.169.254", "::1"),
            ("::/0", "fe80::1", "127.0.0.1"),
        ] {
            let range: AddressRange = range.parse().unwrap();
            assert!(range.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(!range.contains(outside.parse().unwrap()), "{range} {outside}");
            assert_eq!(range.to_string().parse(), Ok(range));
        }
        for text in ["", "localhost", "127.0.0.0/33", "127.0.0.0/", "::1/129", "127.0.0.0/-1", "127.0.0/8"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_and_origins_are_read_as_they_are_written() {
        let egress = Egress::new([]).with_ports(["443".parse().unwrap(), "8000-8002".parse().unwrap()]);
        for (port, passes) in
            [(443, true), (444, false), (7999, false), (8000, true), (8002, true), (8003, false)]
        {
            assert_eq!(egress.allows_port(port), passes, "{port}");
        }
        assert!(Egress::new([]).allows_port(25), "without any, all");
        for text in ["", "0", "65536", "2-1", "1-", "-1", "1-2-3", "http"] {
            assert_eq!(text.parse::<PortRange>(), Err(PortRangeError), "{text}");
        }
        assert_eq!("events.example.com".parse::<Origin>().unwrap().as_str(), "events.example.com");
        for text in ["", "a..b", "*", "a b", "https://a", "a:80", &"a.".repeat(130)] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError), "{text}");
        }
    }

    #[test]
    fn an_allowed_range_opens_itself_and_its_mapped_form_only() {
        let egress = Egress::new(["127.0.0.0/8".parse().unwrap()]);
        for (address, passes) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::1", false),
            ("10.0.0.1", false),
            ("1.1.1.1", true),
        ] {
            assert_eq!(egress.screen(address.parse().unwrap()).is_ok(), passes, "{address}");
        }
    }
}
