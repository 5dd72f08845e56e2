//! Functions, the targets that call them, batches, money, and the Invoke API.

use eventail_triggers::function::FunctionTargetOptions;
#[cfg(feature = "aws")]
use eventail_triggers::lambda::{InvocationType, LambdaTargetOptions};
use eventail_triggers::ledger::{Budget, BudgetAction, Prices};
use eventail_triggers::payload::PayloadShape;
use eventail_triggers::policy::BatchPolicy;
use eventail_wire::FunctionName;

use super::super::*;
use super::{errors, parse, readable_examples, trigger};

/// A function, for files in which it is not what is looked at.
const RESIZE: &str = "[functions.resize]\ncommand = [\"resize\"]\n";

fn function<'c>(config: &'c Config, name: &str) -> &'c eventail_triggers::function::FunctionOptions {
    &config.functions[&FunctionName::new(name).unwrap()]
}

fn function_target(config: &Config, name: &str) -> FunctionTargetOptions {
    let TargetOptions::Function(options) = &trigger(config, name).target else { panic!("a function") };
    options.clone()
}

#[cfg(feature = "aws")]
fn lambda_target(keys: &str) -> LambdaTargetOptions {
    let config = parse(&format!("[triggers.t.target.lambda]\n{keys}")).unwrap();
    let TargetOptions::Lambda(options) = &trigger(&config, "t").target else { panic!("a Lambda function") };
    options.clone()
}

