//! A start as it is seen from outside: how far it is, and at its end what it checked, cut off and rebuilt.
//!
//! What it does to the disk is watched at the seam to the disk ([`watch`]), so that it is told as it was and not as it was meant.

mod marker;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::status::{StartPhase, Starting, TopicStatus};
use crate::tls::Certificates;

pub(crate) use marker::Marker;
pub(crate) use watch::watched;

/// How far a start is. Clones are the same one.
#[derive(Clone, Debug)]
pub struct StartProgress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    begun: Instant,
    phase: StartPhase,
    phase_begun: Instant,
    /// What the phases before took.
    phases: Vec<(StartPhase, Duration)>,
    log: Option<String>,
    logs: u64,
    bytes: u64,
    found: BTreeMap<String, LogFound>,
    is_over: bool,
    /// What the listener speaks TLS with, if it does, once that is known.
    certificates: Option<Option<Arc<Certificates>>>,
}

/// What a start did to one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LogFound {
    bytes_read: u64,
    /// What was cut off at its end: a write that was under way, or zeros written ahead.
    bytes_cut: u64,
    sidecars_rebuilt: u64,
    took: Duration,
}

impl Default for StartProgress {
    fn default() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            begun: now,
            phase: StartPhase::default(),
            phase_begun: now,
            phases: Vec::new(),
            log: None,
            logs: 0,
            bytes: 0,
            found: BTreeMap::new(),
            is_over: false,
            certificates: None,
        })))
    }
}

impl StartProgress {
    /// What is told of it now.
    #[must_use]
    pub fn status(&self) -> Starting {
        let state = self.lock();
        let bytes_done: u64 = state.found.values().map(|found| found.bytes_read).sum();
        // One that is being opened is not done.
        let logs_done =
            (state.found.len() as u64).saturating_sub(u64::from(state.phase == StartPhase::Recovering));
        let at = state.log.as_ref().map(|log| format!(", at {log}")).unwrap_or_default();
        let phase = format!("{:?}", state.phase).to_lowercase();
        let (logs, bytes) = (state.logs.max(logs_done), state.bytes.max(bytes_done));
        let told = format!("it is starting: {phase}{at}, {bytes_done} of {bytes} bytes read");
        Starting {
            ready: false,
            problems: vec![("broker".to_owned(), told)],
            phase: state.phase,
            log: state.log.clone(),
            logs,
            logs_done,
            bytes,
            bytes_done,
            elapsed_ms: milliseconds(state.begun.elapsed()),
        }
    }

    /// Tells what the listener speaks TLS with, if it does.
    pub(crate) fn set_certificates(&self, certificates: Option<Arc<Certificates>>) {
        self.lock().certificates = Some(certificates);
    }

    /// What the listener speaks TLS with, if it does; `None` as long as that is not known.
    pub(crate) fn certificates(&self) -> Option<Option<Arc<Certificates>>> {
        self.lock().certificates.clone()
    }

    pub(crate) fn enter(&self, phase: StartPhase) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.phase == phase {
            return;
        }
        let ended = (state.phase, now - state.phase_begun);
        state.phases.push(ended);
        (state.phase, state.phase_begun, state.log) = (phase, now, None);
    }

    /// What is worked on, where it is no log.
    pub(crate) fn at(&self, what: &str) {
        self.lock().log = Some(what.to_owned());
    }

    /// So many logs are there, of which so many bytes have to be read.
    pub(crate) fn expect(&self, logs: u64, bytes: u64) {
        let mut state = self.lock();
        (state.logs, state.bytes) = (logs, bytes);
    }

    /// It is over: what happens to the disk from now on is no part of it. Tells in one place what was done.
    pub(crate) fn end(&self, was_clean: bool, topics: &[TopicStatus]) {
        self.enter(StartPhase::Starting);
        let mut state = self.lock();
        state.is_over = true;
        let last = (state.phase, state.phase_begun.elapsed());
        state.phases.push(last);
        let state = &*state;
        let found = &state.found;
        let took = |phase| {
            let phases = state.phases.iter().filter(|(other, _)| *other == phase);
            milliseconds(phases.map(|(_, took)| *took).sum())
        };
        for (log, LogFound { bytes_read, bytes_cut, sidecars_rebuilt, took }) in found {
            if *bytes_cut > 0 || *sidecars_rebuilt > 0 {
                let took_ms = milliseconds(*took);
                tracing::info!(log, bytes_read, bytes_cut, sidecars_rebuilt, took_ms, "log brought in order");
            }
        }
        let refusing = topics.iter().filter(|topic| topic.refusal.is_some()).count();
        let sum = |of: fn(&LogFound) -> u64| found.values().map(of).sum::<u64>();
        tracing::info!(
            was_clean,
            logs = state.logs,
            bytes_read = sum(|found| found.bytes_read),
            bytes_cut = sum(|found| found.bytes_cut),
            logs_cut = found.values().filter(|found| found.bytes_cut > 0).count(),
            sidecars_rebuilt = sum(|found| found.sidecars_rebuilt),
            topics_refusing = refusing,
            opening_ms = took(StartPhase::Opening),
            recovering_ms = took(StartPhase::Recovering),
            indexing_ms = took(StartPhase::Indexing),
            starting_ms = took(StartPhase::Starting),
            took_ms = milliseconds(state.begun.elapsed()),
            "{}",
            if was_clean {
                "started after an orderly stop"
            } else {
                "recovered after a stop that was not orderly"
            }
        );
    }

    /// Notes something of a log, as long as the start goes on.
    fn note(&self, log: &str, note: impl FnOnce(&mut LogFound)) {
        let mut state = self.lock();
        if state.is_over {
            return;
        }
        if state.log.as_deref() != Some(log) {
            state.log = Some(log.to_owned());
        }
        match state.found.get_mut(log) {
            Some(found) => note(found),
            None => note(state.found.entry(log.to_owned()).or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
