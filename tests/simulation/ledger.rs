//! What was published, and what was promised about it.

use std::collections::{BTreeMap, BTreeSet};

use eventail_broker::status::Published;
use eventail_wire::{Event, HeldId};

/// An event of a publisher, acknowledged or not.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: &'static str,
    pub(crate) event: Event,
    /// Where the broker said that it is.
    pub(crate) offset: Option<u64>,
    /// The handle that the broker gave, for an event that waits for its time.
    pub(crate) held: Option<HeldId>,
    /// Whether somebody asked to take it back: it may come or not.
    pub(crate) is_taken_back: bool,
    pub(crate) acknowledged_ms: u64,
}

/// All events of all publishers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<String, Sent>,
    /// Ids that were sent and not acknowledged: they are sent again.
    open: BTreeSet<String>,
}

impl Ledger {
    pub(crate) fn send(&mut self, topic: &'static str, event: Event) {
        let id = event.id().to_owned();
        let sent = Sent { topic, event, offset: None, held: None, is_taken_back: false, acknowledged_ms: 0 };
        self.open.insert(id.clone());
        self.sent.insert(id, sent);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Sent> {
        self.sent.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Sent> {
        self.sent.get_mut(id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Sent)> {
        self.sent.iter()
    }

    /// Ids that nobody acknowledged yet.
    pub(crate) fn open(&self) -> Vec<String> {
        self.open.iter().cloned().collect()
    }

    /// Notes an acknowledgement; tells where it breaks a promise. `is_sync` says whether the topic loses nothing.
    pub(crate) fn acknowledge(
        &mut self,
        id: &str,
        place: &Published,
        now_ms: u64,
        is_sync: bool,
    ) -> Result<(), String> {
        self.open.remove(id);
        let Some(sent) = self.sent.get_mut(id) else { return Err(format!("{id} was never sent")) };
        match *place {
            Published::Appended { offset, .. } => {
                if let Some(known) = sent.offset.filter(|known| *known != offset.0 && is_sync) {
                    return Err(format!("{id} was acknowledged at {known} and again at {offset}"));
                }
                sent.offset = Some(offset.0);
            }
            Published::Held { id: held, .. } => sent.held = Some(held),
        }
        sent.acknowledged_ms = now_ms;
        Ok(())
    }

    /// Forgets that this event was acknowledged: a topic that is not synced before its answers lost it.
    pub(crate) fn lose(&mut self, id: &str) {
        if let Some(sent) = self.sent.get_mut(id) {
            (sent.offset, sent.held) = (None, None);
            self.open.insert(id.to_owned());
        }
    }
}
