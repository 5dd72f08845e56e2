//! The functions that the binary brings along: payload in, answer out, and a line for the log.

use bytes::Bytes;
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::screen::{Screen, visible};

/// A function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BuiltIn {
    /// Answers what it is given
    Echo,
    /// Writes the receipt of an order, given as a CloudEvent of the type order.created or order.cancelled
    Receipt,
}

/// Why a payload is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the payload is no event of an order: {0}")]
    NotAnOrder(#[from] serde_json::Error),
    #[error("an order that was created has a total")]
    NoTotal,
}

impl Refusal {
    /// The error type, as callers get to see it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::NotAnOrder(_) => "NotAnOrder",
            Self::NoTotal => "NoTotal",
        }
    }
}

/// The part of the event that a receipt needs.
#[derive(Deserialize)]
struct OrderEvent {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    /// The order, where the event says which.
    subject: Option<String>,
    data: OrderData,
}

#[derive(Deserialize)]
struct OrderData {
    total: Option<f64>,
}

impl BuiltIn {
    /// One call. The outer error is this process's own: its log cannot be written.
    pub(super) fn call(
        self,
        payload: &Bytes,
        screen: &mut Screen,
    ) -> Result<Result<Bytes, Refusal>, CliError> {
        match self {
            Self::Echo => Ok(Ok(payload.clone())),
            Self::Receipt => match receipt(payload) {
                Ok((line, answer)) => screen.line(&visible(&line)).map(|()| Ok(answer)),
                Err(refusal) => Ok(Err(refusal)),
            },
        }
    }
}

/// What is logged, and the answer.
fn receipt(payload: &[u8]) -> Result<(String, Bytes), Refusal> {
    let event: OrderEvent = serde_json::from_slice(payload)?;
    let number = format!("R-{}", event.subject.unwrap_or(event.id));
    if event.kind == "order.cancelled" {
        let answer = json!({ "receipt": number, "void": true });
        return Ok((format!("{number} is void"), answer.to_string().into()));
    }
    let total = event.data.total.ok_or(Refusal::NoTotal)?;
    let answer = json!({ "receipt": number, "total": total });
    Ok((format!("{number} over {total:.2}"), answer.to_string().into()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::tests::Paper;

    fn call(function: BuiltIn, payload: &Value) -> (Result<Value, &'static str>, String) {
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        let answer = function.call(&payload.to_string().into(), &mut screen).unwrap();
        let answer = answer.map(|bytes| serde_json::from_slice(&bytes).unwrap());
        (answer.map_err(|refusal| refusal.name()), paper.text())
    }

    #[test]
    fn the_echo_is_what_was_given() {
        assert_eq!(call(BuiltIn::Echo, &json!([1, "a"])), (Ok(json!([1, "a"])), String::new()));
    }

    #[test]
    fn an_order_gets_its_receipt_and_a_cancelled_one_is_void() {
        let order =
            |kind: &str, data: Value| json!({ "id": "e-1", "type": kind, "subject": "o-1", "data": data });
        let created = call(BuiltIn::Receipt, &order("order.created", json!({ "total": 18.5 })));
        assert_eq!(created, (Ok(json!({ "receipt": "R-o-1", "total": 18.5 })), "R-o-1 over 18.50\n".into()));
        let cancelled = call(BuiltIn::Receipt, &order("order.cancelled", json!({ "by": "customer" })));
        assert_eq!(cancelled, (Ok(json!({ "receipt": "R-o-1", "void": true })), "R-o-1 is void\n".into()));
        let nameless = json!({ "id": "e-1", "type": "order.created", "data": { "total": 7 } });
        let named_by_event = json!({ "receipt": "R-e-1", "total": 7.0 });
        assert_eq!(call(BuiltIn::Receipt, &nameless), (Ok(named_by_event), "R-e-1 over 7.00\n".into()));
        let without = call(BuiltIn::Receipt, &order("order.created", json!({})));
        assert_eq!(without, (Err("NoTotal"), String::new()));
        assert_eq!(call(BuiltIn::Receipt, &json!({ "total": 1 })), (Err("NotAnOrder"), String::new()));
    }
}
