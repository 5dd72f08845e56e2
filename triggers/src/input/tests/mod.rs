//! Inputs: what is taken, what is refused, and what comes out.

mod hostile;
mod jq;
mod paths;
mod templates;

use std::collections::BTreeMap;

use eventail_wire::event::ValueKind;
use eventail_wire::{Event, EventBuilder, Offset, Timestamp, TopicName, TriggerName};
use serde_json::Value;

use super::{Input, InputContext, InputError, InputOptions, Rendered, TransformError};

const NOW: Timestamp = Timestamp(1_795_428_000_250);

fn order() -> EventBuilder {
    Event::builder("id \"1\"", "/orders", "order.created")
        .subject("o-7")
        .attribute("count", "3", ValueKind::Integer)
        .extension("partitionkey", "k1")
        .json_data(
            r#" {"id": 7, "name": "a \"b\"\n", "total": 1.50, "none": null, "odd key": {"x.y": true},
                "lines": [{"sku": "s1", "n": 2}, {"sku": "s2", "n": 3}], "twice": 1, "twice": 2, "t\u0061g": "<t>"} "#,
        )
}

fn render_event(options: InputOptions, event: &Event) -> Result<Rendered, TransformError> {
    let (topic, trigger) = (TopicName::new("orders").unwrap(), TriggerName::new("ship").unwrap());
    Input::compile(&options).unwrap().render(&InputContext {
        event,
        topic: &topic,
        offset: Offset(42),
        appended_at: NOW,
        trigger: &trigger,
    })
}

fn render(options: InputOptions, event: EventBuilder) -> Result<Rendered, TransformError> {
    render_event(options, &event.build().unwrap())
}

fn template(text: &str, paths: &[(&str, &str)]) -> InputOptions {
    let paths: BTreeMap<_, _> =
        paths.iter().map(|&(name, path)| (name.to_owned(), path.to_owned())).collect();
    InputOptions::Template { paths, template: text.to_owned() }
}

fn refused(options: &InputOptions) -> InputError {
    Input::compile(options).expect_err("it must be refused")
}

fn text(rendered: &Rendered) -> &str {
    std::str::from_utf8(&rendered.bytes).unwrap()
}

fn json(rendered: &Rendered) -> Value {
    assert!(rendered.is_json);
    serde_json::from_slice(&rendered.bytes).unwrap()
}
