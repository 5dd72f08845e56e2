//! What operators do: they pause and resume triggers, load other configurations, redrive, replay and take delayed events back.

use std::sync::Arc;

use eventail_broker::Broker;
use eventail_broker::status::{DeadLetterFilter, DelayedFilter, RedriveRequest, ReplayPoint, ReplayRequest};
use rand::Rng;

use crate::node::Targets;
use crate::setup::{config, trigger};
use crate::world::{Order, World};

/// Does what is ordered.
pub(crate) async fn run(world: Arc<World>, broker: Broker, targets: Targets) {
    loop {
        let order = {
            let mut state = world.state();
            let order = state.orders.pop_front();
            state.is_operating = order.is_some();
            order
        };
        match order {
            Some(order) => carry_out(&world, &broker, &targets, order).await,
            None => world.ordered.notified().await,
        }
    }
}

async fn carry_out(world: &World, broker: &Broker, targets: &Targets, order: Order) {
    world.note(format_args!("operator: {order:?}"));
    let outcome = match order {
        Order::Pause(name) => told(broker.pause_trigger(&trigger(name), "the simulation says so").await),
        Order::Resume(name) => told(broker.resume_trigger(&trigger(name)).await),
        Order::Reload => {
            let variant = world.state().variant;
            told(broker.reload(config(&world.plan, variant, |script| targets.of(script))).await)
        }
        Order::Redrive => redrive(world, broker).await,
        Order::Replay(name) => {
            let request = ReplayRequest {
                trigger: Some(trigger(name)),
                from: ReplayPoint::Earliest,
                ..ReplayRequest::default()
            };
            told(broker.start_replay(&request).await.map(|status| status.id))
        }
        Order::CancelDelayed => cancel(world, broker).await,
    };
    world.note(format_args!("operator: {order:?}: {outcome}"));
}

fn told<T, E: std::fmt::Display>(outcome: Result<T, E>) -> String {
    outcome.map_or_else(|error| error.to_string(), |_| "done".to_owned())
}

async fn redrive(world: &World, broker: &Broker) -> String {
    let filter = DeadLetterFilter::default();
    match broker.dead_letters(&filter, None, 10_000).await {
        Ok(letters) => {
            let origins = letters.iter().map(|letter| {
                let topic = letter.origin_topic.to_string();
                (letter.trigger.to_string(), topic, letter.origin_offset.0, letter.replay.is_some())
            });
            let origins: Vec<_> = origins.collect();
            world.state().redriven.extend(origins);
        }
        Err(error) => return error.to_string(),
    }
    match broker.redrive(&RedriveRequest::default()).await {
        Ok(result) => format!("{result:?}"),
        Err(error) => error.to_string(),
    }
}

/// Takes half of what waits back.
async fn cancel(world: &World, broker: &Broker) -> String {
    let held = match broker.delayed_events(&DelayedFilter::default(), None, 1_000).await {
        Ok(held) => held,
        Err(error) => return error.to_string(),
    };
    let mut cancelled = 0;
    for one in held {
        if !world.state().dice.random_bool(0.5) {
            continue;
        }
        if let Some(sent) = world.state().ledger.get_mut(&one.event_id) {
            sent.is_taken_back = true;
        }
        cancelled += u32::from(broker.cancel_delayed(one.id).await.is_ok());
    }
    format!("{cancelled} cancelled")
}
