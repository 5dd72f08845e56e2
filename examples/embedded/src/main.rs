//! The broker inside a program: opened in its process, with one of its own functions as a trigger's target and no listener
//! at all. What is published is on disk when `publish` returns, and is delivered again after a crash.
//!
//! ```text
//! cargo run -p eventail-example-embedded -- FOLDER
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;

use anyhow::Context as _;
use eventail_broker::config::{Config, StartPosition, TargetOptions, Trigger};
use eventail_broker::{Broker, SubscribeOptions};
use eventail_triggers::outcome::{Outcome, RejectReason, Response, RetryClass};
use eventail_triggers::policy::{DeliveryPolicy, Ordering};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::Event;
use tokio::sync::mpsc;

/// Ships orders: the function that the trigger calls.
struct Ship {
    shipped: mpsc::UnboundedSender<String>,
}

impl Target for Ship {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let event = &invocation.event;
            let order: serde_json::Value = match serde_json::from_slice(event.data_slice()) {
                Ok(order) => order,
                Err(error) => return refuse(&error.to_string()),
            };
            // The first try of a fragile order fails, to show that the broker comes back with it.
            if order["fragile"] == true && invocation.attempt == 1 {
                return retry("the box broke, pack again");
            }
            if order["item"].is_null() {
                return refuse("an order without an item");
            }
            println!("shipped {} (attempt {}, {})", event.id(), invocation.attempt, invocation.delivery_id);
            match self.shipped.send(event.id().to_owned()) {
                Ok(()) => Outcome::Ack { reply: None }.into(),
                Err(_) => retry("the program is ending"),
            }
        })
    }
}

fn retry(error: &str) -> Answer {
    let response = Response { error: error.to_owned(), ..Response::default() };
    Outcome::Retry { class: RetryClass::Failed, after_ms: None, response }.into()
}

fn refuse(error: &str) -> Answer {
    let response = Response { error: error.to_owned(), ..Response::default() };
    Outcome::Reject { reason: RejectReason::Refused, response, disable: false }.into()
}

fn trigger(target: impl Target) -> anyhow::Result<Trigger> {
    Ok(Trigger {
        topic: "orders".parse()?,
        pattern: Some(r#"{ "type": ["order.created"] }"#.to_owned()),
        policy: DeliveryPolicy {
            ordering: Ordering::Key,
            backoff_initial_ms: 50,
            ..DeliveryPolicy::default()
        },
        start: StartPosition::Earliest,
        ..Trigger::new(TargetOptions::Handler(Arc::new(target)))
    })
}

fn order(id: &str, customer: &str, data: &serde_json::Value) -> anyhow::Result<Event> {
    let builder = Event::builder(id, "/examples/embedded", "order.created");
    Ok(builder.extension("partitionkey", customer).json_data(data.to_string()).build()?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).context("usage: example-embedded FOLDER")?;
    let (sender, mut shipped) = mpsc::unbounded_channel();
    let mut config = Config::embedded(folder);
    config.triggers.insert("ship".parse()?, trigger(Ship { shipped: sender })?);
    let broker = Broker::open(config).await?;

    let topic = "orders".parse()?;
    let orders = vec![
        order("o-1", "ada", &serde_json::json!({ "item": "fan" }))?,
        order("o-2", "ada", &serde_json::json!({ "item": "vase", "fragile": true }))?,
        order("o-3", "ada", &serde_json::json!({ "item": "book" }))?,
        order("o-4", "grace", &serde_json::json!({ "note": "no item" }))?,
    ];
    for (published, id) in broker.publish(&topic, orders).await?.iter().zip(1..) {
        println!("published o-{id} {published}");
    }
    let mut order_of_arrival = Vec::new();
    while order_of_arrival.len() < 3 {
        order_of_arrival.push(shipped.recv().await.context("the broker ended")?);
    }
    println!("in order: {}", order_of_arrival.join(" "));

    // A subscriber in the same process sees what was given up.
    let options = SubscribeOptions {
        name: "watch".parse()?,
        topic: "dead-letters".parse()?,
        pattern: None,
        start: StartPosition::Earliest,
        lease_ms: 10_000,
        max_attempts: 0,
    };
    let subscriber = broker.subscribe(options).await?;
    let given_up = subscriber.next(1).await.context("the broker ended")?;
    println!("dead-lettered {}", given_up[0].event.id());
    subscriber.settle(vec![(given_up[0].token, Outcome::Ack { reply: None })]).await?;

    broker.shutdown().await?;
    let account = broker.trigger(&"ship".parse()?)?.account;
    println!(
        "matched {}, delivered {}, dead-lettered {}",
        account.matched, account.delivered, account.dead_lettered
    );
    Ok(())
}
