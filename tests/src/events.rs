//! Events for tests, as CloudEvents in JSON.

use eventail_wire::Event;
use serde_json::{Value, json};

/// A small event with data.
#[must_use]
pub fn event(id: &str, event_type: &str) -> Value {
    with_data(id, event_type, json!({ "id": id }))
}

/// An event with these data.
#[must_use]
pub fn with_data(id: &str, event_type: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": event_type,
        "datacontenttype": "application/json", "data": data,
    })
}

/// An event with a `partitionkey`.
#[must_use]
pub fn keyed(id: &str, event_type: &str, key: &str) -> Value {
    let mut event = event(id, event_type);
    event["partitionkey"] = key.into();
    event
}

/// The same small event for the client library.
#[must_use]
pub fn wire_event(id: &str, event_type: &str) -> Event {
    let data = json!({ "id": id }).to_string();
    Event::builder(id, "/tests", event_type).json_data(data).build().expect("a valid event")
}
