//! What targets get in place of events, and places in their URLs.

use eventail_triggers::input::InputOptions;

use super::super::*;
use super::{errors, parse, trigger, trigger_errors};

fn input(keys: &str) -> InputOptions {
    let text = format!("[triggers.t]\n{keys}\n[triggers.t.target.http]\nurl = \"http://a/\"\n");
    let config = parse(&text).unwrap_or_else(|error| panic!("{keys}: {error:?}"));
    trigger(&config, "t").input.clone().unwrap()
}

#[test]
fn an_input_is_one_of_four() {
    assert_eq!(input("input = { path = \"$.data\" }"), InputOptions::Path("$.data".to_owned()));
    assert_eq!(input("input = { jq = \".data\" }"), InputOptions::Jq(".data".to_owned()));
    for constant in ["'{\"a\":1}'", "{ a = 1 }"] {
        let read = input(&format!("input = {{ constant = {constant} }}"));
        assert_eq!(read, InputOptions::Constant(r#"{"a":1}"#.to_owned()));
    }
    assert_eq!(input("input.constant = 5"), InputOptions::Constant("5".to_owned()));
    let template = input("[triggers.t.input]\ntemplate = '{\"id\": <id>}'\npaths = { id = \"$.data.id\" }");
    let paths = [("id".to_owned(), "$.data.id".to_owned())].into();
    assert_eq!(template, InputOptions::Template { template: r#"{"id": <id>}"#.to_owned(), paths });
}

#[test]
fn an_input_that_cannot_work_is_refused_at_its_place() {
    for (keys, place, says) in [
        ("input = {}", "2:1", "needs one of `path`, `constant`, `template` and `jq`"),
        ("input = { path = \"$\", jq = \".\" }", "2:", "has `path` and `jq`"),
        ("input = { path = \"$.data[\" }", "2:18", "`$.data[` is no path"),
        ("input = { path = 5 }", "2:18", "must be a string"),
        ("input = { constant = '{' }", "2:22", "the constant is not JSON"),
        ("input = { constant = 2026-11-23 }", "2:22", "a date or time"),
        ("input = { jq = \".data |\" }", "2:16", "the jq expression cannot be used"),
        ("input = { jq = \"env\" }", "2:16", "there is no filter `env/0`"),
        ("input = { template = \"<x>\" }", "2:22", "`<x>` (line 1, column 1)"),
        ("input = { template = \"<x>\", paths = { x = \"$.*\" } }", "2:43", "`x`: `$.*` is no path"),
        ("input = { template = \"<x>\", paths = { awsx = \"$.id\", x = \"$\" } }", "2:39", "are predefined"),
        ("input = { path = \"$\", paths = { x = \"$\" } }", "2:23", "does nothing without `template`"),
        ("input = { tempalte = \"\" }", "2:11", "unknown key `tempalte`"),
        ("input = \"$.data\"", "2:9", "must be a table"),
    ] {
        let found = trigger_errors(&format!("[triggers.t]\n{keys}"));
        let is_told = |error: &String| error.starts_with(place) && error.contains(says);
        assert!(found.iter().any(is_told), "{keys}: {found:?}");
    }
}

fn url(url: &str) -> Result<String, Vec<String>> {
    let text = format!("[triggers.t.target.http]\nurl = '''{url}'''\n");
    let config = parse(&text).map_err(|_| errors(&text))?;
    let TargetOptions::Http(http) = &trigger(&config, "t").target else { panic!("an HTTP target") };
    Ok(http.url.to_string())
}

#[test]
fn a_url_may_have_places() {
    for (written, kept) in [
        ("http://a/{$.data.id}?x={$.source|none}", "http://a/{$.data.id}?x={$.source|none}"),
        ("http://a/{$.data['odd key?']|a b}/x", "http://a/{$.data['odd%20key%3F']|a%20b}/x"),
        ("http://a/{id}", "http://a/{id}"),
    ] {
        assert_eq!(url(written).as_deref(), Ok(kept), "{written}");
    }
    for (written, says) in [
        ("http://{$.data.host}/", "cannot come from the event"),
        ("http://a:{$.data.port}/", "cannot come from the event"),
        ("{$.data.url}", "cannot be read"),
        ("http://a/{$.data..x}", "`..` is not supported"),
        ("http://a/{$.data.x", "needs its `}`"),
    ] {
        let found = url(written).unwrap_err();
        assert!(found[0].contains(says), "{written}: {found:?}");
    }
    let batch = "[triggers.t]\nbatch = { max_events = 2 }\n[triggers.t.target.http]\n";
    for keys in ["url = \"http://a/{$.id}\"", "url = \"http://a/\"\nheaders = { x-id = \"{$.id}\" }"] {
        let found = errors(&format!("{batch}{keys}\n"));
        assert!(found[0].contains("each event has a request of its own"), "{found:?}");
    }
}