#[test]
fn the_functions_of_the_default_file_show_the_defaults() {
    let config = parse(&readable_examples()).unwrap();
    let shown = function(&config, "thumbnail");
    let plain = parse("[functions.thumbnail]\ncommand = [\"x\"]\n").unwrap();
    let plain = function(&plain, "thumbnail");
    let times = |f: &eventail_triggers::function::FunctionOptions| {
        (f.timeout_ms, f.init_timeout_ms, f.idle_timeout_ms, f.min_instances, f.max_instances)
    };
    assert_eq!(times(shown), times(plain));
    assert_eq!(times(plain), (3_000, 10_000, 300_000, 0, 10));
    assert_eq!((shown.memory_mb, plain.memory_mb), (Some(256), None));
    assert_eq!((shown.handler.as_deref(), plain.handler.as_deref()), (Some("app.handler"), None));
    assert_eq!(shown.directory.as_deref(), Some(std::path::Path::new("functions/thumbnail")));
    let environment: Vec<_> =
        shown.environment.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(environment, [("API_KEY", "hunter2"), ("STAGE", "test")]);
    assert_eq!(config.prices, Prices::default());
    assert_eq!(config.invoke_keys["AKIDEXAMPLE"].expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_function_says_who_it_runs_as_and_what_it_may_have() {
    let plain = parse(RESIZE).unwrap();
    let plain = &function(&plain, "resize").confinement;
    assert_eq!((plain.user.as_deref(), plain.open_files_max, plain.processes_max), (None, 1024, None));
    let keys = "user = \"worker\"\ngroup = \"44\"\nopen_files_max = 64\nprocesses_max = 20\n";
    let told = parse(&format!("{RESIZE}{keys}")).unwrap();
    let told = &function(&told, "resize").confinement;
    assert_eq!((told.user.as_deref(), told.group.as_deref()), (Some("worker"), Some("44")));
    assert_eq!((told.open_files_max, told.processes_max), (64, Some(20)));
    for (key, told) in [
        ("group = \"44\"", "3:1 `group` does nothing without `user`"),
        (
            "processes_max = 20",
            "3:1 `processes_max` needs a `user`: the kernel counts all processes of a user, the broker's own among them",
        ),
        ("user = \"\"", "3:8 `user` is \"\", which is no name of a user or group"),
        ("user = \"a:b\"", "3:8 `user` is \"a:b\", which is no name of a user or group"),
        ("open_files_max = 3", "3:18 `open_files_max` is 3, and must be 16 to 1048576"),
    ] {
        assert_eq!(errors(&format!("{RESIZE}{key}")), [told]);
    }
}

#[test]
fn a_trigger_uses_a_function_by_name_in_every_form() {
    for target in [
        "[triggers.t]\ntarget.function = \"resize\"",
        "[triggers.t.target.function]\nname = \"resize\"",
        "[triggers.t]\ntarget = { function = { name = \"resize\", payload = \"cloudevent\" } }",
    ] {
        // A function may be declared behind its use.
        for text in [format!("{RESIZE}{target}"), format!("{target}\n{RESIZE}")] {
            let config = parse(&text).unwrap();
            let options = function_target(&config, "t");
            assert_eq!((options.function.as_str(), options.payload), ("resize", PayloadShape::CloudEvent));
            assert_eq!(config.functions.len(), 1);
        }
    }
    let shapes = [
        ("cloudevent", PayloadShape::CloudEvent),
        ("eventbridge", PayloadShape::EventBridge),
        ("sqs", PayloadShape::Sqs),
        ("raw", PayloadShape::Raw),
    ];
    for (word, shape) in shapes {
        let target = format!("[triggers.t.target.function]\nname = \"resize\"\npayload = \"{word}\"");
        assert_eq!(function_target(&parse(&format!("{RESIZE}{target}")).unwrap(), "t").payload, shape);
    }
}

#[test]
fn a_trigger_may_bring_its_function_along() {
    let inline = "[triggers.t.target.function]\ncommand = [\"./bootstrap\", \"-v\"]\nmax_instances = 2\n";
    let config = parse(inline).unwrap();
    assert_eq!(function_target(&config, "t").function.as_str(), "t");
    assert_eq!(function(&config, "t").command, ["./bootstrap", "-v"]);
    assert_eq!(function(&config, "t").max_instances, 2);
    let config = parse(&format!("{inline}user = \"worker\"\nprocesses_max = 20\n")).unwrap();
    assert_eq!(function(&config, "t").confinement.processes_max, Some(20));
    let other = "[triggers.other]\ntarget.function = \"shared\"\n";
    let config = parse(&format!("{inline}name = \"shared\"\n{other}")).unwrap();
    assert_eq!(function_target(&config, "t").function, function_target(&config, "other").function);
    assert_eq!(config.functions.len(), 1);
}

#[test]
fn a_function_that_is_declared_twice_or_not_at_all_is_told() {
    assert_eq!(
        errors(&format!("{RESIZE}[triggers.t.target.function]\nname = \"resize\"\ncommand = [\"x\"]")),
        [
            "4:8 the function `resize` is declared twice: in [functions.resize] and in [triggers.t.target.function]"
        ]
    );
    assert_eq!(
        errors(&format!("{RESIZE}[triggers.t]\ntarget.function = \"rezise\"")),
        ["4:19 there is no function `rezise` (did you mean \"resize\"?)"]
    );
    assert_eq!(
        errors("[triggers.t.target.function]\nname = \"resize\""),
        ["2:8 there is no function `resize` (declare it in [functions.resize], or give its `command` here)"]
    );
    assert_eq!(
        errors("[triggers.t.target.function]\npayload = \"raw\""),
        ["1:20 [triggers.t.target.function] needs one of `name` and `command`"]
    );
    assert_eq!(
        errors(&format!("{RESIZE}[triggers.t.target.function]\nname = \"resize\"\ntimeout = \"1s\"")),
        [
            "5:1 `timeout` belongs to where a function is declared, and without a `command` here that is elsewhere (write it into [functions.NAME], or give the `command` here)"
        ]
    );
    // What is wrong with a declaration is told once, and not again where it is used.
    assert_eq!(errors("[functions.f]\ncommand = []\n[triggers.t]\ntarget.function = \"f\"").len(), 1);
}

#[test]
fn the_values_of_a_function_are_checked() {
    let function = |keys: &str| errors(&format!("[functions.f]\ncommand = [\"x\"]\n{keys}"));
    assert_eq!(errors("[functions.f]\n"), ["1:12 [functions.f] needs `command`"]);
    for command in ["[]", "[\"\"]", "[\"\", \"x\"]", "[\"x\", \"\\u0000\"]"] {
        let told = errors(&format!("[functions.f]\ncommand = {command}"));
        assert!(told[0].starts_with("2:11 `command` names no program (write"), "{told:?}");
    }
    assert_eq!(
        errors("[functions.f]\ncommand = \"x -v\""),
        ["2:11 `command` must be an array of strings, and this is a string"]
    );
    assert_eq!(errors("[functions.f]\ncommand = [1, \"x\", 2]").len(), 2);
    assert_eq!(function("memory = \"8MiB\""), ["3:10 `memory` is 8MiB, and must be 16MiB to 64GiB"]);
    assert_eq!(function("timeout = \"16m\""), ["3:11 `timeout` is 16m, and must be 1ms to 15m"]);
    assert_eq!(
        function("min_instances = 11"),
        ["3:17 `min_instances` is 11, which is more than `max_instances`, 10"]
    );
    assert_eq!(
        function("environment = { AWS_LAMBDA_RUNTIME_API = \"x\", \"a=b\" = \"y\", GOOD = \"z\" }"),
        [
            "3:17 `AWS_LAMBDA_RUNTIME_API` cannot be a variable of a function: the host sets it",
            "3:47 `a=b` cannot be a variable of a function: its name has a character that no name has",
        ]
    );
    assert!(function("environment = { A = { env = \"ABSENT\" } }")[0].contains("ABSENT is not set"));
    assert!(errors("[functions.\"a/b\"]\ncommand = [\"x\"]")[0].starts_with("1:12 `a/b` cannot be a name"));
    let long = "f".repeat(128);
    assert!(errors(&format!("[functions.{long}]\ncommand = [\"x\"]"))[0].contains("has 135"));
}

#[test]
fn what_a_function_is_given_is_never_printed() {
    let text = "[functions.f]\ncommand = [\"x\"]\ntimeuot = 1\nenvironment = { KEY = \"hunter2\", B = 1 }\n[invoke]\nkeys = { AKID = \"hunter2\" }";
    let refused = parse(text).unwrap_err();
    for shown in [refused.to_string(), format!("{refused:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for section in ["functions.f", "functions.f.environment", "invoke", "invoke.keys"] {
        let told = parse(&format!("[{section}]\nx = \"hunter2")).unwrap_err().to_string();
        assert!(!told.contains("hunter2") && told.contains("TOML"), "{told}");
    }
}

#[test]
fn a_trigger_gives_its_function_the_time_that_it_may_take() {
    let timeout = |function: &str, trigger_keys: &str| {
        let text = format!("{RESIZE}{function}\n[triggers.t]\ntarget.function = \"resize\"\n{trigger_keys}");
        parse(&text).map(|config| trigger(&config, "t").policy.timeout_ms)
    };
    assert_eq!(timeout("", "").unwrap(), 18_000);
    assert_eq!(timeout("timeout = \"15m\"\ninit_timeout = \"1s\"", "").unwrap(), 906_000);
    assert_eq!(timeout("", "timeout = \"3s\"").unwrap(), 3_000);
    assert_eq!(
        errors(&format!("{RESIZE}[triggers.t]\ntarget.function = \"resize\"\ntimeout = \"2999ms\"")),
        [
            "5:11 `timeout` is 2999ms, which is less than the `timeout` of the function `resize`, 3s (leave it out to give the function its time)"
        ]
    );
}

#[test]
fn a_trigger_has_one_target() {
    assert_eq!(
        errors("[triggers.t]\ntarget = {}"),
        ["2:1 [triggers.t.target] needs one of `http`, `function`, `lambda` and `topic`"]
    );
    assert_eq!(
        errors(&format!("{RESIZE}[triggers.t.target]\nhttp.url = \"http://a/\"\nfunction = \"resize\"")),
        ["5:1 [triggers.t.target] has `http` and `function`, and a trigger has one target"]
    );
    assert_eq!(
        errors("[triggers.t]\ntarget = { lamda = { function = \"a\" } }"),
        [
            "2:1 [triggers.t.target] needs one of `http`, `function`, `lambda` and `topic`",
            "2:12 unknown key `lamda` in [triggers.t.target] (did you mean `lambda`?)",
        ]
    );
}

#[test]
#[cfg(feature = "aws")]
fn a_lambda_target_is_read_whole() {
    let plain = lambda_target("function = \"bill\"");
    assert_eq!((plain.function.as_str(), plain.invocation), ("bill", InvocationType::Sync));
    assert!(plain.qualifier.is_none() && plain.region.is_none() && plain.endpoint.is_none());
    let whole = lambda_target(
        "function = \"123456789012:function:bill\"\nqualifier = \"$LATEST\"\nregion = \"eu-west-1\"\nendpoint = \"http://127.0.0.1:4080\"\nprofile = \"prod\"\ninvocation = \"async\"\npayload = \"sqs\"",
    );
    assert_eq!(whole.qualifier.as_deref(), Some("$LATEST"));
    assert_eq!(whole.region.as_deref(), Some("eu-west-1"));
    assert_eq!(whole.endpoint.unwrap().to_string(), "http://127.0.0.1:4080/");
    assert_eq!(whole.profile.as_deref(), Some("prod"));
    assert_eq!((whole.invocation, whole.payload), (InvocationType::Async, PayloadShape::Sqs));
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:bill";
    assert_eq!(lambda_target(&format!("function = \"{arn}\"\nregion = \"eu-west-1\"")).function, arn);
}

#[test]
#[cfg(feature = "aws")]
fn the_values_of_a_lambda_target_are_checked() {
    let target = |keys: &str| errors(&format!("[triggers.t.target.lambda]\n{keys}"));
    assert_eq!(target(""), ["1:20 [triggers.t.target.lambda] needs `function`"]);
    assert!(
        target("function = \"a b\"")[0]
            .starts_with("2:12 `function`: \"a b\" names no Lambda function: the name is made of")
    );
    for (endpoint, why) in [
        ("http://localhost:4566/?x=1", "the endpoint of a Lambda target must have no query"),
        ("https://-/", "the endpoint of a Lambda target: "),
    ] {
        let told = target(&format!("function = \"bill\"\nendpoint = \"{endpoint}\""));
        assert!(told.len() == 1 && told[0].starts_with(&format!("3:1 {why}")), "{told:?}");
    }
    let arn = "function = \"arn:aws:lambda:eu-west-1:123456789012:function:bill:live\"";
    assert_eq!(
        target(&format!("{arn}\nregion = \"us-east-1\"\nqualifier = \"3\"")),
        [
            "3:10 `region` is \"us-east-1\", and the ARN in `function` says \"eu-west-1\"",
            "4:13 `qualifier` is \"3\", and the ARN in `function` says \"live\"",
        ]
    );
    assert!(target("function = \"a\"\nendpoint = \"ftp://a\"")[0].starts_with("3:12 `endpoint` is no URL"));
    assert!(target("function = \"a\"\nregion = \"EU\"")[0].contains("a region is made of"));
    assert!(target("function = \"a\"\ninvocation = \"event\"")[0].contains("\"sync\", \"async\""));
    let replies = errors(
        "[triggers.t]\nreply_topic = \"r\"\ntarget.lambda = { function = \"a\", invocation = \"async\" }",
    );
    assert!(replies[0].starts_with("2:1 `reply_topic` does nothing with `invocation = \"async\"`"));
}

#[test]
#[cfg(not(feature = "aws"))]
fn a_lambda_target_is_refused_where_it_is_not_built_in() {
    assert_eq!(
        errors("[triggers.t.target.lambda]\nfunction = \"bill\""),
        [
            "1:20 `target.lambda` is not in this build of eventail: it was built without the feature `aws` (build it with `--features aws`)"
        ]
    );
}

#[test]
fn concurrency_is_a_number_or_a_range() {
    let policy = |value: &str| {
        let config = parse(&format!("[triggers.t]\nconcurrency = {value}\ntarget.http.url = \"http://a/\""));
        config.map(|config| {
            let policy = &trigger(&config, "t").policy;
            (policy.concurrency_min, policy.concurrency)
        })
    };
    assert_eq!(policy("7").unwrap(), (None, 7));
    assert_eq!(policy("{ min = 2, max = 64 }").unwrap(), (Some(2), 64));
    assert_eq!(policy("{ max = 8 }").unwrap(), (Some(1), 8));
    for (value, told) in [
        ("{ min = 9, max = 8 }", "2:23 `min` is 9, which is more than `max`, 8"),
        ("{ min = 1 }", "2:1 [triggers.t.concurrency] needs `max`"),
        ("{ min = 0, max = 1 }", "2:23 `min` is 0, and must be 1 to 10000"),
        (
            "\"8\"",
            "2:15 `concurrency` must be an integer, or a table such as { min = 1, max = 64 }, and this",
        ),
    ] {
        assert!(
            policy(value).unwrap_err().errors().iter().any(|error| {
                format!("{}:{} {}", error.line(), error.column(), error.problem()).starts_with(told)
            }),
            "{value}"
        );
    }
}

#[test]
fn batches_have_defaults_and_caps() {
    let batch = |keys: &str, target: &str| {
        let config = parse(&format!("{RESIZE}[triggers.t]\nbatch = {{ {keys} }}\ntarget.{target}")).unwrap();
        trigger(&config, "t").policy.batch.clone().unwrap()
    };
    let default = BatchPolicy { max_events: 100, max_bytes: 4 << 20, window_ms: 0, bisect: false };
    assert_eq!(batch("", "function = \"resize\""), default);
    assert_eq!(batch("", "http.url = \"http://a/\""), default);
    let whole = batch(
        "max_events = 10000, max_bytes = \"6MiB\", window = \"5m\", bisect = true",
        "function = \"resize\"",
    );
    let most = BatchPolicy { max_events: 10_000, max_bytes: 6 << 20, window_ms: 300_000, bisect: true };
    assert_eq!(whole, most);
    #[cfg(feature = "aws")]
    {
        let target = "lambda = { function = \"a\", invocation = \"async\" }";
        assert_eq!(batch("", target).max_bytes, 640 << 10);
        assert_eq!(batch("max_bytes = \"1MiB\"", target).max_bytes, 1 << 20);
    }
    let refused =
        |keys: &str| errors(&format!("[triggers.t]\nbatch = {{ {keys} }}\ntarget.http.url = \"http://a/\""));
    assert_eq!(refused("max_events = 10001"), ["2:24 `max_events` is 10001, and must be 1 to 10000"]);
    assert_eq!(refused("max_bytes = \"7MiB\""), ["2:23 `max_bytes` is 7MiB, and must be 1KiB to 6MiB"]);
    assert_eq!(refused("window = \"6m\""), ["2:20 `window` is 6m, and must be 0s to 5m"]);
}

#[test]
fn batches_go_neither_with_replies_nor_with_raw_http() {
    let told = errors(
        "[triggers.t]\nreply_topic = \"r\"\nbatch = {}\ntarget.http = { url = \"http://a/\", mode = \"raw\" }",
    );
    assert_eq!(
        told,
        [
            "3:1 `batch` does not go with `mode = \"raw\"`: a batch is sent as application/cloudevents-batch+json",
            "3:1 `batch` does not go with `reply_topic`: a reply answers one event",
        ]
    );
}

#[test]
fn an_http_target_may_call_back() {
    let callback = |keys: &str| {
        let text = format!("[triggers.t.target.http]\nurl = \"http://a/\"\n{keys}");
        let config = parse(&text).unwrap();
        let TargetOptions::Http(http) = &trigger(&config, "t").target else { panic!("HTTP") };
        http.callback
    };
    assert!(!callback("") && callback("callback = true") && !callback("callback = false"));
}

#[test]
fn budgets_and_prices_are_read_and_checked() {
    let budget = |value: &str| format!("[triggers.t]\nbudget = {value}\ntarget.http.url = \"http://a/\"");
    let read = |value: &str| trigger(&parse(&budget(value)).unwrap(), "t").budget;
    assert_eq!(read("{ per_day = 5 }"), Some(Budget { per_day: 5.0, action: BudgetAction::Warn }));
    let pausing = Some(Budget { per_day: 0.25, action: BudgetAction::Pause });
    assert_eq!(read("{ per_day = 0.25, action = \"pause\" }"), pausing);
    assert_eq!(errors(&budget("{}")), ["2:1 [triggers.t.budget] needs `per_day`"]);
    for value in ["0", "-1.0", "nan", "inf"] {
        let told = errors(&budget(&format!("{{ per_day = {value} }}")));
        assert!(told[0].starts_with(&format!("2:22 `per_day` is {value}, and must be ")), "{told:?}");
    }
    assert!(errors(&budget("{ per_day = \"5\" }"))[0].contains("must be a number"));
    let prices = parse("[prices]\narm = { request = 1_0.5 }\nx86.gib_second = 2").unwrap().prices;
    assert_eq!(prices.arm.gib_second, Prices::default().arm.gib_second);
    assert_eq!((prices.arm.request, prices.x86.gib_second), (10.5, 2.0));
}

#[test]
fn keys_of_the_invoke_api_are_secrets() {
    let keys = |keys: &str| errors(&format!("[invoke]\nkeys = {{ {keys} }}"));
    assert!(keys("AKID = \"secret\"")[0].contains("must not be written into the file"));
    assert_eq!(keys("AKID = { env = \"EMPTY\" }"), ["2:17 `AKID` is an empty secret"]);
    assert!(
        keys("\"a/b\" = { env = \"INVOKE_SECRET\" }")[0]
            .starts_with("2:10 \"a/b\" cannot be an access key id")
    );
}

#[test]
fn every_function_has_a_trigger_for_asynchronous_invocations() {
    let config = parse("[functions.resize]\ncommand = [\"x\"]\nmax_instances = 3\n").unwrap();
    let invoke = trigger(&config, "invoke.resize");
    assert_eq!(function_target(&config, "invoke.resize").payload, PayloadShape::Raw);
    assert_eq!(invoke.topic.as_str(), INVOCATIONS_TOPIC);
    assert_eq!(
        invoke.pattern.as_deref(),
        Some(r#"{"subject":["resize"],"type":["eventail.function.invocation"]}"#)
    );
    eventail_triggers::pattern::Pattern::parse(invoke.pattern.as_deref().unwrap()).unwrap();
    let policy = &invoke.policy;
    assert_eq!((policy.max_attempts, policy.max_age_ms, policy.concurrency), (3, 21_600_000, 3));
    assert_eq!((policy.backoff_initial_ms, policy.backoff_max_ms), (60_000, 120_000));
    assert_eq!(policy.timeout_ms, 18_000);
    let own = "[triggers.\"invoke.resize\"]\ntarget.http.url = \"http://a/\"";
    let config = parse(&format!("{RESIZE}{own}")).unwrap();
    assert!(matches!(trigger(&config, "invoke.resize").target, TargetOptions::Http(_)));
    assert_eq!(config.triggers.len(), 1);
}
