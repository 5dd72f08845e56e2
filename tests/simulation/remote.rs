//! Those who use the broker from afar, through the client library: they outlive it, and the network between is as bad as it may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventail_client::{Client, ClientError, Delivery, PublisherOptions, Start, SubscribeOptions};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::network;
use crate::plan::dice;
use crate::publisher::event;
use crate::setup::{ORDERS, topic, trigger};
use crate::world::World;

/// How the subscription is called.
pub(crate) const SUBSCRIPTION: &str = "remote";
/// How long a delivery is leased.
const LEASE: Duration = Duration::from_secs(2);
/// How long a subscriber waits for the next delivery before it looks whether it is done.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(300);

/// Connects, as often as it takes.
async fn connect(world: &Arc<World>, name: &str) -> Client {
    loop {
        match Client::connect(network::options(world, name)).await {
            Ok(client) => return client,
            Err(error) => world.note(format_args!("{name} does not get through: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Publishes until things no longer go wrong, and then waits until everything was answered.
pub(crate) async fn publish(world: Arc<World>, number: usize) {
    let name = format!("remote-{number}");
    let mut dice = dice(world.plan.seed, &name);
    let client = connect(&world, &name).await;
    let options = PublisherOptions::default().window(8, 64 << 10);
    let publisher = loop {
        match client.publisher(topic(ORDERS), options.clone()).await {
            Ok(publisher) => break publisher,
            Err(error) => world.note(format_args!("{name} opens no publisher: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut count = 0;
    while !world.is_healing() {
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..world.plan.pause_ms))).await;
        count += 1;
        let id = format!("r{number}-{count}");
        let event = event(&mut dice, &world, &id, false);
        world.state().ledger.send(ORDERS, event.clone());
        world.note(format_args!("{name} publishes {id}"));
        match publisher.publish(event).await {
            Ok(answer) => drop(tokio::spawn(note(Arc::clone(&world), id, answer))),
            Err(error) => world.fail(format_args!("{name} cannot publish {id}: {error}")),
        }
    }
    match publisher.close().await {
        Ok(()) => world.note(format_args!("{name} has all its answers")),
        Err(error) => world.fail(format_args!("{name} cannot close: {error}")),
    }
    client.close().await;
    world.leave();
}

/// Notes where an event is. A publisher without an end to its patience gets an answer to everything.
async fn note(world: Arc<World>, id: String, answer: eventail_client::PublishHandle) {
    match answer.await {
        Ok(place) => {
            world.note(format_args!("{id} is {place:?}"));
            let now_ms = world.clock.elapsed_ms();
            let noted = world.state().ledger.acknowledge(&id, &place, now_ms, true);
            world.check(noted);
        }
        // It is open, and published again by the audit.
        Err(ClientError::Closed) => world.note(format_args!("{id} has no answer")),
        Err(error) => world.fail(format_args!("{id} was refused: {error}")),
    }
}

/// Takes what comes: settles it, or not, or gives it back, until everything was settled once.
pub(crate) async fn subscribe(world: Arc<World>) {
    let mut dice = dice(world.plan.seed, "subscriber");
    let client = connect(&world, SUBSCRIPTION).await;
    let mut settled = BTreeMap::new();
    loop {
        let options = SubscribeOptions::new(trigger(SUBSCRIPTION), topic(ORDERS))
            .start(Start::Earliest)
            .lease(LEASE)
            .credit(16);
        let mut subscription = match client.subscribe(options).await {
            Ok(subscription) => subscription,
            Err(error) => {
                world.note(format_args!("there is no subscription: {error}"));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Now and then it begins anew: what it holds comes again when its lease has run out.
        for _ in 0..dice.random_range(5..60) {
            match tokio::time::timeout(PATIENCE, subscription.next()).await {
                Ok(Some(Ok(delivery))) => take(&world, &mut dice, &mut settled, delivery),
                Ok(Some(Err(error))) => {
                    world.note(format_args!("the subscription ended: {error}"));
                    break;
                }
                Ok(None) => break,
                Err(_) if world.has_settled(&settled) => {
                    world.note("the subscriber has everything");
                    subscription.close().await;
                    client.close().await;
                    world.leave();
                    return;
                }
                Err(_) => {}
            }
        }
    }
}

fn take(world: &World, dice: &mut SmallRng, settled: &mut BTreeMap<u64, String>, delivery: Delivery) {
    let (offset, attempt, id) = (delivery.offset().0, delivery.attempt(), delivery.event().id().to_owned());
    world.note(format_args!("the subscriber gets {id} at {offset}, attempt {attempt}"));
    let checked = world.is_sent_at(delivery.event(), offset);
    world.check(checked);
    let roll = if world.is_healing() { 0 } else { dice.random_range(0..10) };
    match roll {
        0..7 => {
            settled.insert(offset, id);
            delivery.ack();
        }
        7 => delivery.nack(Some(Duration::from_millis(dice.random_range(0..500)))),
        8 => {
            delivery.extend();
            settled.insert(offset, id);
            delivery.ack();
        }
        _ => drop(delivery),
    }
}
