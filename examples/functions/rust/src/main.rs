//! A Lambda function in Rust, as it would run in AWS: it takes a batch of orders in the shape that SQS sends, adds up what
//! has to be picked in the warehouse, and names the orders that it could not take. Only those come again.
//!
//! It knows nothing of Eventail. It must not fail a whole batch for one bad order.
#![allow(clippy::print_stdout, reason = "what a function prints is its log")]

use std::collections::BTreeMap;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

/// What SQS sends.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: String,
    body: String,
}

/// The body of a record: an event, of which the order is enough here.
#[derive(Deserialize)]
struct Envelope {
    data: Order,
}

#[derive(Deserialize)]
struct Order {
    id: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    article: String,
    quantity: u64,
}

/// The answer: what is not listed is done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failures {
    batch_item_failures: Vec<Failure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(pick)).await
}

async fn pick(event: LambdaEvent<Batch>) -> Result<Failures, Error> {
    let mut to_pick = BTreeMap::<String, u64>::new();
    let mut batch_item_failures = Vec::new();
    let records = event.payload.records;
    let count = records.len();
    for Record { message_id, body } in records {
        match serde_json::from_str::<Envelope>(&body) {
            Ok(Envelope { data: order }) if !order.lines.is_empty() => {
                for line in order.lines {
                    *to_pick.entry(line.article).or_default() += line.quantity;
                }
            }
            Ok(Envelope { data: order }) => {
                println!("order {} has no lines", order.id);
                batch_item_failures.push(Failure { item_identifier: message_id });
            }
            Err(error) => {
                println!("message {message_id} is no order: {error}");
                batch_item_failures.push(Failure { item_identifier: message_id });
            }
        }
    }
    let list: Vec<String> = to_pick.iter().map(|(article, units)| format!("{units} x {article}")).collect();
    println!("to pick for {} of {count} orders: {}", count - batch_item_failures.len(), list.join(", "));
    Ok(Failures { batch_item_failures })
}
