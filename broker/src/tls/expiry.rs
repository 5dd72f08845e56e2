//! When to tell that a certificate ends. Pure but for the log.

use eventail_wire::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// From then on it is told: time enough to have another one made by people.
const SOON_MS: u64 = 14 * DAY_MS;

/// What was told of one certificate.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    told_at: Option<Timestamp>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It ends soon.
    Soon {
        /// Whole days until then.
        days: u64,
    },
    /// It has ended.
    Over,
}

impl Expiry {
    /// Says in the log what there is to say.
    pub(super) fn tell(&mut self, expires_at: Timestamp, now: Timestamp) {
        match self.notice(expires_at, now) {
            Some(Notice::Soon { days }) => {
                tracing::warn!(days, %expires_at, "the certificate of the listeners ends soon");
            }
            Some(Notice::Over) => {
                tracing::error!(%expires_at, "the certificate of the listeners has ended: clients refuse it");
            }
            None => {}
        }
    }

    /// Once a day, when it ends soon or has ended; and at once when it ends.
    fn notice(&mut self, expires_at: Timestamp, now: Timestamp) -> Option<Notice> {
        let left = expires_at.since_ms(now);
        if left >= SOON_MS {
            self.told_at = None;
            return None;
        }
        let has_ended_since = left == 0 && self.told_at.is_some_and(|at| at < expires_at);
        if self.told_at.is_some_and(|at| now.since_ms(at) < DAY_MS) && !has_ended_since {
            return None;
        }
        self.told_at = Some(now);
        Some(if left == 0 { Notice::Over } else { Notice::Soon { days: left / DAY_MS } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fourteen_days_are_told_once_a_day_and_the_end_at_once() {
        let end = Timestamp(100 * DAY_MS);
        let mut expiry = Expiry::default();
        let mut at = |day: u64, hours: u64| expiry.notice(end, Timestamp(day * DAY_MS + hours * 3_600_000));
        assert_eq!(at(80, 0), None);
        assert_eq!(at(86, 0), None);
        assert_eq!(at(86, 1), Some(Notice::Soon { days: 13 }));
        assert_eq!(at(86, 23), None);
        assert_eq!(at(87, 2), Some(Notice::Soon { days: 12 }));
        assert_eq!(at(99, 20), Some(Notice::Soon { days: 0 }));
        assert_eq!(at(100, 0), Some(Notice::Over));
        assert_eq!(at(100, 1), None);
        assert_eq!(at(101, 1), Some(Notice::Over));
    }
}
