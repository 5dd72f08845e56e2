//! The oracle: what must hold after every start, of every delivery, and in full when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use eventail_broker::Broker;
use eventail_broker::status::{
    DeadLetterFilter, DeadLetterSummary, DelayedFilter, StoredEvent, TimelineRequest, TriggerState,
};
use eventail_triggers::target::Invocation;
use eventail_wire::{Event, Offset};

use crate::ledger::Sent;
use crate::publisher;
use crate::setup::{CLICKS, COPIES, COPY, ORDERS, SCRIPTS, Script, topic, trigger};
use crate::world::World;

/// How long nothing may come to its end before everything has, once nothing goes wrong any more.
const STANDSTILL_MS: u64 = 240_000;
/// What a power cut may take of a topic that is answered before its sync: the time until that sync, on the slowest disk.
const BUFFERED_LOSS_MS: u64 = 1_500;
/// Events whose story is compared with and without the index.
const STORIES: usize = 6;

impl World {
    /// Whether what a target got is what a publisher sent.
    pub(crate) fn is_genuine(&self, script: &Script, invocation: &Invocation) -> Result<(), String> {
        let event = &invocation.event;
        if !script.wants(event) {
            return Err(format!("{} got {} of type {}", script.name, event.id(), event.event_type()));
        }
        let is_copy = invocation.topic.as_str() == COPIES;
        let id = if is_copy { event.attribute("causationid").unwrap_or_default() } else { event.id() };
        let state = self.state();
        let sent =
            state.ledger.get(id).ok_or_else(|| format!("{} got {id}, which nobody sent", script.name))?;
        same(sent, event)?;
        match sent.offset {
            Some(offset) if !is_copy && sent.topic == ORDERS && offset != invocation.offset.0 => Err(
                format!("{} got {id} of offset {}, acknowledged at {offset}", script.name, invocation.offset),
            ),
            _ => Ok(()),
        }
    }
}

impl World {
    /// Whether an event of the topic of orders is what a publisher sent, where the broker said that it is.
    pub(crate) fn is_sent_at(&self, event: &Event, offset: u64) -> Result<(), String> {
        let state = self.state();
        let id = event.id();
        let sent = state.ledger.get(id).ok_or_else(|| format!("{id} comes from afar, and nobody sent it"))?;
        same(sent, event)?;
        match sent.offset {
            Some(known) if known != offset => {
                Err(format!("{id} comes from {offset}, acknowledged at {known}"))
            }
            _ => Ok(()),
        }
    }
}

fn same(sent: &Sent, event: &Event) -> Result<(), String> {
    let key = |event: &Event| event.attribute("partitionkey").map(str::to_owned);
    let is_same = sent.event.event_type() == event.event_type()
        && sent.event.source() == event.source()
        && sent.event.data_slice() == event.data_slice()
        && key(&sent.event) == key(event);
    if is_same { Ok(()) } else { Err(format!("{} is not as it was sent", sent.event.id())) }
}

/// Reads a topic whole.
async fn read_all(world: &World, broker: &Broker, name: &str) -> Vec<StoredEvent> {
    let name = topic(name);
    let Ok(status) = broker.topic(&name) else { return Vec::new() };
    let mut from = status.start;
    let mut all = Vec::new();
    loop {
        match broker.read(&name, from, 500, Duration::ZERO).await {
            Ok(page) if page.is_empty() => return all,
            Ok(page) => {
                for stored in page {
                    if stored.offset != from {
                        world.fail(format_args!("{name}: offset {} where {from} should be", stored.offset));
                        return all;
                    }
                    from = from.plus(1);
                    all.push(stored);
                }
            }
            // Retention was quicker.
            Err(error) if broker.topic(&name).is_ok_and(|status| status.start > from) => {
                world.note(error);
                from = broker.topic(&name).map_or(from, |status| status.start);
                all.clear();
            }
            Err(error) => {
                if !world.state().process.as_ref().is_some_and(|process| process.is_dead()) {
                    world.fail(format_args!("{name} cannot be read at {from}: {error}"));
                }
                return all;
            }
        }
    }
}

