//! What the quickstart publishes: a morning in a small shop. Realistic, and the same every time.

use serde_json::{Value, json};

/// The topic that it goes to.
pub(super) const TOPIC: &str = "shop";

/// The events as structured CloudEvents, in the order in which they happen. The last repeats the first.
pub(super) fn events() -> Vec<Value> {
    let mut events = vec![
        order("o-1001", "created", json!({ "customer": "u-77", "total": 129.90, "lines": 2 })),
        payment("p-501", "captured", "o-1001", json!({ "amount": 129.90, "method": "card" })),
        user("u-77", "registered", json!({ "email": "ada@example.com", "plan": "pro" })),
        order("o-1002", "created", json!({ "customer": "u-78", "total": 18.50, "lines": 1 })),
        payment("p-502", "failed", "o-1002", json!({ "amount": 18.50, "reason": "insufficient funds" })),
        user("u-78", "registered", json!({ "email": "bob@example.com", "plan": "free" })),
        order("o-1002", "cancelled", json!({ "by": "customer" })),
        user("u-77", "updated", json!({ "plan": "team", "seats": 5 })),
        event("stock-lamp-3", "stock.counted", "/shop/warehouse", "LAMP-3", json!({ "left": 11 })),
        payment("p-503", "refunded", "o-1001", json!({ "amount": 24.00, "method": "card" })),
    ];
    events.push(events[0].clone());
    events
}

fn order(order: &str, what: &str, data: Value) -> Value {
    event(&format!("{order}-{what}"), &format!("order.{what}"), "/shop/orders", order, data)
}

fn payment(id: &str, what: &str, order: &str, data: Value) -> Value {
    event(id, &format!("payment.{what}"), "/shop/payments", order, data)
}

fn user(user: &str, what: &str, data: Value) -> Value {
    event(&format!("{user}-{what}"), &format!("user.{what}"), "/shop/users", user, data)
}

fn event(id: &str, event_type: &str, source: &str, subject: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": event_type,
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// The quickstart's configuration: three triggers, each for one of the endpoints of a target that runs beside it, and one for a
/// function, whose process is `program`.
pub(super) fn configuration(data_dir: &str, target: &str, program: &str) -> String {
    let (data_dir, program) = (toml::Value::from(data_dir), toml::Value::from(program));
    format!(
        r#"data_dir = {data_dir}
drain = "2s"

[listen]
http = "127.0.0.1:0"
quic = "127.0.0.1:0"

# Targets on this machine may be called.
[egress]
allow = ["127.0.0.0/8"]

# Orders that have a total. The target accepts.
[triggers.ship-order]
topic = "{TOPIC}"
pattern = {{ type = ["order.created"], data = {{ total = [{{ exists = true }}] }} }}
[triggers.ship-order.target.http]
url = "{target}/ship"

# Whatever happens to payments. The target fails twice before it accepts.
[triggers.record-payment]
topic = "{TOPIC}"
pattern = {{ type = [{{ prefix = "payment." }}] }}
retry = {{ max_attempts = 5, backoff_initial = "200ms", backoff_max = "400ms" }}
[triggers.record-payment.target.http]
url = "{target}/payments"

# Users who pay. The target refuses until it is fixed.
[triggers.sync-crm]
topic = "{TOPIC}"
pattern = {{ source = ["/shop/users"], data = {{ plan = [{{ anything-but = "free" }}] }} }}
[triggers.sync-crm.target.http]
url = "{target}/crm"

# Everything that happens to orders. A function on this machine, started when the first of them comes.
[triggers.write-receipt]
topic = "{TOPIC}"
pattern = {{ type = [{{ prefix = "order." }}] }}
concurrency = 1
[triggers.write-receipt.target.function]
command = [{program}, "run-function", "receipt"]
"#
    )
}

#[cfg(test)]
mod tests {
    use eventail_wire::TriggerName;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_is_right() {
        let text = configuration("/tmp/a \"b\"", "http://127.0.0.1:9000", "/bin/c \"d\"");
        let config = Config::parse("quickstart.toml", &text, &|_| None).unwrap();
        assert_eq!(config.data_dir.to_str(), Some("/tmp/a \"b\""));
        let names: Vec<&str> = config.triggers.keys().map(TriggerName::as_str).collect();
        assert_eq!(
            names,
            ["invoke.write-receipt", "record-payment", "ship-order", "sync-crm", "write-receipt"],
            "each function can be invoked by its own trigger, too"
        );
        let commands: Vec<&[String]> = config.functions.values().map(|f| &f.command[..]).collect();
        assert_eq!(commands, [["/bin/c \"d\"", "run-function", "receipt"]]);
    }

    #[test]
    fn the_events_are_right_and_the_last_repeats_the_first() {
        let events = events();
        for event in &events {
            let bytes = serde_json::to_vec(event).unwrap().into();
            eventail_wire::cloudevents::decode_structured(&bytes).unwrap();
        }
        assert_eq!(events.first(), events.last());
    }
}
