//! How many calls a target gets at once, found out from how it takes them.
//!
//! - It grows by one for each round (as many calls that were taken as the limit allows at once), and only where the limit was
//!   what held calls back. It never leaves `min..=max`.
//! - A throttle or a time-out shrinks it by `SHRINK`. Calls that began before the limit shrank last say nothing new: a burst
//!   counts once.
//! - So does latency that collapses: windows in a row whose median is far above the best window known. Where shrinking does not
//!   help, the target has become slower for good: what it takes now is what it is measured by from then on, and the limit goes back.
//! - After an idle time the limit is a quarter of what it was, and doubles each round until it is back: a burst ramps.
//! - A failure that is neither is the breaker's business.
//!
//! No clock, no lock, no I/O: the caller says what time it is and shares it as it likes.

use eventail_wire::Timestamp;
use serde::{Deserialize, Serialize};

/// What is left of the limit when it shrinks.
const SHRINK: f64 = 0.7;
/// How long no call may have been under way before the target counts as idle: by then it has scaled down itself.
const IDLE_MS: u64 = 10_000;
/// What is left of the limit after an idle time is one of so many parts.
const IDLE_PARTS: usize = 4;
/// A window holds so many samples at least: fewer have no median that means anything.
const WINDOW_SAMPLES_MIN: usize = 5;
/// A window holds so many samples at most: more tell no more.
const WINDOW_SAMPLES_MAX: usize = 64;
/// A window is slow where its median is over so many times the best one's …
const SLOW_FACTOR: f64 = 2.0;
/// … and so much more: what is short differs by whole factors for no reason.
const SLOW_EXTRA_MS: f64 = 10.0;
/// So many windows in a row are slow before it counts …
const SLOW_WINDOWS: u32 = 2;
/// … and for so long: a pause of the target is no collapse.
const SLOW_FOR_MS: u64 = 200;
/// Shrinking helped where the median fell below this part of what it was.
const HELPED: f64 = 0.85;
/// So often shrinking is tried for latency without that it helps.
const FUTILE_MAX: u32 = 3;

/// Between what the limit moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterOptions {
    /// The least; at least 1 is taken.
    pub min: usize,
    /// The most; at least `min` is taken. Where both are the same the limit is fixed.
    pub max: usize,
}

/// How a call ended, as far as the limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleEnd {
    /// The target took it.
    Ok,
    /// The target failed, for another reason than too many calls.
    Failed,
    /// The target asks for less.
    Throttled,
    /// The target did not answer in time.
    Timeout,
    /// It was not made, or nobody waited for its end: it says nothing.
    Dropped,
}

/// One call that ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How long it took: from the permit to its release.
    pub took_ms: f64,
    /// How it ended.
    pub end: SampleEnd,
}

/// Why the limit is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitReason {
    /// It grows while it is used.
    Growing,
    /// It is as high as it may be.
    AtMax,
    /// The target throttled.
    Throttled,
    /// The target became slow, or did not answer in time.
    Slow,
    /// The target had nothing to do for a while.
    Idle,
}

/// A limiter at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimiterState {
    /// Calls that it may get at once.
    pub limit: usize,
    /// The least.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// Calls under way.
    pub in_use: usize,
    /// Why the limit is where it is.
    pub reason: LimitReason,
}

/// The limit of one target.
#[derive(Debug)]
pub struct Limiter {
    min: usize,
    max: usize,
    limit: usize,
    in_use: usize,
    reason: LimitReason,
    /// Below this the limit doubles each round; from there on it grows by one.
    ramp_to: usize,
    /// Calls that were taken in this round.
    round: usize,
    /// The most that were under way in this round.
    round_peak: usize,
    /// Whether the limit held calls back in this round.
    round_full: bool,
    /// When a permit was taken or given back last.
    active_at: Timestamp,
    /// When the limit shrank last.
    shrunk_at: Option<Timestamp>,
    latency: Latency,
}

impl Limiter {
    /// A limiter that has not seen its target yet: it begins with the least and ramps.
    #[must_use]
    pub fn new(options: LimiterOptions, now: Timestamp) -> Self {
        let min = options.min.max(1);
        let max = options.max.max(min);
        let reason = if min == max { LimitReason::AtMax } else { LimitReason::Growing };
        Self {
            min,
            max,
            limit: min,
            in_use: 0,
            reason,
            ramp_to: max,
            round: 0,
            round_peak: 0,
            round_full: false,
            active_at: now,
            shrunk_at: None,
            latency: Latency::default(),
        }
    }

