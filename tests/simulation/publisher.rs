//! Publishers: they send events, send again what nobody acknowledged, and sometimes what was.

use std::sync::Arc;
use std::time::Duration;

use eventail_broker::status::Published;
use eventail_broker::{Broker, BrokerError};
use eventail_wire::Event;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::plan::dice;
use crate::setup::{CLICKS, ORDERS, TYPES, topic};
use crate::world::World;

/// How long a publisher waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Events of one publish at most.
const BATCH_MAX: usize = 6;

/// The event of this id, as its publisher makes it.
pub(crate) fn event(dice: &mut SmallRng, world: &World, id: &str, may_wait: bool) -> Event {
    let key = format!("k{}", dice.random_range(0..world.plan.keys));
    let kind = TYPES[dice.random_range(0..TYPES.len())];
    let filler = match dice.random_range(0..20) {
        0 => 3_000,
        1..4 => 400,
        _ => 10,
    };
    let data = format!("{{\"id\":\"{id}\",\"filler\":\"{}\"}}", "x".repeat(dice.random_range(0..filler)));
    let mut event = Event::builder(id, "/simulation", kind).extension("partitionkey", key).json_data(data);
    if may_wait && dice.random_bool(0.2) {
        event = event.deliver_after(Duration::from_millis(dice.random_range(1..8_000)));
    }
    event.build().expect("the simulation's events are events")
}

/// Publishes until things no longer go wrong.
pub(crate) async fn run(world: Arc<World>, broker: Broker, number: usize) {
    let life = world.state().life;
    let mut dice = dice(world.plan.seed, &format!("publisher/{number}/{life}"));
    let mut count = 0;
    while !world.is_healing() {
        let pause = dice.random_range(0..world.plan.pause_ms);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if world.is_healing() {
            return;
        }
        let topic = if dice.random_bool(0.25) { CLICKS } else { ORDERS };
        let open = open_of(&world, topic, number);
        let ids: Vec<String> = if !open.is_empty() && dice.random_bool(0.7) {
            open
        } else if dice.random_bool(0.1) {
            known_of(&mut dice, &world, topic)
        } else {
            let events = dice.random_range(1..=BATCH_MAX);
            let new = (0..events).map(|_| {
                count += 1;
                format!("p{number}-{life}-{count}")
            });
            let new: Vec<String> = new.collect();
            for id in &new {
                let event = event(&mut dice, &world, id, world.plan.delayed && topic == ORDERS);
                world.state().ledger.send(topic, event);
            }
            new
        };
        publish(&world, &broker, topic, &ids).await;
    }
}

/// What this publisher sent and nobody acknowledged, some of it.
fn open_of(world: &World, topic: &str, number: usize) -> Vec<String> {
    let prefix = format!("p{number}-");
    let state = world.state();
    let open = state.ledger.open();
    let of_mine = open
        .into_iter()
        .filter(|id| id.starts_with(&prefix) && state.ledger.get(id).is_some_and(|sent| sent.topic == topic));
    of_mine.take(BATCH_MAX).collect()
}

/// Something that was acknowledged before: it comes again.
fn known_of(dice: &mut SmallRng, world: &World, topic: &str) -> Vec<String> {
    let state = world.state();
    let known: Vec<&String> = state
        .ledger
        .all()
        .filter(|(_, sent)| sent.topic == topic && sent.offset.is_some())
        .map(|(id, _)| id)
        .collect();
    if known.is_empty() { Vec::new() } else { vec![known[dice.random_range(0..known.len())].clone()] }
}

/// Sends everything again that nobody acknowledged, until somebody did; `false` where that does not come to an end now.
pub(crate) async fn send_the_rest(world: &World, broker: &Broker) -> bool {
    for topic in [ORDERS, CLICKS] {
        let open: Vec<String> = {
            let state = world.state();
            let is_here = |id: &String| state.ledger.get(id).is_some_and(|sent| sent.topic == topic);
            state.ledger.open().into_iter().filter(is_here).collect()
        };
        for ids in open.chunks(BATCH_MAX) {
            if !publish(world, broker, topic, ids).await {
                return false;
            }
        }
    }
    true
}

/// Publishes events and notes what was answered; `false` where they were not acknowledged.
async fn publish(world: &World, broker: &Broker, to: &'static str, ids: &[String]) -> bool {
    if ids.is_empty() {
        return true;
    }
    let events: Vec<Event> = {
        let state = world.state();
        ids.iter().filter_map(|id| state.ledger.get(id).map(|sent| sent.event.clone())).collect()
    };
    world.note(format_args!("publish {to} {ids:?}"));
    let answer: Result<Result<Vec<Published>, BrokerError>, _> =
        tokio::time::timeout(PATIENCE, broker.publish(&topic(to), events)).await;
    match answer {
        Ok(Ok(places)) => {
            world.note(format_args!("published {to} {:?}", places.iter().map(told).collect::<Vec<_>>()));
            if places.len() != ids.len() {
                world.fail(format_args!("{} answers for {} events", places.len(), ids.len()));
            }
            for (id, place) in ids.iter().zip(&places) {
                let now_ms = world.clock.elapsed_ms();
                let noted = world.state().ledger.acknowledge(id, place, now_ms, to == ORDERS);
                world.check(noted);
            }
            true
        }
        Ok(Err(error)) => {
            world.note(format_args!("refused {to} {ids:?}: {error}"));
            false
        }
        Err(_) => {
            world.note(format_args!("no answer {to} {ids:?}"));
            false
        }
    }
}

fn told(place: &Published) -> String {
    match place {
        Published::Appended { offset, duplicate } => format!("{offset}{}", if *duplicate { "=" } else { "" }),
        Published::Held { id, duplicate, .. } => format!("held {id}{}", if *duplicate { "=" } else { "" }),
    }
}
