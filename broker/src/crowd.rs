//! How many connections of one listener come from where: no address may have all places.
//!
//! It counts addresses that are proved: of TCP connections, and of QUIC connections after their handshake. Programs of this machine
//! are not counted, since behind them may be a proxy with everybody. It must not know what is asked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::exposure::is_loopback;

/// The bits of an IPv6 address that are one customer's network: he has all addresses in it.
const NETWORK_BITS: u32 = 64;

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Crowd {
    each_max: usize,
    counts: Counts,
}

/// One connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest(Option<(Counts, IpAddr)>);

impl Crowd {
    /// With so many connections for each address.
    pub(crate) fn new(each_max: usize) -> Self {
        Self { each_max, counts: Counts::default() }
    }

    /// One more from there; `None` where there are as many as there may be.
    pub(crate) fn come(&self, address: SocketAddr) -> Option<Guest> {
        if is_loopback(address) {
            return Some(Guest(None));
        }
        let from = network(address.ip());
        let mut counts = lock(&self.counts);
        let count = counts.entry(from).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Guest(Some((Arc::clone(&self.counts), from))))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some((counts, from)) = &self.0 else { return };
        let mut counts = lock(counts);
        if let Some(count) = counts.get_mut(from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(from);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (Ipv6Addr::BITS - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

fn lock(counts: &Counts) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    // Nothing that is guarded here is ever left half done.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn no_address_has_more_places_than_its_part() {
        let crowd = Crowd::new(2);
        let first = crowd.come(at("192.0.2.1")).unwrap();
        let _second = crowd.come(at("::ffff:192.0.2.1")).unwrap();
        assert!(crowd.come(at("192.0.2.1")).is_none());
        let _other = crowd.come(at("192.0.2.2")).unwrap();
        drop(first);
        assert!(crowd.come(at("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_one_customer_is_one_address() {
        let crowd = Crowd::new(1);
        let _first = crowd.come(at("2001:db8:0:1::1")).unwrap();
        assert!(crowd.come(at("2001:db8:0:1:ffff::2")).is_none());
        assert!(crowd.come(at("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn this_machine_is_not_counted_and_who_is_gone_leaves_nothing() {
        let crowd = Crowd::new(1);
        let _guests: Vec<_> = (0..9).map(|_| crowd.come(at("127.0.0.1")).unwrap()).collect();
        drop(crowd.come(at("192.0.2.1")).unwrap());
        assert!(lock(&crowd.counts).is_empty());
    }
}