    /// Goes on between other bounds with what it has learnt.
    pub fn set_bounds(&mut self, options: LimiterOptions) {
        // One that has learnt nothing yet, or nothing good, begins where the least is now.
        let is_at_min = self.limit == self.min;
        self.min = options.min.max(1);
        self.max = options.max.max(self.min);
        self.limit = if is_at_min { self.min } else { self.limit.clamp(self.min, self.max) };
        self.ramp_to = self.ramp_to.clamp(self.limit, self.max);
        if self.limit == self.max {
            self.reason = LimitReason::AtMax;
        } else if self.reason == LimitReason::AtMax {
            self.reason = LimitReason::Growing;
        }
    }

    /// Calls that the target may get at once.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Calls under way. More than the limit only where it shrank meanwhile.
    #[must_use]
    pub const fn in_use(&self) -> usize {
        self.in_use
    }

    /// What people get to see of it.
    #[must_use]
    pub const fn state(&self) -> LimiterState {
        let Self { limit, min, max, in_use, reason, .. } = *self;
        LimiterState { limit, min, max, in_use, reason }
    }

    /// Takes as many of the `wanted` permits as there are; each is given back by one [`Limiter::release`].
    pub fn take(&mut self, now: Timestamp, wanted: usize) -> usize {
        self.mind_clock(now);
        if wanted == 0 {
            return 0;
        }
        if self.in_use == 0 && now.since_ms(self.active_at) >= IDLE_MS {
            self.rest();
        }
        let granted = wanted.min(self.limit.saturating_sub(self.in_use));
        self.in_use += granted;
        self.round_peak = self.round_peak.max(self.in_use);
        self.round_full |= self.in_use >= self.limit;
        if granted > 0 {
            self.active_at = now;
        }
        granted
    }

    /// Gives one permit back and says how its call ended. The limit may move: whoever waits for permits should ask again.
    pub fn release(&mut self, now: Timestamp, sample: Sample) {
        self.mind_clock(now);
        self.active_at = now;
        let began = Timestamp(now.0.saturating_sub(whole_ms(sample.took_ms)));
        let is_news = self.shrunk_at.is_none_or(|shrunk_at| began > shrunk_at);
        match sample.end {
            SampleEnd::Ok if is_news => self.taken(now, sample.took_ms),
            SampleEnd::Throttled if is_news => self.shrink(now, LimitReason::Throttled),
            SampleEnd::Timeout if is_news => self.shrink(now, LimitReason::Slow),
            _ => {}
        }
        self.in_use = self.in_use.saturating_sub(1);
    }

    fn taken(&mut self, now: Timestamp, took_ms: f64) {
        match self.latency.add(now, took_ms, self.limit) {
            Verdict::Fine => {}
            Verdict::Suspect => return,
            Verdict::Collapsed => return self.shrink_for_latency(now),
            Verdict::SlowerForGood { limit_before } => self.ramp_to = limit_before.min(self.max),
        }
        self.round += 1;
        if self.round >= self.limit {
            if self.round_full {
                self.grow();
            }
            self.begin_round();
        }
    }

    fn grow(&mut self) {
        let grown = if self.limit < self.ramp_to {
            self.limit.saturating_mul(2).min(self.ramp_to)
        } else {
            self.limit.saturating_add(1)
        };
        self.limit = grown.min(self.max);
        self.reason = if self.limit == self.max { LimitReason::AtMax } else { LimitReason::Growing };
    }

    fn shrink(&mut self, now: Timestamp, reason: LimitReason) {
        // What was not used did not do any harm: it is no measure.
        let used = self.limit.min(self.round_peak.max(self.in_use));
        self.set_shrunk(part_of(used, SHRINK), now, reason);
    }

    fn shrink_for_latency(&mut self, now: Timestamp) {
        self.set_shrunk(part_of(self.limit, SHRINK), now, LimitReason::Slow);
    }

    fn set_shrunk(&mut self, limit: usize, now: Timestamp, reason: LimitReason) {
        self.limit = limit.max(self.min);
        self.ramp_to = self.limit;
        self.shrunk_at = Some(now);
        self.reason = if self.min == self.max { LimitReason::AtMax } else { reason };
        self.begin_round();
    }

