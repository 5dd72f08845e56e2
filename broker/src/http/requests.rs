//! Counting answered requests by route and status, without a look-up for the common ones.

use std::sync::OnceLock;

use http::StatusCode;
use metrics::{Counter, counter};

use super::routes::ROUTES;
use crate::metrics::HTTP_REQUESTS;

/// Statuses that have a slot of their own; the rest is looked up, since it hardly comes.
const STATUSES: [u16; 14] = [200, 201, 400, 401, 403, 404, 405, 408, 410, 413, 415, 429, 503, 507];

/// The counters of all routes and of what is none.
#[derive(Debug)]
pub(super) struct RequestCounters {
    slots: Vec<[OnceLock<Counter>; STATUSES.len()]>,
}

impl RequestCounters {
    pub(super) fn new() -> Self {
        Self { slots: (0..=ROUTES.len()).map(|_| Default::default()).collect() }
    }

    /// Counts an answer of the route at `route` in the table; `None` is no route.
    pub(super) fn count(&self, route: Option<usize>, status: StatusCode) {
        let row = route.unwrap_or(ROUTES.len());
        let slot = STATUSES.iter().position(|&known| known == status.as_u16());
        match slot.and_then(|column| self.slots.get(row).map(|slots| &slots[column])) {
            Some(slot) => slot.get_or_init(|| make(route, status)).increment(1),
            None => make(route, status).increment(1),
        }
    }
}

fn make(route: Option<usize>, status: StatusCode) -> Counter {
    let route = route.and_then(|at| ROUTES.get(at)).map_or_else(|| "none".to_owned(), |route| route.name());
    counter!(HTTP_REQUESTS, "route" => route, "status" => status.as_str().to_owned())
}
