//! All buckets: hours of functions and triggers, for 30 days.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use eventail_wire::{Timestamp, TriggerName, limits};
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::budget::day_of;
use super::summary::Summary;
use crate::report::Report;

/// What everything is counted under that comes when there are as many keys as there may be.
pub const OTHERS: &str = "others";
const HOUR_MS: u64 = 60 * 60 * 1000;
const HOURS_OF_DAY: u64 = 24;

/// Whose runs are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The function, as [`Report::function`] names it.
    pub function: Arc<str>,
    /// The trigger that called it; `None` for those who called it directly.
    pub trigger: Option<TriggerName>,
}

/// One bucket as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The function.
    pub function: String,
    /// The trigger that called it.
    pub trigger: Option<TriggerName>,
    /// Hours since the Unix epoch.
    pub hour: u64,
    /// What was counted.
    pub bucket: Bucket,
}

/// What the book keeps of one bucket.
#[derive(Debug)]
struct Page {
    hour: u64,
    bucket: Bucket,
    /// Whether it is among those that changed.
    changed: bool,
}

/// All buckets.
#[derive(Debug, Default)]
pub struct Book {
    /// By key, oldest hour first.
    pages: HashMap<Key, VecDeque<Page>>,
    /// The buckets that changed since they were last asked for.
    changed: Vec<(Key, u64)>,
}

impl Book {
    /// The key that a run is counted under: a known one or a new one, or else that of all others.
    #[must_use]
    pub fn key(&self, function: &Arc<str>, trigger: Option<&TriggerName>) -> Key {
        let key = Key { function: Arc::clone(function), trigger: trigger.cloned() };
        if self.pages.len() < limits::LEDGER_KEYS_MAX || self.pages.contains_key(&key) {
            return key;
        }
        Key { function: OTHERS.into(), trigger: None }
    }

    /// Counts one call, and answers the most memory that a run of its hour had.
    pub fn record(&mut self, now: Timestamp, key: &Key, report: &Report, events: u32, cost: f64) -> u32 {
        let hour = now.0 / HOUR_MS;
        let Self { pages, changed } = self;
        let page = match pages.get_mut(key) {
            Some(pages) => page_of(pages, hour),
            None => page_of(pages.entry(key.clone()).or_default(), hour),
        };
        page.bucket.add(report, events, cost);
        if !page.changed {
            page.changed = true;
            changed.push((key.clone(), hour));
        }
        page.bucket.memory_used_mb
    }

    /// Takes in what was written: it takes the place of what is there of the same key and hour.
    pub fn restore(&mut self, entry: Entry) {
        let key = Key { function: entry.function.into(), trigger: entry.trigger };
        if self.pages.len() > limits::LEDGER_KEYS_MAX && !self.pages.contains_key(&key) {
            return;
        }
        page_of(self.pages.entry(key).or_default(), entry.hour).bucket = entry.bucket;
    }

