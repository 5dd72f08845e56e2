//! Patterns and events that are refused, and what the refusal says.

use crate::pattern::{FIELDS_MAX, Matcher, Pattern, PatternError, PatternProblem, Scratch};

fn refused(pattern: &str) -> PatternError {
    match Pattern::parse(pattern) {
        Ok(_) => panic!("{pattern} must be refused"),
        Err(error) => error,
    }
}

#[test]
fn a_refusal_says_where_in_the_pattern_and_in_the_text() {
    let error = refused(r#"{"data": {"total": [{"foo": 1}]}}"#);
    assert_eq!(
        error.to_string(),
        r#"pattern.data.total[0] (line 1, column 22): unknown operator "foo"; use one of exactly, prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr, exists"#
    );
    assert_eq!(error.operator(), Some("foo"));
    assert_eq!(
        error.expected(),
        "use one of exactly, prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr, exists"
    );
    let error = refused("{\n  \"type\": [\"é\"],\n  \"é\": [\"x\",\n \"é\", {\"exists\": 1}]\n}");
    assert_eq!((error.path.as_str(), error.line, error.column), (".é[2]", 4, 18));
    let error = refused("{\"a\": [1],\n\"b\" 2}");
    assert_eq!((error.line, error.column), (2, 5));
    assert_eq!(
        error.to_string(),
        "pattern (line 2, column 5): not JSON: a colon must follow a member's name"
    );
}

#[test]
fn words_that_are_no_operators_are_refused_as_unknown() {
    for pattern in [
        r#"{"a": [{"Prefix": "x"}]}"#,
        r#"{"a": [{"NUMERIC": [">", 1]}]}"#,
        r#"{"a": [{"shellstyle": "x*"}]}"#,
        r#"{"a": [{"": "x"}]}"#,
    ] {
        assert!(matches!(refused(pattern).problem, PatternProblem::UnknownOperator { .. }), "{pattern}");
    }
    for pattern in
        [r#"{"a": [{"prefix": {"suffix": "x"}}]}"#, r#"{"a": [{"anything-but": {"exists": true}}]}"#]
    {
        assert!(matches!(refused(pattern).problem, PatternProblem::UnknownForm { .. }), "{pattern}");
    }
}

#[test]
fn operators_refuse_values_that_they_do_not_take() {
    for (pattern, operator) in [
        (r#"{"a": [{"prefix": 3}]}"#, "prefix"),
        (r#"{"a": [{"prefix": ["x"]}]}"#, "prefix"),
        (r#"{"a": [{"prefix": null}]}"#, "prefix"),
        (r#"{"a": [{"exists": "true"}]}"#, "exists"),
        (r#"{"a": [{"exists": null}]}"#, "exists"),
        (r#"{"a": [{"anything-but": null}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": true}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": []}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": ["x", 1]}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": ["x", null]}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": [["x"]]}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": 1e400}]}"#, "anything-but"),
        (r#"{"a": [{"anything-but": {"prefix": ""}}]}"#, "prefix"),
        (r#"{"a": [{"anything-but": {"prefix": []}}]}"#, "prefix"),
        (r#"{"a": [{"anything-but": {"prefix": ["x", ""]}}]}"#, "prefix"),
        (r#"{"a": [{"anything-but": {"prefix": ["x", 1]}}]}"#, "prefix"),
        (r#"{"a": [{"anything-but": {"prefix": 1}}]}"#, "prefix"),
        (r#"{"a": [{"anything-but": {"prefix": {"equals-ignore-case": "x"}}}]}"#, "prefix"),
    ] {
        let error = refused(pattern);
        assert!(matches!(error.problem, PatternProblem::Operand { .. }), "{pattern}: {error}");
        assert_eq!(error.operator(), Some(operator), "{pattern}");
    }
}

#[test]
fn shapes_that_match_nothing_are_refused() {
    use PatternProblem as P;
    for (pattern, problem) in [
        ("{}", P::EmptyObject),
        (r#"{"a": {}}"#, P::EmptyObject),
        (r#"{"a": {"b": [1], "c": {}}}"#, P::EmptyObject),
        (r#"{"a": []}"#, P::EmptyList),
        (r#"{"a": [[1]]}"#, P::ListInList),
        (r#"{"a": "x"}"#, P::NeitherObjectNorList { found: "a string" }),
        (r#"{"a": null}"#, P::NeitherObjectNorList { found: "null" }),
        (r#"{"a": [{}]}"#, P::NotOneOperator { keys: 0 }),
        (r#"{"a": [{"prefix": "x", "exists": true}]}"#, P::NotOneOperator { keys: 2 }),
        (r#"{"a": [{"prefix": "x", "prefix": "y"}]}"#, P::NotOneOperator { keys: 2 }),
        (r#"{"a": [{"anything-but": {"prefix": "x", "b": 1}}]}"#, P::NotOneOperator { keys: 2 }),
        ("[1]", P::NotAnObject),
        ("\"x\"", P::NotAnObject),
    ] {
        assert_eq!(refused(pattern).problem, problem, "{pattern}");
    }
}

#[test]
fn text_that_is_not_json_is_refused() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    for pattern in [
        "",
        "  ",
        "{",
        r#"{"a": [1]} x"#,
        r#"{"a": [1]}{}"#,
        r#"{"a": [1],}"#,
        r#"{"a": [1,]}"#,
        r#"{"a": [01]}"#,
        r#"{"a": [1.]}"#,
        r#"{"a": [+1]}"#,
        r#"{"a": [nul]}"#,
        r#"{"a": ["\x"]}"#,
        r#"{"a": ["\ud800"]}"#,
        "{\"a\": [\"\n\"]}",
        r#"{a: [1]}"#,
        &deep,
    ] {
        assert!(matches!(refused(pattern).problem, PatternProblem::Syntax { .. }), "{pattern}");
    }
}

#[test]
fn a_pattern_has_a_limit_of_fields() {
    let pattern = |fields: usize| {
        let fields: Vec<String> = (0..fields).map(|n| format!("\"f{n}\": [1]")).collect();
        format!("{{{}}}", fields.join(","))
    };
    assert!(Pattern::parse(&pattern(FIELDS_MAX)).is_ok());
    let error = refused(&pattern(FIELDS_MAX + 1));
    assert_eq!(error.problem, PatternProblem::TooManyFields { limit: FIELDS_MAX });
}

#[test]
fn event_text_that_is_not_one_object_is_refused() {
    let matcher = Matcher::new(&[None]);
    let (mut scratch, mut out) = (Scratch::default(), vec![7]);
    for text in ["", "[]", "1", "{", "{} {}", "{\"a\":}", "{\"a\":1,}", "{\"a\":tru}", "\u{feff}{}"] {
        assert!(matcher.matches_json(text.as_bytes(), &mut scratch, &mut out).is_err(), "{text}");
        assert!(out.is_empty(), "{text}");
    }
    assert!(matcher.matches_json(b"{\"a\":\"\xff\"}", &mut scratch, &mut out).is_err());
    let error = matcher.matches_json(b"{\"a\": x}", &mut scratch, &mut out).unwrap_err();
    assert_eq!((error.what, error.at), ("a value must come here", 6));
}
