//! jq: what it makes, what it must not reach, and that nothing hostile gets far.

use serde_json::json;

use super::*;

fn jq(expression: &str) -> Result<Rendered, TransformError> {
    render(InputOptions::Jq(expression.to_owned()), order())
}

#[test]
fn the_first_result_is_the_input() {
    for (expression, expected) in [
        (".data.id", json!(7)),
        (".type", json!("order.created")),
        ("{id: .data.id, skus: [.data.lines[].sku]}", json!({"id": 7, "skus": ["s1", "s2"]})),
        ("[.data.lines[].n] | add", json!(5)),
        (".data.lines[].sku", json!("s1")),
        ("\"order \\(.data.id)\"", json!("order 7")),
        (".data.lines | map(select(.n > 2)) | length", json!(1)),
        (".data | del(.lines) | keys", json!(["id", "name", "none", "odd key", "tag", "total", "twice"])),
        (".data.lines |= map(.n) | .data.lines", json!([2, 3])),
        (".data.lines[0].n = 9 | .data.lines[0]", json!({"sku": "s1", "n": 9})),
        (".data.lines[1:] | .[0].sku", json!("s2")),
        ("[1,2,3,4] | .[1:3] = [9] ", json!([1, 9, 4])),
        ("[1,2,3] | .[-1]", json!(3)),
        ("[1,2,3] | del(.[0])", json!([2, 3])),
        (".data.absent // \"none\"", json!("none")),
        ("try error(\"x\") catch .", json!("x")),
        ("[.data | to_entries[] | .key] | length", json!(8)),
        ("{a: 1} * {b: {c: 2}} | .b.c", json!(2)),
        ("\"a,b\" | split(\",\")", json!(["a", "b"])),
        ("[3,1,2] | sort", json!([1, 2, 3])),
        ("[{a:2},{a:1}] | sort_by(.a) | .[0].a", json!(1)),
        ("[{a:2},{a:1},{a:2}] | group_by(.a) | length", json!(2)),
        ("[1,1,2] | unique", json!([1, 2])),
        ("\"[1, {\\\"a\\\": 2}]\" | fromjson | .[1].a", json!(2)),
        ("{a: [1]} | tojson", json!("{\"a\":[1]}")),
        ("\"x\" | ascii_upcase", json!("X")),
        ("\"a b&c\" | @uri", json!("a%20b%26c")),
        ("\"abc\" | @base64", json!("YWJj")),
        ("\"YWJj\" | @base64d", json!("abc")),
        ("\"<a>\" | @html", json!("&lt;a&gt;")),
        ("\"foobar\" | contains(\"oba\")", json!(true)),
        ("[\"abc\", \"d\"] | contains([\"b\"])", json!(true)),
        ("{a: {b: 1, c: 2}} | contains({a: {b: 1}})", json!(true)),
        ("{a: 1} | has(\"a\"), has(\"b\")", json!(true)),
        ("\"a,b, cd\" | indices(\", \")", json!([3])),
        ("[1,2,1] | index(1), rindex(1)", json!(0)),
        ("\"12\" | tonumber + 1", json!(13)),
        ("9 | sqrt", json!(3.0)),
        ("pow(2; 10)", json!(1024.0)),
        ("-3 | length", json!(3)),
        ("\"2026-11-23T10:00:00Z\" | fromdate", json!(1_795_428_000)),
        ("1795428000 | todate", json!("2026-11-23T10:00:00Z")),
        ("[limit(3; repeat(1))]", json!([1, 1, 1])),
        ("def f($n): if $n == 0 then 0 else $n + f($n - 1) end; f(10)", json!(55)),
        ("[paths] | length > 10", json!(true)),
        ("[range(5)] | map(. * .) | add", json!(30)),
        ("reduce .data.lines[] as $l (0; . + $l.n)", json!(5)),
        ("[.data.lines[] | .sku] | join(\"-\")", json!("s1-s2")),
    ] {
        let made = jq(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(json(&made), expected, "{expression}");
    }
}

#[test]
fn numbers_keep_their_spelling() {
    assert_eq!(text(&jq(".data.total").unwrap()), "1.50");
}

#[test]
fn an_error_or_no_result_is_a_failed_transform() {
    for (expression, says) in [
        ("error(\"no such order\")", "jq: no such order"),
        (".data.id | keys", "jq: cannot use 7 as iterable"),
        (".data.name + 1", "jq: cannot calculate"),
        ("1 / 0 | tojson | fromjson", "jq: this is no JSON"),
        ("empty", "jq: the expression gave no result"),
        (".data.lines[] | select(.n > 9)", "jq: the expression gave no result"),
        ("nan", "jq: the result is not JSON"),
        ("{(1): 2}", "jq: the result is not JSON"),
        ("7 % 0", "jq: there is no remainder"),
    ] {
        let error = jq(expression).expect_err(expression);
        assert!(error.to_string().starts_with(says), "{expression}: {error}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn an_expression_is_compiled_when_it_is_loaded() {
    for (expression, line, column, why) in [
        (".data |", 1, 8, "term"),
        ("{\n  a: .b,\n  c: )\n}", 3, 6, "must come here"),
        ("nonsense", 1, 1, "there is no filter `nonsense/0`"),
        (".a | foo(1; 2)", 1, 6, "there is no filter `foo/2`"),
        ("$x", 1, 1, "there is no variable `$x`"),
        ("\"open", 1, 6, "quote"),
        ("", 1, 1, "term"),
        ("import \"x\" as x; .", 1, 9, "modules"),
    ] {
        match refused(&InputOptions::Jq(expression.to_owned())) {
            InputError::Jq { place, why: said } => {
                assert!(said.contains(why), "{expression}: {said}");
                assert_eq!((place.line, place.column), (line, column), "{expression}: {said}");
            }
            other => panic!("{expression}: {other}"),
        }
    }
    let long = format!("{}.", " ".repeat(9_000));
    assert!(matches!(refused(&InputOptions::Jq(long)), InputError::JqTooLong { .. }));
}

#[test]
fn nothing_of_the_machine_can_be_seen() {
    for expression in [
        "env",
        "$ENV",
        "env.HOME",
        "now",
        "input",
        "inputs",
        "debug",
        "stderr",
        "input_filename",
        "localtime",
        "strflocaltime(\"%H\")",
        "halt",
        "halt(1)",
        "halt_error",
        "test(\"a\")",
        "$__prog_args",
        "get_search_list",
    ] {
        let error = refused(&InputOptions::Jq(expression.to_owned()));
        assert!(matches!(error, InputError::Jq { .. }), "{expression}: {error}");
    }
}