/// What must hold of the logs whenever the broker has started.
pub(crate) async fn after_start(world: &World, broker: &Broker) {
    let end_of_clicks = broker.topic(&topic(CLICKS)).map_or(0, |status| status.end.0);
    cut_clicks(world, end_of_clicks);
    let orders = read_all(world, broker, ORDERS).await;
    check_orders(world, &orders);
    let clicks = read_all(world, broker, CLICKS).await;
    let mut ids = BTreeSet::new();
    for stored in &clicks {
        let state = world.state();
        let genuine = match state.ledger.get(stored.event.id()) {
            Some(sent) => same(sent, &stored.event),
            None => Err(format!("{} was never sent", stored.event.id())),
        };
        drop(state);
        world.check(genuine);
        if !ids.insert(stored.event.id().to_owned()) {
            world.fail(format_args!("{} is twice in {CLICKS}", stored.event.id()));
        }
    }
    for status in broker.triggers() {
        let (name, account) = (status.name, status.account);
        world.note(format_args!("{name}: cursor {} scanned {} {account:?}", status.cursor, status.scanned));
    }
    world.note(format_args!("recovered: {} orders, clicks to {end_of_clicks}", orders.len()));
}

/// Forgets what a power cut took of the topic that may lose something, and nothing else.
fn cut_clicks(world: &World, end: u64) {
    let mut state = world.state();
    let lost: Vec<(String, u64)> = state
        .ledger
        .all()
        .filter(|(_, sent)| sent.topic == CLICKS && sent.offset.is_some_and(|offset| offset >= end))
        .map(|(id, sent)| (id.clone(), sent.acknowledged_ms))
        .collect();
    let (cuts, last_cut_ms) = (state.power_cuts, state.last_cut_ms);
    for (id, _) in &lost {
        state.ledger.lose(id);
    }
    state.attempts.cut(CLICKS, end);
    drop(state);
    for (id, acknowledged_ms) in lost {
        if cuts == 0 || acknowledged_ms + BUFFERED_LOSS_MS < last_cut_ms {
            world.fail(format_args!(
                "{id} was acknowledged at {acknowledged_ms} ms and is gone from {CLICKS}"
            ));
        }
    }
}

/// The topic that loses nothing: every acknowledged event at its place, none twice, and what was read before is there still.
fn check_orders(world: &World, orders: &[StoredEvent]) {
    let mut ids = BTreeMap::new();
    for stored in orders {
        let id = stored.event.id().to_owned();
        let mut state = world.state();
        let checked = match state.ledger.get(&id) {
            Some(sent) => same(sent, &stored.event),
            None => Err(format!("{id} was never sent")),
        };
        let known = state.log.entry(stored.offset.0).or_insert_with(|| id.clone()).clone();
        drop(state);
        world.check(checked);
        if known != id {
            world.fail(format_args!("{ORDERS}@{} is {id} and was {known}", stored.offset));
        }
        if let Some(before) = ids.insert(id.clone(), stored.offset) {
            world.fail(format_args!("{id} is in {ORDERS} at {before} and at {}", stored.offset));
        }
    }
    let state = world.state();
    let missing = state.ledger.all().find_map(|(id, sent)| {
        let offset = sent.offset.filter(|_| sent.topic == ORDERS)?;
        (ids.get(id) != Some(&Offset(offset)))
            .then(|| format!("{id} was acknowledged at {offset} and is not there"))
    });
    let shorter = state.log.keys().next_back().filter(|last| **last >= orders.len() as u64).copied();
    drop(state);
    if let Some(missing) = missing {
        world.fail(missing);
    }
    if let Some(last) = shorter {
        world.fail(format_args!("{ORDERS} had {last} and ends at {}", orders.len()));
    }
}

/// Waits until everything has come to its end, and then looks at all of it.
pub(crate) async fn at_rest(world: &Arc<World>, broker: &Broker) {
    if !rest(world, broker).await {
        return;
    }
    let orders = read_all(world, broker, ORDERS).await;
    check_orders(world, &orders);
    check_held(world, &orders);
    let copies = read_all(world, broker, COPIES).await;
    check_copies(world, &orders, &copies);
    let clicks = read_all(world, broker, CLICKS).await;
    let everything = DeadLetterFilter { include_redriven: true, ..DeadLetterFilter::default() };
    let letters = match broker.dead_letters(&everything, None, 100_000).await {
        Ok(letters) => letters,
        Err(error) => return world.fail(error),
    };
    for letter in &letters {
        check_letter(world, broker, letter).await;
    }
    for script in &SCRIPTS {
        let events = match script.topic {
            ORDERS => &orders,
            COPIES => &copies,
            _ => &clicks,
        };
        check_trigger(world, broker, script, events, &letters);
    }
    let observed = observe(world, broker, &orders, &letters).await;
    compare(world, observed);
}

