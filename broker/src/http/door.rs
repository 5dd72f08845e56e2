//! Who may come in: as many connections as `limits.connections_max`, and of one address as many as it may have. Where all places are
//! taken, whoever has been there for longest without being admitted makes room.
//!
//! So many half-open connections cost others nothing, and so do many that ask for what they may not have: one that was admitted keeps its
//! place, one that was not loses it to somebody new. It must not know what is asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::crowd::{Crowd, Guest};

/// So long a connection may be without having been admitted before it may have to make room: who has just come gets the time to ask.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// How long a connection that has to make room may take to go.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    since: Instant,
    is_admitted: AtomicBool,
    leave: Notify,
    _guest: Guest,
    _slot: OwnedSemaphorePermit,
}

impl Seat {
    /// Notes that a request was admitted: the place is no longer anybody else's.
    pub(super) fn keep(&self) {
        self.is_admitted.store(true, Ordering::Relaxed);
    }

    /// Whether a request was admitted.
    pub(super) fn is_kept(&self) -> bool {
        self.is_admitted.load(Ordering::Relaxed)
    }

    /// Returns when the place is needed for somebody else.
    pub(super) async fn is_needed(&self) {
        self.leave.notified().await;
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// All places are taken.
    Full,
    /// There are as many from his address as there may be.
    Crowded,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Door {
    slots: Arc<Semaphore>,
    seats: usize,
    crowd: Crowd,
    /// Connections in the order in which they came, as far as they may not be admitted yet.
    silent: VecDeque<Weak<Seat>>,
}

impl Door {
    /// A door to as many places as there are slots, so many of them for each address.
    pub(super) fn new(slots: Arc<Semaphore>, each_max: usize) -> Self {
        let crowd = Crowd::new(each_max);
        Self { seats: slots.available_permits(), slots, crowd, silent: VecDeque::new() }
    }

    /// Lets somebody in, if there is a place for him.
    pub(super) async fn enter(&mut self, address: SocketAddr) -> Result<Arc<Seat>, Turned> {
        let guest = self.crowd.come(address).ok_or(Turned::Crowded)?;
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(self.seat(guest, slot));
        }
        self.make_room().ok_or(Turned::Full)?;
        match timeout(LEAVE_TIME, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(self.seat(guest, slot)),
            _ => Err(Turned::Full),
        }
    }

    fn seat(&mut self, guest: Guest, slot: OwnedSemaphorePermit) -> Arc<Seat> {
        let (is_admitted, leave) = (AtomicBool::new(false), Notify::new());
        let seat = Arc::new(Seat { since: Instant::now(), is_admitted, leave, _guest: guest, _slot: slot });
        if self.silent.len() >= 2 * self.seats {
            self.silent.retain(|seat| seat.upgrade().is_some_and(|seat| !seat.is_kept()));
        }
        self.silent.push_back(Arc::downgrade(&seat));
        seat
    }

    /// Asks the one that has been there for longest without being admitted to go, if it has been for long enough.
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
        Door::new(Arc::new(Semaphore::new(seats)), 2)
    }

    impl Door {
        /// Somebody of this machine comes.
        async fn local(&mut self) -> Option<Arc<Seat>> {
            self.enter("127.0.0.1:1".parse().unwrap()).await.ok()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_does_not_get_all_places() {
        let (stranger, other) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap());
        let mut door = door(3);
        let first = door.enter(stranger).await.unwrap();
        let _second = door.enter(stranger).await.unwrap();
        assert_eq!(door.enter(stranger).await.unwrap_err(), Turned::Crowded);
        let _other = door.enter(other).await.unwrap();
        assert_eq!(door.enter(other).await.unwrap_err(), Turned::Full);
        drop(first);
        assert!(door.enter(other).await.is_ok(), "who was turned away is not counted");
    }

    /// Leaves when it is asked to.
    fn guest(seat: Arc<Seat>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { seat.is_needed().await })
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_one_makes_room_and_who_was_admitted_stays() {
        let mut door = door(3);
        let admitted = door.local().await.unwrap();
        admitted.keep();
        let (first, second) = (guest(door.local().await.unwrap()), guest(door.local().await.unwrap()));
        assert!(door.local().await.is_none(), "nobody has been silent for long");
        tokio::time::advance(SILENCE_MIN).await;
        let new = door.local().await.unwrap();
        first.await.unwrap();
        assert!(!second.is_finished());
        new.keep();
        drop(door.local().await.unwrap());
        second.await.unwrap();
        let last = door.local().await.unwrap();
        last.keep();
        tokio::time::advance(SILENCE_MIN).await;
        assert!(door.local().await.is_none(), "all were admitted");
        drop(admitted);
        assert!(door.local().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_of_silent_ones_stays_small() {
        let mut door = door(2);
        for _ in 0..100 {
            drop(door.local().await.unwrap());
        }
        assert!(door.silent.len() <= 4, "{}", door.silent.len());
    }
}
