//! A program that publishes with the client library, over QUIC. The broker prints the fingerprint of its certificate when
//! it starts; the client pins it.
//!
//! ```text
//! eventail serve
//! cargo run -p eventail-example-publisher -- 127.0.0.1:4081 FINGERPRINT [COUNT]
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use anyhow::Context as _;
use eventail_client::{Client, ClientOptions, Event, PublisherOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: example-publisher ADDRESS FINGERPRINT [COUNT]";
    let address = arguments.next().context(usage)?;
    let fingerprint = arguments.next().context(usage)?.parse()?;
    let count: u64 = arguments.next().map_or(Ok(10), |count| count.parse())?;

    let client = Client::connect(ClientOptions::pinned(address, fingerprint)).await?;
    let orders = client.publisher("orders".parse()?, PublisherOptions::default()).await?;

    // `publish` waits only for room in the window; the handle resolves when the event is on the broker's disk.
    let mut handles = Vec::new();
    for number in 0..count {
        let data = serde_json::json!({ "order": number, "total": 100 + number });
        let event = Event::builder(format!("order-{number}"), "/examples/publisher", "order.created")
            .subject(format!("orders/{number}"))
            .json_data(data.to_string())
            .build()?;
        handles.push(orders.publish(event).await?);
    }
    let mut duplicates = 0;
    for handle in handles {
        let ack = handle.await?;
        println!("{ack}");
        duplicates += u64::from(ack.is_duplicate());
    }
    println!("published {}, {duplicates} of them were there already", count - duplicates);
    orders.close().await?;
    client.close().await;
    Ok(())
}