    /// Whether anything changed since it was last asked for.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed since this was last called.
    pub fn changed(&mut self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.changed.len());
        for (key, hour) in std::mem::take(&mut self.changed) {
            if let Some(page) = self.page(&key, hour) {
                page.changed = false;
                entries.push(entry(&key, hour, &page.bucket));
            }
        }
        entries
    }

    /// Counts these as changed again: they could not be written.
    pub fn change_again(&mut self, entries: &[Entry]) {
        for Entry { function, trigger, hour, .. } in entries {
            let key = Key { function: function.as_str().into(), trigger: trigger.clone() };
            if let Some(page) = self.page(&key, *hour)
                && !std::mem::replace(&mut page.changed, true)
            {
                self.changed.push((key, *hour));
            }
        }
    }

    /// Whether anything is counted under a key.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.pages.contains_key(key)
    }

    /// The hours of which anything is kept, oldest first.
    #[must_use]
    pub fn hours(&self) -> BTreeSet<u64> {
        self.pages.values().flatten().map(|page| page.hour).collect()
    }

    /// Every bucket of one hour.
    #[must_use]
    pub fn of_hour(&self, hour: u64) -> Vec<Entry> {
        let found = self.pages.iter().filter_map(|(key, pages)| {
            let at = pages.binary_search_by_key(&hour, |page| page.hour).ok()?;
            Some(entry(key, hour, &pages.get(at)?.bucket))
        });
        found.collect()
    }

    /// Lets go of what is older than 30 days, and of the oldest hours where there are more buckets than there may be.
    pub fn prune(&mut self, now: Timestamp) {
        let mut first = first_hour(now, limits::LEDGER_KEPT_MS);
        let mut by_hour = BTreeMap::<u64, usize>::new();
        for page in self.pages.values().flatten().filter(|page| page.hour >= first) {
            *by_hour.entry(page.hour).or_default() += 1;
        }
        let mut count: usize = by_hour.values().sum();
        for (hour, buckets) in by_hour {
            if count <= limits::LEDGER_BUCKETS_MAX {
                break;
            }
            count -= buckets;
            first = hour + 1;
        }
        for pages in self.pages.values_mut() {
            while pages.front().is_some_and(|page| page.hour < first) {
                pages.pop_front();
            }
        }
        self.pages.retain(|_, pages| !pages.is_empty());
        self.changed.retain(|(_, hour)| *hour >= first);
    }

    /// What each function did in the last `window_ms`, by name. The window begins with a whole hour.
    #[must_use]
    pub fn summaries(&self, now: Timestamp, window_ms: u64) -> Vec<Summary> {
        let first = first_hour(now, window_ms);
        let mut by_function = BTreeMap::<&str, Vec<(Option<&TriggerName>, Bucket)>>::new();
        for (key, pages) in &self.pages {
            let mut sum: Option<Bucket> = None;
            for page in pages.iter().filter(|page| page.hour >= first) {
                sum.get_or_insert_default().merge(&page.bucket);
            }
            if let Some(sum) = sum {
                by_function.entry(&key.function).or_default().push((key.trigger.as_ref(), sum));
            }
        }
        let summaries = by_function.into_iter().map(|(function, mut shares)| {
            shares.sort_by_key(|(trigger, _)| *trigger);
            Summary::of(function, window_ms, &shares)
        });
        summaries.collect()
    }

    /// What a trigger has cost since the day (UTC) began.
    #[must_use]
    pub fn spent_today(&self, now: Timestamp, trigger: &TriggerName) -> f64 {
        let hours = day_of(now) * HOURS_OF_DAY..(day_of(now) + 1) * HOURS_OF_DAY;
        let of_trigger = self.pages.iter().filter(|(key, _)| key.trigger.as_ref() == Some(trigger));
        let today = of_trigger.flat_map(|(_, pages)| pages).filter(|page| hours.contains(&page.hour));
        today.map(|page| page.bucket.cost).sum()
    }

    fn page(&mut self, key: &Key, hour: u64) -> Option<&mut Page> {
        let pages = self.pages.get_mut(key)?;
        let at = pages.binary_search_by_key(&hour, |page| page.hour).ok()?;
        pages.get_mut(at)
    }
}

/// The page of an hour, which is nearly always the last one.
fn page_of(pages: &mut VecDeque<Page>, hour: u64) -> &mut Page {
    let at = match pages.back() {
        Some(last) if last.hour == hour => pages.len() - 1,
        _ => match pages.binary_search_by_key(&hour, |page| page.hour) {
            Ok(at) => at,
            Err(at) => {
                pages.insert(at, Page { hour, bucket: Bucket::default(), changed: false });
                at
            }
        },
    };
    &mut pages[at]
}

fn entry(key: &Key, hour: u64, bucket: &Bucket) -> Entry {
    let (function, trigger) = (key.function.as_ref().to_owned(), key.trigger.clone());
    Entry { function, trigger, hour, bucket: bucket.clone() }
}

const fn first_hour(now: Timestamp, window_ms: u64) -> u64 {
    now.0.saturating_sub(window_ms) / HOUR_MS
}
