//! The Rust client of Eventail: publish to and subscribe from a broker over QUIC.
//!
//! ```no_run
//! use eventail_client::{Client, ClientOptions, Event, PublisherOptions, TopicName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // The fingerprint is what the broker prints when it starts.
//! let fingerprint = std::env::var("EVENTAIL_FINGERPRINT")?.parse()?;
//! let client = Client::connect(ClientOptions::pinned("127.0.0.1:4081", fingerprint)).await?;
//!
//! let orders = client.publisher(TopicName::new("orders")?, PublisherOptions::default()).await?;
//! let event = Event::builder("1", "/shop", "order.created").json_data(r#"{"total": 12}"#).build()?;
//! let published = orders.publish(event).await?.await?;
//! println!("durable {published}");
//! orders.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Promises:
//! - An event whose publish was answered is durable as its topic says. Answers come in the order of the publishes.
//! - A lost connection is renewed, and what was not answered is sent again under the same event ids: with deduplication on
//!   (the default) a lost answer makes no second event.
//! - A publisher holds no more than its window; a subscription holds no more than its credit.
//! - Each delivery comes at least once: settle it with [`Delivery::ack`], [`Delivery::nack`] or [`Delivery::reject`], or its
//!   lease runs out and it comes again.
//! - What a trigger's target took over is settled with a [`DeliveryHandle`], and each answer says what became of it.
//!
//! This crate pulls in neither storage nor an HTTP server.

mod backoff;
mod client;
mod delivery;
mod error;
mod identity;
mod link;
mod network;
mod options;
mod publisher;
mod subscription;
mod trust;

pub use client::Client;
pub use delivery::DeliveryHandle;
pub use error::ClientError;
pub use eventail_wire::frame::{CallbackOutcome, Start};
pub use eventail_wire::{
    Code, Event, EventBuilder, EventError, HeldId, NameError, Offset, Timestamp, TopicName, TriggerName,
    ValueKind,
};
pub use identity::Identity;
pub use network::Network;
pub use options::{ClientOptions, Token};
pub use publisher::{BatchHandle, PublishAck, PublishHandle, Publisher, PublisherOptions};
pub use subscription::{Delivery, SubscribeOptions, Subscription};
pub use trust::{Fingerprint, Trust, TrustError};
