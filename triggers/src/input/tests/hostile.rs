//! Expressions that would take for ever, all memory or the whole stack.

use super::*;

fn ends(expression: &str) -> TransformError {
    render(InputOptions::Jq(expression.to_owned()), order())
        .expect_err(&format!("`{expression}` must be stopped"))
}

#[test]
fn what_never_ends_is_stopped() {
    for expression in [
        "def f: f; f",
        "def f: f | f; f",
        "def f(g): f(g); f(0)",
        "def f(g): f(g | g); f(.)",
        "[range(1e12)]",
        "[range(1; 1000000000000)]",
        "[range(0; 1; 0)]",
        "last(range(1e12))",
        "reduce repeat(1) as $x (0; . + 1)",
        "reduce range(1000000000) as $i (0; . + $i)",
        "[foreach repeat(1) as $x (0; . + 1)]",
        "[repeat(.)]",
        "last(repeat(1))",
        "first(repeat(1) | select(. > 2))",
        "[recurse]  | last(recurse)  | last(repeat(1))",
        "until(false; . )",
        "0 | until(. < 0; . + 1)",
        "[while(true; .)]",
        "[limit(1000000000; repeat(1))]",
        "last(limit(1000000000; range(1000000000000)))",
        "first(skip(1000000000; repeat(1)))",
        "label $out | foreach repeat(1) as $x (0; . + 1; empty)",
        "try (def f: f; f) catch 1",
        "def f: try f catch f; f",
        "[.[] as $x | repeat($x)]",
        "any(repeat(1); . > 2)",
        "isempty(repeat(empty))",
        "[combinations(100)]",
        "[range(40)] | map([0, 1]) | [combinations] | length",
        "[path(repeat(.data))]",
        "[path(recurse(.a))]",
        "last(path(recurse(.a?)))",
        "getpath([repeat(\"a\")])",
        ". as $e | [repeat($e)] | add",
        "def f($x): f($x + 1); f(0)",
        "def f: . as $x | f; f",
        "def f: (. + 1) | f; 0 | f",
    ] {
        let stopped = ends(expression);
        let is_stopped = matches!(stopped, TransformError::JqSteps { .. } | TransformError::JqDepth);
        assert!(is_stopped, "{expression}: {stopped}");
    }
}

#[test]
fn what_calls_itself_too_deeply_is_stopped() {
    for expression in [
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: f + 1; f",
        "def f: (f | .), 0; first(f)",
        "def f: 0, (f | . + 1); last(f)",
        "def f: if f then 1 else 2 end; f",
        "def f: f as $x | 1; f",
        "def f: reduce f as $x (0; 1); f",
        "def f: -f; f",
        "def f: .[f]; f",
        "def f: try (1 + f) catch f; f",
        "def f(g): g | f(g | f(g)); f(.)",
        "def f(g): f(g + 1) + g; f(0)",
        "def f: \"\\(f)\"; f",
    ] {
        let stopped = ends(expression);
        let is_stopped = matches!(stopped, TransformError::JqSteps { .. } | TransformError::JqDepth);
        assert!(is_stopped, "{expression}: {stopped}");
    }
}

#[test]
fn what_would_fill_the_memory_is_stopped() {
    for expression in [
        "\"x\" * 1000000000",
        "\"x\" * 100000000000000000000",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(60) as $i ([0]; . + .)",
        "reduce range(60) as $i ([0]; [.[], .[]])",
        "reduce range(60) as $i (10; . * .)",
        "reduce range(60) as $i (\"x\"; \"\\(.)\\(.)\")",
        "[range(100000)] | map([.]) | map([.]) | map([.])",
        "(\"x\" * 1000000) as $s | [range(100000) | $s + \"y\"] | length",
        "(\"x\" * 1000000) | split(\"\")",
        "(\"x\" * 1000000) | explode",
        "[range(20000)] as $l | [range(20000) | $l + [1]] | length",
        "[range(20000)] as $l | reduce range(20000) as $i ($l; . as $copy | .[0] = 1)",
    ] {
        let stopped = ends(expression);
        let is_stopped = match &stopped {
            TransformError::JqSteps { .. } | TransformError::TooLarge { .. } => true,
            TransformError::Jq { message } => message.contains("too many digits"),
            _ => false,
        };
        assert!(is_stopped, "{expression}: {stopped}");
    }
}