    /// After an idle time.
    fn rest(&mut self) {
        let rested = (self.limit / IDLE_PARTS).max(self.min);
        if rested < self.limit {
            // A ramp that was under way goes on to where it went.
            self.ramp_to = self.ramp_to.max(self.limit);
            self.limit = rested;
            self.reason = LimitReason::Idle;
        }
        self.latency.begin_window();
        self.begin_round();
    }

    const fn begin_round(&mut self) {
        self.round = 0;
        self.round_full = self.in_use >= self.limit;
        self.round_peak = self.in_use;
    }

    /// Nothing that was noted lies ahead of a clock that was set back: it would hold for as long as that.
    fn mind_clock(&mut self, now: Timestamp) {
        self.active_at = self.active_at.min(now);
        self.shrunk_at = self.shrunk_at.map(|at| at.min(now));
        self.latency.slow_since = self.latency.slow_since.map(|at| at.min(now));
    }
}

/// What a window says.
enum Verdict {
    /// Nothing is wrong, or nothing is known yet.
    Fine,
    /// It may be slow: not the time to grow.
    Suspect,
    /// It is slow.
    Collapsed,
    /// It is slow however few calls it gets.
    SlowerForGood {
        /// The limit before it was lowered for that.
        limit_before: usize,
    },
}

/// Compares what calls take with the best known.
#[derive(Debug, Default)]
struct Latency {
    /// The window under way.
    samples: Vec<f64>,
    /// How many samples it got, those included that were not kept.
    seen: usize,
    /// The lowest median of a window.
    best_ms: Option<f64>,
    /// Slow windows in a row.
    slow_windows: u32,
    /// When the first of them ended.
    slow_since: Option<Timestamp>,
    /// The median at the last shrinking that is not known to have helped.
    shrunk_at_ms: Option<f64>,
    /// The limit before the first of these.
    limit_before: usize,
    /// How often in a row it did not help.
    futile: u32,
}

impl Latency {
    fn add(&mut self, now: Timestamp, took_ms: f64, limit: usize) -> Verdict {
        if self.samples.len() < WINDOW_SAMPLES_MAX {
            self.samples.push(took_ms.max(0.0));
        }
        self.seen += 1;
        if self.seen < limit.max(WINDOW_SAMPLES_MIN) {
            return if self.slow_windows > 0 { Verdict::Suspect } else { Verdict::Fine };
        }
        let median_ms = self.median();
        self.begin_window();
        let best_ms = self.best_ms.map_or(median_ms, |best_ms| best_ms.min(median_ms));
        self.best_ms = Some(best_ms);
        if median_ms <= SLOW_FACTOR * best_ms + SLOW_EXTRA_MS {
            self.recovered();
            return Verdict::Fine;
        }
        self.slow_windows += 1;
        let since = *self.slow_since.get_or_insert(now);
        if self.slow_windows < SLOW_WINDOWS || now.since_ms(since) < SLOW_FOR_MS {
            return Verdict::Suspect;
        }
        self.slow(median_ms, limit)
    }

    fn slow(&mut self, median_ms: f64, limit: usize) -> Verdict {
        let helped = self.shrunk_at_ms.is_none_or(|before_ms| median_ms < HELPED * before_ms);
        if helped {
            self.futile = 0;
            self.limit_before = limit.max(self.limit_before);
        } else {
            self.futile += 1;
        }
        if self.futile >= FUTILE_MAX {
            let limit_before = self.limit_before;
            self.best_ms = Some(median_ms);
            self.recovered();
            return Verdict::SlowerForGood { limit_before };
        }
        self.shrunk_at_ms = Some(median_ms);
        self.slow_windows = 0;
        self.slow_since = None;
        Verdict::Collapsed
    }

    fn recovered(&mut self) {
        self.slow_windows = 0;
        self.slow_since = None;
        self.shrunk_at_ms = None;
        self.limit_before = 0;
        self.futile = 0;
    }

    fn begin_window(&mut self) {
        self.samples.clear();
        self.seen = 0;
    }

    /// The lower median: where half of the calls met a cold start, it is the other half's.
    fn median(&mut self) -> f64 {
        let middle = (self.samples.len() - 1) / 2;
        *self.samples.select_nth_unstable_by(middle, f64::total_cmp).1
    }
}

fn part_of(limit: usize, part: f64) -> usize {
    // Times and limits are far below 2^52.
    (limit as f64 * part) as usize
}

/// Rounded up: a call that may have begun before a moment is not after it.
fn whole_ms(took_ms: f64) -> u64 {
    // `as` takes what is negative or no number as 0.
    took_ms.ceil() as u64
}

#[cfg(test)]
mod tests;
