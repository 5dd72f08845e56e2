//! Who may come in: as many connections as `limits.connections_max`. Where all places are taken, whoever has been silent for longest
//! makes room.
//!
//! So many half-open connections cost others nothing: one that has asked something keeps its place, one that has not loses it to
//! somebody new. It must not know what is asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// So long a connection may be silent before it may have to make room: who has just come gets the time to ask.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// How long a connection that has to make room may take to go.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    since: Instant,
    asked: AtomicBool,
    leave: Notify,
    _slot: OwnedSemaphorePermit,
}

impl Seat {
    /// Notes that a whole head has come: the place is no longer anybody else's.
    pub(super) fn keep(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether a whole head has come.
    pub(super) fn is_kept(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Returns when the place is needed for somebody else.
    pub(super) async fn is_needed(&self) {
        self.leave.notified().await;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Door {
    slots: Arc<Semaphore>,
    seats: usize,
    /// Connections in the order in which they came, as far as they may still be silent.
    silent: VecDeque<Weak<Seat>>,
}

impl Door {
    /// A door to as many places as there are slots.
    pub(super) fn new(slots: Arc<Semaphore>) -> Self {
        Self { seats: slots.available_permits(), slots, silent: VecDeque::new() }
    }

    /// Lets somebody in; `None` where there is no place.
    pub(super) async fn enter(&mut self) -> Option<Arc<Seat>> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(self.seat(slot));
        }
        self.make_room()?;
        let slot = timeout(LEAVE_TIME, Arc::clone(&self.slots).acquire_owned()).await.ok()?.ok()?;
        Some(self.seat(slot))
    }

    fn seat(&mut self, slot: OwnedSemaphorePermit) -> Arc<Seat> {
        let (asked, leave) = (AtomicBool::new(false), Notify::new());
        let seat = Arc::new(Seat { since: Instant::now(), asked, leave, _slot: slot });
        if self.silent.len() >= 2 * self.seats {
            self.silent.retain(|seat| seat.upgrade().is_some_and(|seat| !seat.is_kept()));
        }
        self.silent.push_back(Arc::downgrade(&seat));
        seat
    }

    /// Asks the one that has been silent for longest to go, if it has been for long enough.
    fn make_room(&mut self) -> Option<()> {
        while let Some(first) = self.silent.front() {
            if let Some(seat) = first.upgrade().filter(|seat| !seat.is_kept()) {
                if seat.since.elapsed() < SILENCE_MIN {
                    return None;
                }
                seat.leave.notify_one();
                self.silent.pop_front();
                return Some(());
            }
            self.silent.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(seats: usize) -> Door {
        Door::new(Arc::new(Semaphore::new(seats)))
    }

    /// Leaves when it is asked to.
    fn guest(seat: Arc<Seat>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { seat.is_needed().await })
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_one_makes_room_and_who_asked_stays() {
        let mut door = door(3);
        let asked = door.enter().await.unwrap();
        asked.keep();
        let (first, second) = (guest(door.enter().await.unwrap()), guest(door.enter().await.unwrap()));
        assert!(door.enter().await.is_none(), "nobody has been silent for long");
        tokio::time::advance(SILENCE_MIN).await;
        let new = door.enter().await.unwrap();
        first.await.unwrap();
        assert!(!second.is_finished());
        new.keep();
        drop(door.enter().await.unwrap());
        second.await.unwrap();
        let last = door.enter().await.unwrap();
        last.keep();
        tokio::time::advance(SILENCE_MIN).await;
        assert!(door.enter().await.is_none(), "all have asked");
        drop(asked);
        assert!(door.enter().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_of_silent_ones_stays_small() {
        let mut door = door(2);
        for _ in 0..100 {
            drop(door.enter().await.unwrap());
        }
        assert!(door.silent.len() <= 4, "{}", door.silent.len());
    }
}