#[test]
fn small_values_that_are_huge_when_looked_through_are_stopped() {
    let twice = "reduce range(60) as $i (0; [., .])";
    for use_of_it in [
        "",
        "| tojson",
        "| tostring",
        "| \"\\(.)\"",
        "| . == .",
        "| . as $v | [$v] | index($v)",
        "| [.] | contains([.])",
        "| [., .] | sort",
        "| [., .] | unique",
        "| [., .] | group_by(.)",
        "| {(.): 1}",
        "| . as $v | {} | has($v)",
        "| . as $v | {} | .[$v]",
        "| flatten",
        "| [..] | length",
        "| [paths] | length",
        "| [.] - [.]",
        "| error",
        "| try error catch tojson",
        "| .a",
        "| try .a catch .",
        "| -.",
        "| . + 1",
        "| walk(.)",
        "| tonumber",
        "| join(\"\")",
        "| @base64",
        "| @sh",
        "| {a: .} * {a: 1} * {a: {b: .}} | tojson",
        "| . < .",
        "| [., .] | min",
        "| inside(.)",
    ] {
        let expression = format!("{twice} {use_of_it}");
        let stopped = ends(&expression);
        let is_stopped = matches!(
            stopped,
            TransformError::JqSteps { .. } | TransformError::JqDepth | TransformError::TooLarge { .. }
        );
        assert!(is_stopped, "{expression}: {stopped}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_stopped_and_taken_down() {
    for expression in [
        "reduce range(100000) as $i (0; [.])",
        "reduce range(20000) as $i (0; [.]) | tojson",
        "reduce range(20000) as $i (0; {a: .}) | . == .",
        "reduce range(20000) as $i (0; [.]) | [..] | length",
        "reduce range(2000) as $i (\"\"; \"[\" + .) | fromjson",
        "[limit(20000; repeat(\"[\"))] | add | fromjson",
        "reduce range(20000) as $i (0; [.]) | flatten",
        "reduce range(20000) as $i (0; [.]) | walk(.)",
        "def f: [.] | f; 0 | f",
        "(\"9\" * 5000) | tonumber",
    ] {
        let stopped = ends(expression);
        let is_stopped = match &stopped {
            TransformError::JqSteps { .. } | TransformError::JqDepth | TransformError::JqResult { .. } => {
                true
            }
            TransformError::Jq { message } => {
                message.contains("deeper") || message.contains("digits") || message.contains("JSON")
            }
            _ => false,
        };
        assert!(is_stopped, "{expression}: {stopped}");
    }
}

#[test]
fn expressions_that_are_nested_deeply_compile_or_are_refused() {
    let nested = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    for expression in [
        nested("(", "1", ")", 4_000),
        nested("[", "1", "]", 4_000),
        nested("-", "1", "", 8_000),
        nested("try ", "1", "", 2_000),
        nested("1|", "1", "", 4_000),
        nested("1,", "1", "", 4_000),
        nested("1+", "1", "", 4_000),
        nested("if 1 then ", "1", " end", 500),
        nested("\"\\(", "1", ")\"", 1_500),
        nested(".[", "0", "]", 2_500),
        nested("def f: ", "1; f", "; f", 500),
    ] {
        if let Ok(input) = Input::compile(&InputOptions::Jq(expression.clone())) {
            let event = order().build().unwrap();
            let (topic, trigger) = (TopicName::new("t").unwrap(), TriggerName::new("t").unwrap());
            let context = InputContext {
                event: &event,
                topic: &topic,
                offset: Offset(0),
                appended_at: NOW,
                trigger: &trigger,
            };
            drop(input.render(&context));
        }
    }
}

#[test]
fn the_next_expression_runs_as_if_nothing_had_been() {
    drop(ends("def f: f; f"));
    drop(ends("def f: 1 + f; f"));
    let made = render(InputOptions::Jq("[range(1000)] | length".to_owned()), order()).unwrap();
    assert_eq!(text(&made), "1000");
}
