//! Failed attempts to be let in, by the address that they come from: a few at once, and so many a minute. Pure.
//!
//! Tokens cannot be guessed, so this is not what keeps strangers out. It keeps what they cost small: lines of the log, above all.
//! That is also why a token that is right is taken however many were wrong before: behind one address there may be many clients, and
//! one that is broken must not lock the others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use eventail_wire::Timestamp;

/// Addresses that are remembered: some hundred bytes each. Where there are more, those that are quiet longest are forgotten.
const ADDRESSES_MAX: usize = 4_096;
const MINUTE_MS: u64 = 60_000;

/// One address.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Attempts that may still fail, in thousandths.
    left: u64,
    at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Attempts(HashMap<IpAddr, Bucket>);

impl Attempts {
    /// Counts an attempt that failed. Where there were too many it says after how many milliseconds the next one counts.
    pub(crate) fn failed(&mut self, address: IpAddr, per_minute: u32, now: Timestamp) -> Result<(), u64> {
        let address = network(address);
        let most = u64::from(per_minute.max(1)) * 1000;
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.forget();
        }
        let bucket = self.0.entry(address).or_insert(Bucket { left: most, at: now });
        let refilled = now.since_ms(bucket.at).saturating_mul(most) / MINUTE_MS;
        if refilled > 0 || now < bucket.at {
            bucket.at = now;
        }
        bucket.left = bucket.left.saturating_add(refilled).min(most);
        if bucket.left < 1000 {
            return Err(((1000 - bucket.left) * MINUTE_MS).div_ceil(most));
        }
        bucket.left -= 1000;
        Ok(())
    }

    /// Makes room: the half that was quiet longest goes.
    fn forget(&mut self) {
        let mut times: Vec<Timestamp> = self.0.values().map(|bucket| bucket.at).collect();
        let middle = times.len() / 2;
        let (_, &mut median, _) = times.select_nth_unstable(middle);
        self.0.retain(|_, bucket| bucket.at > median);
    }
}

/// What counts as one address: of IPv6 everybody has a whole network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_fail_at_once_and_then_so_many_a_minute() {
        let mut attempts = Attempts::default();
        let mut failed = |at: u64| attempts.failed(address("192.0.2.1"), 60, T0.plus_ms(at));
        for _ in 0..60 {
            assert_eq!(failed(0), Ok(()));
        }
        assert_eq!(failed(0), Err(1000));
        assert_eq!(failed(400), Err(600));
        assert_eq!(failed(1000), Ok(()));
        assert_eq!(failed(1000), Err(1000));
        assert_eq!(failed(3000), Ok(()));
        assert_eq!(failed(3000), Ok(()));
        assert!(failed(3000).is_err());
    }

    #[test]
    fn addresses_count_apart_and_the_networks_of_ipv6_together() {
        let mut attempts = Attempts::default();
        let mut failed = |text: &str| attempts.failed(address(text), 1, T0).is_ok();
        assert!(failed("192.0.2.1") && failed("192.0.2.2"));
        assert!(!failed("192.0.2.1") && !failed("::ffff:192.0.2.1"));
        assert!(failed("2001:db8::1"));
        assert!(!failed("2001:db8::2") && failed("2001:db8:0:1::2"));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_ever() {
        let mut attempts = Attempts::default();
        let mut failed = |at: Timestamp| attempts.failed(address("192.0.2.1"), 1, at).is_ok();
        assert!(failed(T0.plus_ms(10_000_000)));
        assert!(!failed(T0));
        assert!(failed(T0.plus_ms(60_000)));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut attempts = Attempts::default();
        for number in 0..20_000u32 {
            let address = IpAddr::from(number.to_be_bytes());
            assert!(attempts.failed(address, 1, T0.plus_ms(u64::from(number))).is_ok());
            assert!(attempts.0.len() <= ADDRESSES_MAX);
        }
        let last = IpAddr::from(19_999u32.to_be_bytes());
        assert!(attempts.failed(last, 1, T0.plus_ms(20_000)).is_err(), "the last one is remembered");
    }
}
