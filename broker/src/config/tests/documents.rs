//! Several files, variables, and the tests that a configuration has.

use std::path::Path;

use super::*;

const TARGET: &str = "target.http.url = \"http://a/\"\n";

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// All errors as people see them, without the folder.
fn rendered(folder: &Path) -> String {
    let errors = Config::load(folder.join("eventail.toml")).expect_err("the configuration must be refused");
    errors.render(false).replace(&folder.display().to_string(), "")
}

#[test]
fn included_files_are_one_configuration_with_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let first =
        "include = [\"parts/*.toml\", \"more.toml\"]\ndata_dir = \"d\"\n[topics]\nauto_create = false\n";
    write(folder.path(), "eventail.toml", &format!("{first}[triggers.a]\n{TARGET}"));
    write(
        folder.path(),
        "parts/b.toml",
        &format!("[triggers.b]\n{TARGET}[topics.orders]\ndedup_window = \"1m\"\n"),
    );
    write(folder.path(), "parts/c.toml", "[triggers.c]\ntarget.function = { name = \"f\" }\n");
    write(folder.path(), "parts/hidden.toml~", "nonsense");
    write(
        folder.path(),
        "more.toml",
        "[functions.f]\ncommand = [\"f\"]\n[[tests]]\nevent = { type = \"t\" }\ntriggers = [\"a\", \"b\", \"c\"]\n",
    );
    let (config, texts) = Config::load_with_texts(&folder.path().join("eventail.toml")).unwrap();
    let names: Vec<_> = config.triggers.keys().map(|name| name.as_str()).collect();
    assert!(["a", "b", "c"].iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!((config.topics.named.len(), config.tests.len()), (1, 1));
    let files: Vec<_> = texts.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["eventail.toml", "b.toml", "c.toml", "more.toml"]);
}

#[test]
fn what_is_wrong_is_told_with_the_file_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "eventail.toml", &format!("include = [\"parts/*.toml\"]\n[triggers.a]\n{TARGET}"));
    write(folder.path(), "parts/b.toml", &format!("# one\n# two\n[triggers.b]\ntimeuot = \"1s\"\n{TARGET}"));
    let shown = rendered(folder.path());
    assert!(shown.contains("/parts/b.toml:4:1") && shown.contains("timeuot"), "{shown}");

    write(folder.path(), "parts/b.toml", "data_dir = \"x\"\n");
    let shown = rendered(folder.path());
    assert!(shown.contains("/parts/b.toml:1:1") && shown.contains("cannot stand in a file"), "{shown}");

    write(folder.path(), "parts/b.toml", &format!("\n[triggers.a]\n{TARGET}"));
    let shown = rendered(folder.path());
    assert!(
        shown.contains("/parts/b.toml:2:") && shown.contains("`triggers.a` stands in another"),
        "{shown}"
    );

    write(folder.path(), "parts/b.toml", "[triggers.b\n");
    let shown = rendered(folder.path());
    assert!(shown.contains("/parts/b.toml:1:") && shown.contains("not TOML"), "{shown}");

    write(folder.path(), "eventail.toml", "include = [\"gone.toml\", 5]\n");
    let errors = Config::load(folder.path().join("eventail.toml")).unwrap_err();
    assert_eq!(errors.errors().iter().map(ConfigError::line).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn variables_are_filled_in_wherever_a_string_stands() {
    let text = "[triggers.t]\ntopic = \"${TOPIC:-orders}\"\ntarget.http = { url = \"http://a/\", headers = { x = \"$${a}\" } }\n";
    let config = parse(text).unwrap();
    assert_eq!(trigger(&config, "t").topic.as_str(), "orders");
    let found = errors("[triggers.t]\ntopic = \"${TOPIC}\"\ntarget.http.url = \"http://a/\"\n");
    assert!(
        found.iter().any(|error| error.starts_with("2:9 the environment variable TOPIC is not set")),
        "{found:?}"
    );
}

#[test]
fn a_test_names_triggers_that_there_are_and_an_event_that_is_one() {
    let with = |test: &str| format!("[triggers.ship]\n{TARGET}[[tests]]\n{test}");
    let config = parse(&with(
        "event = '{\"type\":\"t\",\"id\":\"7\"}'\ntriggers = [\"ship\"]\ninput.ship = { a = 1 }\n",
    ))
    .unwrap();
    let test = &config.tests[0];
    assert_eq!((test.name.as_str(), test.event.id(), test.event.source()), ("number 1", "7", "/tests"));
    assert_eq!(test.inputs.len(), 1);
    for (test, says) in [
        ("triggers = []\n", "needs `event`"),
        ("event = { type = \"t\" }\n", "needs `triggers`"),
        ("event = { type = \"t\" }\ntriggers = [\"shpi\"]\n", "there is no trigger `shpi`"),
        ("event = { type = \"\" }\ntriggers = []\n", "is no event"),
        ("event = '['\ntriggers = []\n", "is no event"),
        ("event = 5\ntriggers = []\n", "must be a table"),
        ("event = { file = \"gone.json\" }\ntriggers = []\n", "gone.json cannot be read"),
        ("event = { type = \"t\" }\ntriggers = []\ninput.ship = 1\n", "not among the `triggers`"),
        ("event = { type = \"t\" }\ntriggers = []\nexpect = 1\n", "unknown key `expect`"),
    ] {
        let found = errors(&with(test));
        assert!(found.iter().any(|error| error.contains(says)), "{test}: {found:?}");
    }
}
