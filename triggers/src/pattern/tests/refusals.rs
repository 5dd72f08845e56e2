//! Patterns and events that are refused, and what the refusal says.

use eventail_wire::limits::{
    PATTERN_ALTERNATIVES_MAX, PATTERN_BYTES_MAX, PATTERN_COMPLEXITY_MAX, WILDCARD_COMPLEXITY_MAX,
};

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

#[test]
fn operators_of_text_refuse_what_is_no_text() {
    for operator in ["exactly", "prefix", "suffix", "equals-ignore-case", "wildcard", "cidr"] {
        for operand in ["3", "null", "true", r#"["x"]"#, "[]"] {
            let error = refused(&format!(r#"{{"a": [{{"{operator}": {operand}}}]}}"#));
            assert!(matches!(error.problem, PatternProblem::Operand { .. }), "{operator} {operand}: {error}");
            assert_eq!((error.operator(), error.path.as_str()), (Some(operator), ".a[0]"));
            assert!(error.expected().starts_with("a string"), "{error}");
        }
    }
    for operator in ["prefix", "suffix"] {
        for operand in ["5", r#"["x"]"#, "null"] {
            let pattern = format!(r#"{{"a": [{{"{operator}": {{"equals-ignore-case": {operand}}}}}]}}"#);
            assert_eq!(refused(&pattern).operator(), Some("equals-ignore-case"), "{pattern}");
        }
        for inside in ["prefix", "wildcard", "exactly", "anything-but"] {
            let error = refused(&format!(r#"{{"a": [{{"{operator}": {{"{inside}": "x"}}}}]}}"#));
            assert_eq!(error.expected(), "use one of equals-ignore-case");
            assert_eq!(error.operator(), Some(operator));
        }
    }
}

#[test]
fn anything_but_refuses_what_it_cannot_exclude() {
    for operator in ["prefix", "suffix", "equals-ignore-case", "wildcard"] {
        for operand in
            ["5", "null", "[]", "[1]", r#"["x", 1]"#, r#"[["x"]]"#, r#"{"equals-ignore-case": "x"}"#]
        {
            let error = refused(&format!(r#"{{"a": [{{"anything-but": {{"{operator}": {operand}}}}}]}}"#));
            assert_eq!(error.operator(), Some(operator), "{operator} {operand}: {error}");
        }
    }
    for operator in ["prefix", "suffix"] {
        for operand in [r#""""#, r#"["x", ""]"#] {
            let error = refused(&format!(r#"{{"a": [{{"anything-but": {{"{operator}": {operand}}}}}]}}"#));
            assert_eq!(error.operator(), Some(operator), "{operator} {operand}: {error}");
        }
    }
    for operator in ["exactly", "numeric", "cidr", "exists", "anything-but"] {
        let error = refused(&format!(r#"{{"a": [{{"anything-but": {{"{operator}": "x"}}}}]}}"#));
        assert_eq!(error.expected(), "use one of prefix, suffix, equals-ignore-case, wildcard");
    }
    let error = refused(r#"{"a": [{"anything-but": 12345678901234567891}]}"#);
    assert_eq!(error.expected(), "numbers that a double can hold");
}

#[test]
fn numeric_refuses_what_is_no_range() {
    for operand in [
        "5",
        "null",
        r#"">""#,
        "[]",
        "[5]",
        r#"[">"]"#,
        r#"[">", "5"]"#,
        r#"[">", null]"#,
        r#"["!=", 5]"#,
        r#"["==", 5]"#,
        r#"[5, ">"]"#,
        r#"[">", 0, "<"]"#,
        r#"[">", 0, ">", 0]"#,
        r#"["<", 5, ">", 0]"#,
        r#"["=", 5, "<", 6]"#,
        r#"[">", 0, "=", 6]"#,
        r#"[">", 5, "<", 5]"#,
        r#"[">=", 5, "<=", 5]"#,
        r#"[">", 6, "<", 5]"#,
        r#"[">", 0, "<", 5, "<", 6]"#,
        r#"[">", 0, "<", 5, "<"]"#,
        r#"[">", 1e400]"#,
        r#"[">", 0, "<", 12345678901234567891]"#,
    ] {
        let error = refused(&format!(r#"{{"a": [{{"numeric": {operand}}}]}}"#));
        assert!(matches!(error.problem, PatternProblem::Operand { .. }), "{operand}: {error}");
        assert_eq!(error.operator(), Some("numeric"), "{operand}");
    }
}

#[test]
fn cidr_refuses_what_is_no_block() {
    for operand in
        ["", "10.0.0.0", "10.0.0.0/32", "10.0.0.0/33", "::/128", "x/8", "10.0.0.0/x", "10.0.0/8", "/8"]
    {
        let error = refused(&format!(r#"{{"a": [{{"cidr": "{operand}"}}]}}"#));
        assert_eq!(error.operator(), Some("cidr"), "{operand}");
        assert!(error.expected().contains("10.0.0.0/8"), "{error}");
    }
}

#[test]
fn wildcards_refuse_double_stars_and_other_escapes() {
    for (wildcard, problem) in [
        ("a**b", PatternProblem::WildcardStars),
        ("**", PatternProblem::WildcardStars),
        (r"a\\b*", PatternProblem::WildcardEscape),
        (r"*\\", PatternProblem::WildcardEscape),
        (r"\\n", PatternProblem::WildcardEscape),
    ] {
        let error = refused(&format!(r#"{{"a": [{{"wildcard": "{wildcard}"}}]}}"#));
        assert_eq!(
            (error.problem.clone(), error.operator()),
            (problem.clone(), Some("wildcard")),
            "{wildcard}"
        );
        let excluded =
            refused(&format!(r#"{{"a": [{{"anything-but": {{"wildcard": ["x", "{wildcard}"]}}}}]}}"#));
        assert_eq!(excluded.problem, problem, "{wildcard}");
    }
}

#[test]
fn wildcards_have_a_budget() {
    let wildcard = |text: &str| format!(r#"{{"a": [{{"wildcard": "{text}"}}]}}"#);
    assert_eq!(Pattern::parse(&wildcard("/Users/*/d/d/d/d/d/doc")).unwrap().complexity(), 7);
    assert_eq!(Pattern::parse(&wildcard("plain")).unwrap().complexity(), 0);
    let (complexity, limit) = (11, WILDCARD_COMPLEXITY_MAX);
    let error = refused(&wildcard("*:*:*:*:*:bus/*"));
    assert_eq!(error.problem, PatternProblem::TooComplex { complexity, limit });
    let excluded = r#"{"a": [{"anything-but": {"wildcard": "*:*:*:*:*:bus/*"}}]}"#;
    assert_eq!(refused(excluded).problem, PatternProblem::TooComplex { complexity, limit });
    let many = |count: usize| {
        let members = vec![r#"{"wildcard": "*a*a*a*a*a"}"#; count].join(",");
        format!(r#"{{"a": [{members}]}}"#)
    };
    assert_eq!(Pattern::parse(&many(100)).unwrap().complexity(), PATTERN_COMPLEXITY_MAX);
    let problem = PatternProblem::TooComplex { complexity: 1_010, limit: PATTERN_COMPLEXITY_MAX };
    assert_eq!((refused(&many(101)).problem, refused(&many(101)).path), (problem, ".a[100]".to_owned()));
}

#[test]
fn or_refuses_what_gives_no_choice() {
    for operand in [
        "{}",
        r#"{"a": [1]}"#,
        "[]",
        r#"[{"a": [1]}]"#,
        "1",
        "null",
        r#"["x", "y"]"#,
        r#"[{"a": [1]}, 2]"#,
        "[[1], [2]]",
    ] {
        for pattern in
            [format!(r#"{{"$or": {operand}}}"#), format!(r#"{{"d": {{"x": [1], "$or": {operand}}}}}"#)]
        {
            let error = refused(&pattern);
            assert!(matches!(error.problem, PatternProblem::NoAlternatives { .. }), "{pattern}: {error}");
            assert_eq!(error.operator(), Some("$or"));
        }
    }
    assert_eq!(refused(r#"{"$or": [{"a": [1]}, {}]}"#).problem, PatternProblem::EmptyObject);
    assert_eq!(refused(r#"{"d": {"$or": [{"a": [1]}, 2]}}"#).path, ".d.$or[1]");
}

#[test]
fn fields_inside_or_may_not_have_names_that_are_reserved() {
    for word in [
        "prefix",
        "exactly",
        "cidr",
        "=",
        "<=",
        "regex",
        "not-wildcard",
        "date-before",
        "ip-address-in-range",
    ] {
        for pattern in [
            format!(r#"{{"$or": [{{"a": [1]}}, {{"{word}": [1]}}]}}"#),
            format!(r#"{{"$or": [{{"a": [1]}}, {{"b": {{"{word}": [1]}}}}]}}"#),
        ] {
            let error = refused(&pattern);
            assert_eq!(error.problem, PatternProblem::Reserved { word: word.to_owned() }, "{pattern}");
        }
        let outside = format!(r#"{{"{word}": [1], "$or": [{{"a": [1]}}, {{"b": [1]}}]}}"#);
        assert!(Pattern::parse(&outside).is_ok(), "{word}");
    }
}

#[test]
fn alternatives_have_a_limit_over_all_levels() {
    let or = |count: usize, level: &str| {
        let objects: Vec<String> = (0..count).map(|n| format!(r#"{{"f{n}": [1]}}"#)).collect();
        format!(r#""{level}": {{"$or": [{}]}}"#, objects.join(","))
    };
    assert!(Pattern::parse(&format!("{{{}, {}, {}}}", or(10, "a"), or(10, "b"), or(10, "c"))).is_ok());
    let error = refused(&format!("{{{}, {}, {}}}", or(10, "a"), or(10, "b"), or(11, "c")));
    assert_eq!(error.problem, PatternProblem::TooManyAlternatives { limit: PATTERN_ALTERNATIVES_MAX });
    assert_eq!(error.path, ".a.$or");
    // A number of levels whose product no integer holds.
    let levels: Vec<String> = (0..100).map(|n| or(10, &format!("l{n}"))).collect();
    let error = refused(&format!("{{{}}}", levels.join(",")));
    assert_eq!(error.problem, PatternProblem::TooManyAlternatives { limit: PATTERN_ALTERNATIVES_MAX });
}

#[test]
fn a_limit_of_fields_counts_those_that_must_match_at_once() {
    let fields = |from: usize, count: usize| {
        (from..from + count).map(|n| format!("\"f{n}\": [1]")).collect::<Vec<_>>().join(",")
    };
    let pattern = |count: usize| {
        format!(r#"{{{}, "$or": [{{{}}}, {{{}}}]}}"#, fields(0, 34), fields(100, 30), fields(200, count))
    };
    assert!(Pattern::parse(&pattern(30)).is_ok());
    let error = refused(&pattern(31));
    assert_eq!(error.problem, PatternProblem::TooManyFields { limit: FIELDS_MAX });
    assert_eq!(error.path, ".$or[1].f230");
}

#[test]
fn a_pattern_has_a_limit_of_bytes() {
    let pattern = |bytes: usize| format!(r#"{{"a": ["{}"]}}"#, "x".repeat(bytes - 11));
    assert!(Pattern::parse(&pattern(PATTERN_BYTES_MAX)).is_ok());
    let error = refused(&pattern(PATTERN_BYTES_MAX + 1));
    assert_eq!(error.problem, PatternProblem::TooLong { limit: PATTERN_BYTES_MAX });
}

#[test]
fn every_refusal_says_what_would_be_right() {
    for (pattern, message) in [
        (
            r#"{"a": [{"wildcard": "a**"}]}"#,
            "pattern.a[0] (line 1, column 21): two stars side by side in a wildcard; one star, which stands for any text",
        ),
        (
            r#"{"a": [{"wildcard": "\\n"}]}"#,
            r"pattern.a[0] (line 1, column 21): a wildcard has no such escape; \* for a star and \\ for a backslash, each backslash doubled in JSON",
        ),
        (
            r#"{"$or": [{"a": [1]}]}"#,
            r#"pattern.$or (line 1, column 9): "$or" cannot take such a list; a list of two or more objects of fields"#,
        ),
        (
            r#"{"a": [{"numeric": [">", 5, "<", 5]}]}"#,
            "pattern.a[0] (line 1, column 29): \"numeric\" cannot take a lower bound that is not below the upper one; one or two of =, <, <=, >, >= and a number each, such as [\">\", 0, \"<=\", 5]",
        ),
    ] {
        assert_eq!(refused(pattern).to_string(), message);
    }
}
