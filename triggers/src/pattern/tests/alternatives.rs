//! `$or` at any level, multiplied, and beside other fields.

use super::{check, holds};
use crate::pattern::{Matcher, Pattern, Scratch};

#[test]
fn one_of_the_objects_must_match() {
    check(
        r#"{"$or": [{"a": [1]}, {"b": [2], "c": [{"prefix": "x"}]}]}"#,
        &[r#"{"a":1}"#, r#"{"b":2,"c":"xx"}"#, r#"{"a":1,"b":2,"c":"x"}"#],
        &[r#"{"a":2}"#, r#"{"b":2}"#, r#"{"b":2,"c":"y"}"#, "{}"],
    );
}

#[test]
fn fields_beside_it_must_match_too() {
    check(
        r#"{"k": ["v"], "$or": [{"a": [1]}, {"b": [2]}], "z": [{"exists": false}]}"#,
        &[r#"{"k":"v","a":1}"#, r#"{"k":"v","b":2}"#],
        &[r#"{"a":1}"#, r#"{"k":"v"}"#, r#"{"k":"v","a":1,"z":0}"#],
    );
}

#[test]
fn it_stands_at_any_level_and_nests() {
    let pattern = r#"{"d": {"x": [0], "$or": [{"a": [1]}, {"b": {"$or": [{"c": [2]}, {"e": [3]}]}}]}}"#;
    check(
        pattern,
        &[r#"{"d":{"x":0,"a":1}}"#, r#"{"d":{"x":0,"b":{"c":2}}}"#, r#"{"d.b.e":3,"d.x":0}"#],
        &[r#"{"d":{"x":0}}"#, r#"{"d":{"a":1}}"#, r#"{"a":1,"x":0}"#, r#"{"d":{"x":0,"b":{"c":3}}}"#],
    );
}

#[test]
fn several_multiply() {
    let pattern = r#"{"$or": [{"a": [1]}, {"b": [1]}], "n": {"$or": [{"c": [1]}, {"d": [1]}]}}"#;
    for (event, wanted) in [
        (r#"{"a":1,"n":{"c":1}}"#, true),
        (r#"{"a":1,"n":{"d":1}}"#, true),
        (r#"{"b":1,"n":{"d":1}}"#, true),
        (r#"{"a":1,"b":1}"#, false),
        (r#"{"n":{"c":1,"d":1}}"#, false),
    ] {
        assert_eq!(holds(pattern, event), wanted, "{event}");
    }
    let twice = r#"{"$or": [{"a": [1]}, {"b": [1]}], "$or": [{"c": [1]}, {"d": [1]}]}"#;
    check(twice, &[r#"{"a":1,"d":1}"#], &[r#"{"a":1,"b":1}"#, r#"{"c":1}"#]);
}

#[test]
fn a_field_inside_and_outside_must_match_both() {
    let pattern = r#"{"a": [{"prefix": "x"}], "$or": [{"a": [{"suffix": "y"}]}, {"b": [1]}]}"#;
    check(
        pattern,
        &[r#"{"a":"xy"}"#, r#"{"a":"x","b":1}"#, r#"{"a":["x","y"]}"#],
        &[r#"{"a":"x"}"#, r#"{"a":"y"}"#, r#"{"a":"y","b":1}"#],
    );
    // A field that one of the objects repeats counts as given last there, and nowhere else.
    let repeated = r#"{"$or": [{"a": [1], "a": [2]}, {"a": [3]}]}"#;
    check(repeated, &[r#"{"a":2}"#, r#"{"a":3}"#], &[r#"{"a":1}"#]);
}

#[test]
fn lists_are_consistent_in_each_alternative() {
    let pattern = r#"{"s": {"f": ["A"], "$or": [{"l": ["J"]}, {"m": [{"exists": false}], "n": [1]}]}}"#;
    check(
        pattern,
        &[r#"{"s":[{"f":"A","l":"J"}]}"#, r#"{"s":[{"m":1},{"f":"A","n":1}]}"#],
        &[r#"{"s":[{"f":"A"},{"l":"J"}]}"#, r#"{"s":[{"f":"A","n":1,"m":1}]}"#],
    );
}

#[test]
fn a_pattern_matches_once_however_many_alternatives_do() {
    let patterns = [
        r#"{"$or": [{"a": [1]}, {"b": [1]}]}"#,
        r#"{"a": [1]}"#,
        r#"{"$or": [{"a": [1]}, {"a": [1]}]}"#,
        r#"{"$or": [{"c": [1]}, {"b": [2]}]}"#,
    ];
    let patterns: Vec<_> = patterns.iter().map(|text| Some(Pattern::parse(text).unwrap())).collect();
    let mut out = Vec::new();
    let matcher = Matcher::new(&patterns);
    matcher.matches_json(br#"{"a":1,"b":1}"#, &mut Scratch::default(), &mut out).unwrap();
    assert_eq!(out, [0, 1, 2]);
}