/// Takes what is observable for the first time, or compares it with the first time.
fn compare(world: &World, observed: String) {
    let mut state = world.state();
    let Some(before) = state.observed.clone() else {
        state.observed = Some(observed);
        drop(state);
        return world.note("everything is at rest");
    };
    state.is_audited = true;
    drop(state);
    let differs = before.lines().zip(observed.lines()).find(|(before, after)| before != after);
    if let Some((before, after)) = differs {
        world.fail(format_args!("without the index {before:?} is {after:?}"));
    } else if before.lines().count() != observed.lines().count() {
        world.fail("without the index something is missing, or there is more");
    }
    world.note("nothing changed without the index");
}

/// Waits for rest; `false` where the life ends before, or rest never comes.
async fn rest(world: &Arc<World>, broker: &Broker) -> bool {
    let mut restless = String::new();
    let (mut settled, mut settled_ms) = (0, world.clock.elapsed_ms());
    while world.clock.elapsed_ms() < settled_ms + STANDSTILL_MS {
        let now_settled = settlements(broker);
        if now_settled != settled {
            (settled, settled_ms) = (now_settled, world.clock.elapsed_ms());
        }
        let stopped = {
            let state = world.state();
            state.stop || state.is_sick
        };
        if stopped {
            return false;
        }
        for status in broker.triggers() {
            if status.state == TriggerState::Paused {
                let resumed = broker.resume_trigger(&status.name).await;
                world.note(format_args!("resume {}: {:?}", status.name, resumed.map(|_| ())));
            }
        }
        let is_sent = publisher::send_the_rest(world, broker).await;
        restless = restless_parts(world, broker);
        if is_sent && restless.is_empty() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.fail(format_args!("it never comes to rest: {restless}"));
    false
}

/// How many deliveries have come to their end.
fn settlements(broker: &Broker) -> u64 {
    let triggers = broker.triggers().into_iter().map(|status| status.account);
    let replays = broker.replays().into_iter().map(|status| status.account);
    triggers.chain(replays).map(|account| account.matched - account.pending).sum()
}

fn restless_parts(world: &World, broker: &Broker) -> String {
    let mut restless = String::new();
    for status in broker.triggers() {
        let is_done = status.state == TriggerState::Running
            && status.lag == 0
            && status.account.pending == 0
            && status.in_flight == 0
            && broker.topic(&status.topic).is_ok_and(|topic| topic.end == status.scanned);
        if !is_done {
            let _ = write!(
                restless,
                "{} {:?} ({:?}) cursor {} scanned {} lag {} {:?} in flight {} {:?} until {:?}; ",
                status.name,
                status.state,
                status.reason,
                status.cursor,
                status.scanned,
                status.lag,
                status.account,
                status.in_flight,
                status.breaker,
                status.held_until
            );
        }
    }
    let delayed = broker.delayed_status();
    if delayed.pending > 0 {
        let _ = write!(restless, "{delayed:?}; ");
    }
    for replay in broker.replays().iter().filter(|replay| !replay.state.is_final()) {
        let _ = write!(restless, "{replay:?}; ");
    }
    if world.state().is_operating || !world.state().orders.is_empty() {
        restless.push_str("the operator is at work; ");
    }
    let open = world.state().ledger.open();
    if !open.is_empty() {
        let _ = write!(restless, "not acknowledged {open:?}");
    }
    restless
}

/// What was held came, unless somebody took it back.
fn check_held(world: &World, orders: &[StoredEvent]) {
    let there: BTreeSet<&str> = orders.iter().map(|stored| stored.event.id()).collect();
    let state = world.state();
    let missing = state
        .ledger
        .all()
        .find(|(id, sent)| sent.topic == ORDERS && !sent.is_taken_back && !there.contains(id.as_str()));
    let missing = missing.map(|(id, sent)| format!("{id} was held as {:?} and never came", sent.held));
    drop(state);
    if let Some(missing) = missing {
        world.fail(missing);
    }
}

/// Each order was copied once.
fn check_copies(world: &World, orders: &[StoredEvent], copies: &[StoredEvent]) {
    let mut causes = BTreeSet::new();
    for copy in copies {
        let cause = copy.event.attribute("causationid").unwrap_or_default().to_owned();
        if !causes.insert(cause.clone()) {
            world.fail(format_args!("{cause} was copied twice"));
        }
    }
    if let Some(missing) = orders.iter().find(|stored| !causes.contains(stored.event.id())) {
        world.fail(format_args!("{} was not copied by {COPY}", missing.event.id()));
    }
}

async fn check_letter(world: &World, broker: &Broker, letter: &DeadLetterSummary) {
    let whole = match broker.dead_letter(&letter.topic, letter.offset).await {
        Ok(whole) => whole,
        Err(error) => return world.fail(format_args!("dead letter {}: {error}", letter.offset)),
    };
    let id = match letter.origin_topic.as_str() {
        COPIES => whole.event.attribute("causationid").unwrap_or_default().to_owned(),
        _ => letter.event_id.clone(),
    };
    let genuine = {
        let state = world.state();
        state.ledger.get(&id).map_or_else(
            || Err(format!("dead letter of {id}, which nobody sent")),
            |sent| same(sent, &whole.event),
        )
    };
    world.check(genuine);
    if letter.attempts > world.plan.max_attempts {
        world.fail(format_args!("{} was dead-lettered after {} attempts", letter.event_id, letter.attempts));
    }
}

/// Every event that a trigger wants ended, and its account says so.
fn check_trigger(
    world: &World,
    broker: &Broker,
    script: &'static Script,
    events: &[StoredEvent],
    letters: &[DeadLetterSummary],
) {
    let Ok(status) = broker.trigger(&trigger(script.name)) else {
        return world.fail(format_args!("{} is gone", script.name));
    };
    let account = status.account;
    let sum =
        account.delivered + account.dead_lettered + account.expired + account.deduplicated + account.pending;
    if account.matched != sum {
        world.fail(format_args!("{}: {account:?} does not add up", script.name));
    }
    let buried: BTreeSet<u64> = letters
        .iter()
        .filter(|letter| {
            letter.trigger.as_str() == script.name && letter.origin_topic.as_str() == script.topic
        })
        .map(|letter| letter.origin_offset.0)
        .collect();
    let wanted: Vec<&StoredEvent> = events.iter().filter(|stored| script.wants(&stored.event)).collect();
    for stored in &wanted {
        let delivery = (script.name.to_owned(), script.topic.to_owned(), stored.offset.0, false);
        let is_taken = world.state().attempts.of(&delivery).is_some_and(|seen| seen.is_taken);
        if !is_taken && !buried.contains(&stored.offset.0) {
            world.fail(format_args!(
                "{}: {}@{} was neither taken nor dead-lettered: {:?}",
                script.name,
                stored.event.id(),
                stored.offset,
                world.state().attempts.of(&delivery)
            ));
        }
    }
    let may_differ = script.topic == CLICKS || !world.state().redriven.is_empty();
    if !may_differ && account.matched != wanted.len() as u64 {
        world.fail(format_args!("{}: {account:?} of {} events", script.name, wanted.len()));
    }
}

/// Everything that a user can see and that a restart must not change.
async fn observe(
    world: &World,
    broker: &Broker,
    orders: &[StoredEvent],
    letters: &[DeadLetterSummary],
) -> String {
    let mut seen = String::new();
    for status in broker.topics() {
        // Retention goes on at rest.
        let is_kept = !(world.plan.retention && status.name.as_str() == CLICKS);
        let start = status.start.0.min(if is_kept { u64::MAX } else { 0 });
        let _ = writeln!(seen, "topic {} {start}..{}", status.name, status.end);
    }
    for status in broker.triggers() {
        let _ = writeln!(
            seen,
            "trigger {} {:?} {} {} {:?} lost {}",
            status.name, status.state, status.cursor, status.scanned, status.account, status.lost
        );
    }
    for letter in letters {
        let _ = writeln!(seen, "letter {letter:?}");
    }
    match broker.delayed_events(&DelayedFilter::default(), None, 10_000).await {
        Ok(held) => held.iter().for_each(|one| {
            let _ = writeln!(seen, "held {one:?}");
        }),
        Err(error) => world.fail(error),
    }
    for replay in broker.replays() {
        let _ = writeln!(seen, "replay {} {:?} {:?}", replay.id, replay.state, replay.account);
    }
    let step = orders.len() / STORIES + 1;
    for stored in orders.iter().step_by(step) {
        let id = stored.event.id();
        match broker.find_event(id).await {
            Ok(places) => {
                let _ = writeln!(seen, "find {id} {places:?}");
            }
            Err(error) => world.fail(error),
        }
        match broker.timeline(&TimelineRequest { id: id.to_owned(), ..TimelineRequest::default() }).await {
            Ok(told) => {
                for event in &told.events {
                    for story in &event.triggers {
                        let steps = &story.steps;
                        let _ = writeln!(seen, "story {id} {} {:?} {steps:?}", story.trigger, story.outcome);
                    }
                }
            }
            Err(error) => world.fail(error),
        }
    }
    seen
}
