//! What triggers send in place of an event: paths, templates, constants and jq.

use eventail_triggers::input::{Input, InputContext, InputOptions};
use eventail_wire::{Event, Offset, Timestamp, limits};

/// The first line is `path`, `constant`, `jq` or `template`; what follows it, up to an empty line, is the text; the rest is the
/// data of an event. Of a template, lines such as `name <- $.data.id` name its paths. What compiles renders the same each time.
pub fn inputs(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (kind, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (text, data) = rest.split_once("\n\n").unwrap_or((rest, "{}"));
    let options = match kind {
        "path" => InputOptions::Path(text.to_owned()),
        "constant" => InputOptions::Constant(text.to_owned()),
        "jq" => InputOptions::Jq(text.to_owned()),
        _ => {
            let (named, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains(" <- "));
            let paths = named.iter().filter_map(|line| line.split_once(" <- "));
            let paths = paths.map(|(name, path)| (name.to_owned(), path.to_owned())).collect();
            InputOptions::Template { paths, template: lines.join("\n") }
        }
    };
    let input = match Input::compile(&options) {
        Ok(input) => input,
        Err(error) => return assert!(!error.to_string().is_empty(), "an error without a word"),
    };
    let event = Event::builder("1", "/fuzz", "fuzz").subject("s").json_data(data.as_bytes().to_vec()).build();
    let Ok(event) = event else { return };
    let context = InputContext {
        event: &event,
        topic: &"default".parse().expect("it is a name"),
        offset: Offset(7),
        appended_at: Timestamp(1_800_000_000_000),
        trigger: &"fuzzed".parse().expect("it is a name"),
    };
    let rendered = input.render(&context);
    assert_eq!(rendered, input.render(&context), "rendering depends on what came before");
    match rendered {
        Ok(rendered) => {
            let most = limits::INPUT_BYTES_MAX + event.as_bytes().len() * 2;
            assert!(rendered.bytes.len() <= most, "{} bytes", rendered.bytes.len());
            if rendered.is_json && serde_json::from_str::<&serde_json::value::RawValue>(data).is_ok() {
                let read = serde_json::from_slice::<&serde_json::value::RawValue>(&rendered.bytes);
                assert!(read.is_ok(), "it is no JSON: {}", String::from_utf8_lossy(&rendered.bytes));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without a word"),
    }
}
