//! Blocks of IP addresses, as `cidr` names them.
//!
//! An IPv4 address in IPv6 clothes counts as IPv4. Bits of the base address behind the mask do not matter. A block of one
//! address is refused, as AWS does: that is a value.

use std::collections::HashMap;
use std::net::IpAddr;

use super::paths::Hashing;
use super::values::address;

/// What an address is cut to by a mask, and which mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    is_v4: bool,
    mask_bits: u32,
    base: u128,
}

impl Network {
    /// `None` if the text is not an address, a slash and a mask below 32 or 128 bits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (base, mask) = text.split_once('/')?;
        let address = address(base.as_bytes())?;
        // What the mask of such a base counts is not clear.
        if address.is_ipv4() && base.contains(':') {
            return None;
        }
        if mask.is_empty() || !mask.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mask_bits: u32 = mask.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        (mask_bits < width).then(|| Self::around(address, mask_bits))
    }

    fn around(address: IpAddr, mask_bits: u32) -> Self {
        let (is_v4, bits, width) = match address {
            IpAddr::V4(address) => (true, u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (false, address.to_bits(), 128),
        };
        let base = bits.checked_shr(width - mask_bits).unwrap_or(0);
        Self { is_v4, mask_bits, base }
    }

    pub(super) fn contains(self, address: IpAddr) -> bool {
        self.is_v4 == address.is_ipv4() && Self::around(address, self.mask_bits) == self
    }
}

/// Networks and what each leads to, looked up once for each mask that there is.
#[derive(Debug, Default)]
pub(super) struct Networks {
    goals: HashMap<Network, usize, Hashing>,
    v4_masks: Vec<u32>,
    v6_masks: Vec<u32>,
}

impl Networks {
    pub(super) fn insert(&mut self, network: Network, goal: usize) {
        self.goals.insert(network, goal);
        let masks = if network.is_v4 { &mut self.v4_masks } else { &mut self.v6_masks };
        if !masks.contains(&network.mask_bits) {
            masks.push(network.mask_bits);
        }
    }

    pub(super) fn find(&self, text: &[u8], each: &mut impl FnMut(usize)) {
        if self.goals.is_empty() {
            return;
        }
        let Some(address) = address(text) else { return };
        let masks = if address.is_ipv4() { &self.v4_masks } else { &self.v6_masks };
        for &mask_bits in masks {
            if let Some(&goal) = self.goals.get(&Network::around(address, mask_bits)) {
                each(goal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_the_addresses_behind_their_mask() {
        let network = |text: &str| Network::parse(text).unwrap_or_else(|| panic!("{text}"));
        let holds = |text: &str, ip: &str| network(text).contains(address(ip.as_bytes()).unwrap());
        assert!(holds("10.1.2.3/8", "10.255.0.1") && !holds("10.1.2.3/8", "11.0.0.0"));
        assert!(holds("10.0.0.0/31", "10.0.0.1") && !holds("10.0.0.0/31", "10.0.0.2"));
        assert!(holds("0.0.0.0/0", "255.1.1.1") && !holds("0.0.0.0/0", "::1") && !holds("::/0", "1.1.1.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::"));
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/32",
            "::/128",
            "10.0.0.0/-1",
            "10.0.0/8",
            "x/8",
            "10.0.0.0/8/8",
            "10.0.0.256/8",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "10.0.0.0/99999999999",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
