//! What targets saw: every attempt from its begin to its end, checked against what deliveries promise.

use std::collections::BTreeMap;

use eventail_triggers::target::Invocation;

/// What is delivered: the trigger, the topic, the offset, and whether it is a replay.
pub(crate) type Delivery = (String, String, u64, bool);

/// How an attempt ended, as far as the target knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    Taken,
    Refused,
    Failed,
    /// The broker did not wait for the answer.
    Dropped,
}

/// Everything that is known of one delivery.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) attempts: u32,
    /// The highest attempt number.
    pub(crate) highest: u32,
    /// Attempts under way, each with the life of the broker that made it.
    under_way: Vec<(u64, u64)>,
    /// The latest attempt that began.
    pub(crate) latest: u64,
    delivery_id: Option<String>,
    /// The target answered, or called back, that it took it.
    pub(crate) is_taken: bool,
    /// Whether the broker may be done with it: it was taken, refused, or failed so often that it may be given up.
    pub(crate) may_be_over: bool,
}

/// All deliveries.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    seen: BTreeMap<Delivery, Seen>,
    /// By trigger, topic and key: what began, and whether it may be over.
    keys: BTreeMap<(String, String, String), BTreeMap<Delivery, bool>>,
    next: u64,
}

impl Attempts {
    pub(crate) fn of(&self, delivery: &Delivery) -> Option<&Seen> {
        self.seen.get(delivery)
    }

    /// Notes that an attempt began; answers its number among all. Tells where it breaks a promise.
    pub(crate) fn begin(
        &mut self,
        delivery: &Delivery,
        invocation: &Invocation,
        life: u64,
        max_attempts: u32,
        may_overlap: bool,
    ) -> Result<u64, String> {
        self.next += 1;
        let number = self.next;
        let seen = self.seen.entry(delivery.clone()).or_default();
        if invocation.attempt == 0 || invocation.attempt > max_attempts {
            return Err(format!("{delivery:?}: attempt {} of {max_attempts}", invocation.attempt));
        }
        // Each replay has ids of its own.
        if !delivery.3 {
            let id = invocation.delivery_id.to_string();
            let known = seen.delivery_id.get_or_insert_with(|| id.clone());
            if *known != id {
                return Err(format!("{delivery:?}: delivery id {id} after {known}"));
            }
        }
        seen.under_way.retain(|(_, other)| *other == life);
        // Two replays may deliver it side by side.
        if !seen.under_way.is_empty() && !may_overlap && !delivery.3 {
            return Err(format!("{delivery:?}: two attempts at once"));
        }
        seen.under_way.push((number, life));
        seen.attempts += 1;
        seen.highest = seen.highest.max(invocation.attempt);
        seen.latest = number;
        Ok(number)
    }

    /// Notes how an attempt ended.
    pub(crate) fn end(&mut self, delivery: &Delivery, number: u64, end: AttemptEnd, max_attempts: u32) {
        let seen = self.seen.entry(delivery.clone()).or_default();
        seen.under_way.retain(|(other, _)| *other != number);
        match end {
            AttemptEnd::Taken => (seen.is_taken, seen.may_be_over) = (true, true),
            AttemptEnd::Refused => seen.may_be_over = true,
            AttemptEnd::Failed | AttemptEnd::Dropped => {
                seen.may_be_over |= seen.highest >= max_attempts;
            }
        }
    }
}

impl Attempts {
    /// The target called back that it is done with this: it may be settled, or the token was of no use any more.
    pub(crate) fn may_be_over(&mut self, delivery: &Delivery, is_taken: bool) {
        let seen = self.seen.entry(delivery.clone()).or_default();
        seen.may_be_over = true;
        seen.is_taken |= is_taken;
        for of_key in self.keys.values_mut() {
            if let Some(over) = of_key.get_mut(delivery) {
                *over = true;
            }
        }
    }

    /// Checks that an attempt may begin now, as far as the events of its key are concerned. `together` are those of its call.
    pub(crate) fn keep_order(
        &mut self,
        delivery: &Delivery,
        key: &str,
        together: &[u64],
    ) -> Result<(), String> {
        let of_key = self.keys.entry((delivery.0.clone(), delivery.1.clone(), key.to_owned())).or_default();
        let waits_for = of_key
            .range(..delivery.clone())
            .find(|(earlier, is_over)| !**is_over && !together.contains(&earlier.2));
        if let Some((earlier, _)) = waits_for {
            return Err(format!("{delivery:?} with key {key} began before {} was settled", earlier.2));
        }
        if !of_key.contains_key(delivery) {
            if let Some((later, _)) = of_key.range(delivery.clone()..).next() {
                return Err(format!("{delivery:?} with key {key} began after {}", later.2));
            }
            of_key.insert(delivery.clone(), false);
        }
        Ok(())
    }

    /// Takes over whether a delivery may be over.
    pub(crate) fn note_over(&mut self, delivery: &Delivery, key: &str) {
        let is_over = self.seen.get(delivery).is_some_and(|seen| seen.may_be_over);
        let of_key = self.keys.entry((delivery.0.clone(), delivery.1.clone(), key.to_owned())).or_default();
        if let Some(over) = of_key.get_mut(delivery) {
            *over |= is_over;
        }
    }

    /// Forgets the order of what retention took.
    pub(crate) fn trim(&mut self, topic: &str, start: u64) {
        for of_key in self.keys.values_mut() {
            of_key.retain(|delivery, _| delivery.1 != topic || delivery.2 >= start);
        }
    }

    /// Forgets what lies at or behind `end`: the topic lost it, and other events will be there.
    pub(crate) fn cut(&mut self, topic: &str, end: u64) {
        self.seen.retain(|delivery, _| delivery.1 != topic || delivery.2 < end);
        for of_key in self.keys.values_mut() {
            of_key.retain(|delivery, _| delivery.1 != topic || delivery.2 < end);
        }
    }
}
