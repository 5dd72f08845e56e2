//! Each operator, and the rules that hold for all of them.

use super::{check, holds};
use crate::pattern::{Matcher, Pattern, Scratch};

#[test]
fn exact_strings_are_equal_byte_for_byte() {
    check(
        r#"{"a": ["x", "", "é\n"]}"#,
        &[r#"{"a":"x"}"#, r#"{"a":""}"#, r#"{"a":"\u00e9\u000a"}"#, r#"{"b":{}, "a" : "x" }"#],
        &[r#"{"a":"X"}"#, r#"{"a":"xx"}"#, r#"{"a":null}"#, r#"{"b":"x"}"#, r#"{"a":{"b":"x"}}"#, "{}"],
    );
}

#[test]
fn exact_numbers_compare_by_value_and_never_with_strings() {
    check(
        r#"{"a": [300]}"#,
        &[r#"{"a":300}"#, r#"{"a":300.0}"#, r#"{"a":3.0e2}"#, r#"{"a":[1,3E2]}"#],
        &[r#"{"a":"300"}"#, r#"{"a":300.0000000000000000001}"#, r#"{"a":true}"#],
    );
    check(r#"{"a": [0]}"#, &[r#"{"a":-0}"#, r#"{"a":0.0e9}"#], &[r#"{"a":1e-400}"#]);
}

#[test]
fn numbers_that_no_double_holds_compare_by_their_text() {
    check(
        r#"{"a": [12345678901234567891]}"#,
        &[r#"{"a":12345678901234567891}"#],
        &[
            r#"{"a":12345678901234567892}"#,
            r#"{"a":1.2345678901234567891e19}"#,
            r#"{"a":12345678901234567168}"#,
        ],
    );
}

#[test]
fn true_false_and_null_match_only_themselves() {
    check(r#"{"a": [true]}"#, &[r#"{"a":true}"#], &[r#"{"a":false}"#, r#"{"a":"true"}"#, r#"{"a":1}"#]);
    check(r#"{"a": [false]}"#, &[r#"{"a":[true,false]}"#], &[r#"{"a":null}"#, r#"{"a":0}"#]);
    check(r#"{"a": [null]}"#, &[r#"{"a":null}"#, r#"{"a":[null]}"#], &["{}", r#"{"a":""}"#, r#"{"a":[]}"#]);
}

#[test]
fn a_string_that_is_an_address_matches_all_its_spellings() {
    check(
        r#"{"a": ["::1", "10.0.0.1"]}"#,
        &[r#"{"a":"0:0:0:0:0:0:0:1"}"#, r#"{"a":"::ffff:10.0.0.1"}"#, r#"{"a":"10.0.0.1"}"#],
        &[r#"{"a":"10.0.0.2"}"#, r#"{"a":"::2"}"#, r#"{"a":"beef"}"#, r#"{"a":""}"#],
    );
}

#[test]
fn a_prefix_matches_strings_that_begin_with_it() {
    check(
        r#"{"a": [{"prefix": "us-"}]}"#,
        &[r#"{"a":"us-"}"#, r#"{"a":"us-east"}"#, r#"{"a":["eu", "us-\u0065ast"]}"#],
        &[r#"{"a":"us"}"#, r#"{"a":"US-east"}"#, r#"{"a":1}"#, "{}"],
    );
    check(
        r#"{"a": [{"prefix": ""}]}"#,
        &[r#"{"a":""}"#, r#"{"a":"x"}"#],
        &[r#"{"a":1}"#, r#"{"a":null}"#, "{}"],
    );
}

#[test]
fn exists_looks_only_at_leaves() {
    check(
        r#"{"a": {"b": [{"exists": true}]}}"#,
        &[r#"{"a":{"b":null}}"#, r#"{"a":{"b":""}}"#, r#"{"a":[{"c":1},{"b":[null]}]}"#],
        &[r#"{"a":{"b":{}}}"#, r#"{"a":{"b":[]}}"#, r#"{"a":{"b":{"c":1}}}"#, r#"{"a":{}}"#, "{}"],
    );
    check(
        r#"{"a": {"b": [{"exists": false}]}}"#,
        &[r#"{"a":{"b":{"c":1}}}"#, r#"{"a":{"b":[]}}"#, r#"{"a":1}"#, "{}"],
        &[r#"{"a":{"b":null}}"#, r#"{"a":[{"b":1},{}]}"#],
    );
    check(r#"{"a": [{"exists": false}, "x"]}"#, &["{}", r#"{"a":"x"}"#], &[r#"{"a":"y"}"#]);
}

#[test]
fn anything_but_wants_a_value_that_differs() {
    check(
        r#"{"a": [{"anything-but": ["x", "y"]}]}"#,
        &[r#"{"a":"z"}"#, r#"{"a":""}"#, r#"{"a":null}"#, r#"{"a":1}"#, r#"{"a":["x","z"]}"#],
        &[r#"{"a":"x"}"#, r#"{"a":["x","y"]}"#, r#"{"a":[]}"#, r#"{"a":{}}"#, "{}"],
    );
    check(
        r#"{"a": [{"anything-but": 5}]}"#,
        &[r#"{"a":"5"}"#, r#"{"a":true}"#, r#"{"a":null}"#, r#"{"a":5.1}"#],
        &[r#"{"a":5.0}"#, r#"{"a":[5,5e0]}"#],
    );
    check(r#"{"a": [{"anything-but": [1, 2]}]}"#, &[r#"{"a":3}"#], &[r#"{"a":2}"#]);
    // Here an address is only text.
    check(r#"{"a": [{"anything-but": "::1"}]}"#, &[r#"{"a":"0:0:0:0:0:0:0:1"}"#], &[r#"{"a":"::1"}"#]);
}

#[test]
fn anything_but_takes_prefixes() {
    check(
        r#"{"a": [{"anything-but": {"prefix": "in"}}]}"#,
        &[r#"{"a":"out"}"#, r#"{"a":12}"#, r#"{"a":null}"#, r#"{"a":"i"}"#],
        &[r#"{"a":"init"}"#, "{}"],
    );
    check(
        r#"{"a": [{"anything-but": {"prefix": ["in", "un"]}}]}"#,
        &[r#"{"a":"out"}"#, r#"{"a":["in","out"]}"#],
        &[r#"{"a":"undo"}"#, r#"{"a":["in","un"]}"#],
    );
}

#[test]
fn fields_are_joined_by_and_and_lists_by_or() {
    check(
        r#"{"a": ["x", {"prefix": "y"}], "b": [1]}"#,
        &[r#"{"a":"x","b":1}"#, r#"{"b":1,"c":3,"a":"yy"}"#],
        &[r#"{"a":"x"}"#, r#"{"a":"z","b":1}"#, r#"{"a":"x","b":2}"#],
    );
}

#[test]
fn keys_are_joined_with_dots() {
    let nested = r#"{"a": {"b": {"c": ["x"]}}}"#;
    let dotted = r#"{"a.b": {"c": ["x"]}}"#;
    for pattern in [nested, dotted, r#"{"a": {"b.c": ["x"]}}"#] {
        check(
            pattern,
            &[
                r#"{"a":{"b":{"c":"x"}}}"#,
                r#"{"a.b.c":"x"}"#,
                r#"{"a":{"b\u002ec":"x"}}"#,
                r#"{"a.b":[{"c":"x"}]}"#,
            ],
            &[r#"{"a":{"b":"x"}}"#, r#"{"a.b":"x"}"#, r#"{"c":"x"}"#],
        );
    }
    check(r#"{"": {"a": [1]}}"#, &[r#"{"":{"a":1}}"#, r#"{".a":1}"#], &[r#"{"a":1}"#, r#"{"":1}"#]);
}

#[test]
fn names_that_are_repeated_count_last_in_patterns_and_all_in_events() {
    check(r#"{"a": ["x"], "a": ["y"]}"#, &[r#"{"a":"y"}"#], &[r#"{"a":"x"}"#]);
    check(r#"{"a": {"b": [1]}, "a": {"c": [2]}}"#, &[r#"{"a":{"b":1,"c":2}}"#], &[r#"{"a":{"c":2}}"#]);
    check(r#"{"a": ["x"]}"#, &[r#"{"a":"x","a":"y"}"#, r#"{"a":"y","a":"x"}"#], &[]);
    check(r#"{"a": {"b": [1], "c": [2]}}"#, &[r#"{"a":{"b":1},"a":{"c":2}}"#], &[]);
}

#[test]
fn a_string_that_holds_json_is_a_string() {
    check(r#"{"a": {"b": ["x"]}}"#, &[], &[r#"{"a":"{\"b\":\"x\"}"}"#]);
}

#[test]
fn lists_of_objects_match_at_any_depth() {
    check(
        r#"{"staff": {"name": ["Anna"]}}"#,
        &[r#"{"staff":[{"name":"Bo"},{"name":"Anna"}]}"#, r#"{"staff":[[[{"name":["Bo","Anna"]}]]]}"#],
        &[r#"{"staff":[{"name":"Bo"},"Anna"]}"#],
    );
}

#[test]
fn two_fields_are_not_satisfied_by_different_elements_of_one_list() {
    check(
        r#"{"staff": {"first": ["Anna"], "last": ["Jones"]}}"#,
        &[
            r#"{"staff":[{"first":"Bo","last":"Jones"},{"first":"Anna","last":"Jones"}]}"#,
            r#"{"staff":[{"first":"Bo"},[{"first":"Anna","last":"Jones"}]]}"#,
            r#"{"staff":{"first":["Bo","Anna"],"last":["Jones","Li"]}}"#,
        ],
        &[
            r#"{"staff":[{"first":"Anna","last":"Li"},{"first":"Bo","last":"Jones"}]}"#,
            r#"{"staff":[[{"first":"Anna"}],[{"last":"Jones"}]]}"#,
            r#"{"staff":[[{"first":"Anna"},{"last":"Jones"}]]}"#,
        ],
    );
    // Lists that do not stand in each other are chosen from independently, below one element of the list around them.
    let pattern = r#"{"a": {"b": {"x": [1]}, "c": {"y": [2]}, "d": [3]}}"#;
    assert!(holds(pattern, r#"{"a":[{},{"b":[{"x":0},{"x":1}],"c":[{"y":2},{"y":0}],"d":3}]}"#));
    assert!(!holds(pattern, r#"{"a":[{"b":[{"x":1}],"d":3},{"c":[{"y":2}],"d":3}]}"#));
}

#[test]
fn absence_is_judged_in_the_elements_that_the_other_fields_chose() {
    check(
        r#"{"a": {"z": [{"exists": false}], "y": [1]}}"#,
        &[r#"{"a":[{"z":1},{"y":1}]}"#, r#"{"a":[{"y":1}]}"#],
        &[r#"{"a":[{"z":1,"y":1},{"y":2}]}"#, r#"{"a":[{"z":1},{"y":2}]}"#],
    );
    // Nothing chooses an element here, so every value of the list is still there.
    check(
        r#"{"a": {"z": [{"exists": false}]}}"#,
        &[r#"{"a":[{},{"y":1}]}"#],
        &[r#"{"a":[{"z":1},{"y":1}]}"#],
    );
    check(
        r#"{"a": {"z": [{"exists": false}]}, "b": [1]}"#,
        &[r#"{"a":[{"y":1}],"b":1}"#],
        &[r#"{"a":[{"z":1},{"y":1}],"b":1}"#],
    );
}

#[test]
fn consistency_of_a_long_list_is_not_tried_by_combinations() {
    // Five fields over 4,000 elements that each satisfy one: trying all combinations would take for ever.
    let fields = ["p", "q", "r", "s", "t"];
    let elements: Vec<String> = (0..4_000).map(|n| format!("{{\"{}\":1}}", fields[n % 5])).collect();
    let pattern = r#"{"a": {"p": [1], "q": [1], "r": [1], "s": [1], "t": [1]}}"#;
    let none = format!("{{\"a\":[{}]}}", elements.join(","));
    assert!(!holds(pattern, &none));
    let one = none.replace("]}", r#",{"p":1,"q":1,"r":1,"s":1,"t":1}]}"#);
    assert!(holds(pattern, &one));
}

#[test]
fn numbers_of_patterns_come_out_ascending_and_once() {
    let parse = |text: &str| Some(Pattern::parse(text).unwrap());
    let mut patterns: Vec<_> = (0..50).map(|n| parse(&format!("{{\"a\": [\"v{n}\", \"w\"]}}"))).collect();
    patterns.push(None);
    patterns.push(parse(r#"{"a": [{"prefix": "v"}, "v1", {"prefix": ""}]}"#));
    patterns.push(parse(r#"{"b": [{"exists": false}]}"#));
    patterns.push(parse(r#"{"a": ["v7", "w"]}"#));
    let matcher = Matcher::new(&patterns);
    let (mut scratch, mut out) = (Scratch::default(), vec![99]);
    matcher.matches_json(br#"{"a": ["v7", "v1", "v7"]}"#, &mut scratch, &mut out).unwrap();
    assert_eq!(out, [1, 7, 50, 51, 52, 53]);
    matcher.matches_json(br#"{"b": 1}"#, &mut scratch, &mut out).unwrap();
    assert_eq!(out, [50]);
    matcher.matches_json(br#"{"a": "w", "b": 1}"#, &mut scratch, &mut out).unwrap();
    assert_eq!(out.len(), 50 + 3);
}

#[test]
fn a_matcher_without_patterns_matches_nothing() {
    let mut out = vec![1];
    Matcher::new(&[]).matches_json(b"{}", &mut Scratch::default(), &mut out).unwrap();
    assert!(out.is_empty());
}
