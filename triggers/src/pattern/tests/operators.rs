//! The operators of strings, numbers and addresses, each with what it matches and what it does not.

use super::check;

#[test]
fn exactly_compares_text() {
    check(
        r#"{"a": [{"exactly": "10.0.0.1"}, {"exactly": ""}]}"#,
        &[r#"{"a":"10.0.0.1"}"#, r#"{"a":["x",""]}"#],
        &[r#"{"a":"::ffff:10.0.0.1"}"#, r#"{"a":10}"#, r#"{"a":null}"#, "{}"],
    );
}

#[test]
fn a_suffix_matches_strings_that_end_with_it() {
    check(
        r#"{"a": [{"suffix": ".png"}]}"#,
        &[r#"{"a":".png"}"#, r#"{"a":"x.png"}"#, r#"{"a":["x", "y\u002epng"]}"#],
        &[r#"{"a":"png"}"#, r#"{"a":"x.PNG"}"#, r#"{"a":"x.png "}"#, r#"{"a":1}"#, "{}"],
    );
    check(r#"{"a": [{"suffix": ""}]}"#, &[r#"{"a":""}"#, r#"{"a":"x"}"#], &[r#"{"a":1}"#, r#"{"a":null}"#]);
    check(r#"{"a": [{"suffix": "é"}]}"#, &[r#"{"a":"café"}"#], &[r#"{"a":"cafe"}"#]);
}

#[test]
fn case_is_ignored_beyond_ascii() {
    check(
        r#"{"a": [{"equals-ignore-case": "Straße"}]}"#,
        &[r#"{"a":"STRASSE"}"#, r#"{"a":"straße"}"#, r#"{"a":"sTRAẞE"}"#],
        &[r#"{"a":"Strase"}"#, r#"{"a":"Straße "}"#, r#"{"a":""}"#, r#"{"a":1}"#, "{}"],
    );
    check(r#"{"a": [{"equals-ignore-case": ""}]}"#, &[r#"{"a":""}"#], &[r#"{"a":"x"}"#, r#"{"a":null}"#]);
    check(r#"{"a": [{"equals-ignore-case": "É1"}]}"#, &[r#"{"a":"é1"}"#], &[r#"{"a":"e1"}"#]);
}

#[test]
fn prefixes_and_suffixes_may_ignore_case() {
    check(
        r#"{"a": [{"prefix": {"equals-ignore-case": "Us-"}}]}"#,
        &[r#"{"a":"US-east"}"#, r#"{"a":"us-"}"#, r#"{"a":"uS-É"}"#],
        &[r#"{"a":"us"}"#, r#"{"a":"xus-"}"#, r#"{"a":1}"#],
    );
    check(
        r#"{"a": [{"suffix": {"equals-ignore-case": ".pNg"}}]}"#,
        &[r#"{"a":"x.PNG"}"#, r#"{"a":".png"}"#, r#"{"a":"É.Png"}"#],
        &[r#"{"a":".pngx"}"#, r#"{"a":"png"}"#, "{}"],
    );
    check(r#"{"a": [{"prefix": {"equals-ignore-case": ""}}]}"#, &[r#"{"a":""}"#], &[r#"{"a":0}"#]);
}

#[test]
fn a_star_matches_anything_and_nothing() {
    check(
        r#"{"a": [{"wildcard": "dir/*.png"}]}"#,
        &[r#"{"a":"dir/.png"}"#, r#"{"a":"dir/a/b.png.png"}"#, r#"{"a":"dir/a\nb.png"}"#],
        &[r#"{"a":"dir.png"}"#, r#"{"a":"dir/a.jpg"}"#, r#"{"a":"xdir/a.png"}"#, r#"{"a":1}"#, "{}"],
    );
    check(r#"{"a": [{"wildcard": "*"}]}"#, &[r#"{"a":""}"#, r#"{"a":"x"}"#], &[r#"{"a":1}"#, r#"{"a":[]}"#]);
    check(r#"{"a": [{"wildcard": ""}]}"#, &[r#"{"a":""}"#], &[r#"{"a":"x"}"#, "{}"]);
    check(r#"{"a": [{"wildcard": "::1"}]}"#, &[r#"{"a":"::1"}"#], &[r#"{"a":"0::1"}"#]);
    check(
        r#"{"a": [{"wildcard": "a*b*c"}]}"#,
        &[r#"{"a":"abc"}"#, r#"{"a":"axbxbxc"}"#],
        &[r#"{"a":"acb"}"#, r#"{"a":"ac"}"#, r#"{"a":"abcd"}"#],
    );
}

#[test]
fn the_text_around_stars_does_not_overlap() {
    check(r#"{"a": [{"wildcard": "ab*ba"}]}"#, &[r#"{"a":"abba"}"#, r#"{"a":"abxba"}"#], &[r#"{"a":"aba"}"#]);
    check(
        r#"{"a": [{"wildcard": "*aa*aa*"}]}"#,
        &[r#"{"a":"xaaaa"}"#],
        &[r#"{"a":"aaa"}"#, r#"{"a":"aabab"}"#],
    );
}

#[test]
fn a_backslash_makes_stars_and_backslashes_plain() {
    check(
        r#"{"a": [{"wildcard": "\\**\\\\"}]}"#,
        &[r#"{"a":"*\\"}"#, r#"{"a":"*x\\"}"#],
        &[r#"{"a":"x\\"}"#, r#"{"a":"*"}"#],
    );
    check(r#"{"a": [{"wildcard": "a\\*b"}]}"#, &[r#"{"a":"a*b"}"#], &[r#"{"a":"axb"}"#, r#"{"a":"ab"}"#]);
}

#[test]
fn numbers_are_compared_by_value() {
    check(
        r#"{"a": [{"numeric": [">", 0, "<=", 5]}]}"#,
        &[r#"{"a":5}"#, r#"{"a":5e0}"#, r#"{"a":0.000001}"#, r#"{"a":[9,1]}"#],
        &[r#"{"a":0}"#, r#"{"a":-0}"#, r#"{"a":5.000001}"#, r#"{"a":"3"}"#, r#"{"a":true}"#, "{}"],
    );
    check(
        r#"{"a": [{"numeric": ["=", 301.8]}]}"#,
        &[r#"{"a":3.018e2}"#],
        &[r#"{"a":301}"#, r#"{"a":"301.8"}"#],
    );
    check(
        r#"{"a": [{"numeric": ["<", -1]}]}"#,
        &[r#"{"a":-1.5}"#, r#"{"a":-1e300}"#],
        &[r#"{"a":-1}"#, r#"{"a":0}"#],
    );
    check(r#"{"a": [{"numeric": ["<=", 0]}]}"#, &[r#"{"a":-0}"#, r#"{"a":-5e-324}"#], &[r#"{"a":5e-324}"#]);
    check(r#"{"a": [{"numeric": [">=", 1e3]}]}"#, &[r#"{"a":1000}"#], &[r#"{"a":999.9}"#, r#"{"a":null}"#]);
    // No double holds it, so it cannot be compared.
    check(
        r#"{"a": [{"numeric": [">", 0]}]}"#,
        &[r#"{"a":9007199254740992}"#],
        &[r#"{"a":9007199254740993}"#],
    );
}

#[test]
fn a_block_holds_addresses_of_its_own_family() {
    check(
        r#"{"a": [{"cidr": "10.1.2.3/8"}]}"#,
        &[r#"{"a":"10.255.0.1"}"#, r#"{"a":"::ffff:10.0.0.1"}"#, r#"{"a":["x","10.0.0.0"]}"#],
        &[
            r#"{"a":"11.0.0.1"}"#,
            r#"{"a":"example.com"}"#,
            r#"{"a":10}"#,
            r#"{"a":true}"#,
            r#"{"a":""}"#,
            "{}",
        ],
    );
    check(
        r#"{"a": [{"cidr": "2001:db8::/32"}]}"#,
        &[r#"{"a":"2001:DB8:0::1"}"#],
        &[r#"{"a":"2001:db9::1"}"#, r#"{"a":"32.1.13.184"}"#],
    );
    check(r#"{"a": [{"cidr": "0.0.0.0/0"}]}"#, &[r#"{"a":"255.1.2.3"}"#], &[r#"{"a":"::1"}"#]);
    check(r#"{"a": [{"cidr": "::/0"}]}"#, &[r#"{"a":"::1"}"#], &[r#"{"a":"1.2.3.4"}"#]);
}

#[test]
fn anything_but_takes_every_form_of_text() {
    for (pattern, matching, other) in [
        (r#"{"suffix": ".png"}"#, r#"{"a":"x.jpg"}"#, r#"{"a":"x.png"}"#),
        (r#"{"suffix": [".png", ".jpg"]}"#, r#"{"a":".gif"}"#, r#"{"a":"x.jpg"}"#),
        (r#"{"equals-ignore-case": "abc"}"#, r#"{"a":"abcd"}"#, r#"{"a":"ABC"}"#),
        (r#"{"equals-ignore-case": ["x", "ß"]}"#, r#"{"a":"s"}"#, r#"{"a":"SS"}"#),
        (r#"{"equals-ignore-case": ""}"#, r#"{"a":"x"}"#, r#"{"a":""}"#),
        (r#"{"wildcard": "*/lib/*"}"#, r#"{"a":"/lib"}"#, r#"{"a":"/lib/x"}"#),
        (r#"{"wildcard": ["*.a", "b*", ""]}"#, r#"{"a":"cb"}"#, r#"{"a":""}"#),
        (r#"{"prefix": ["x", "y"]}"#, r#"{"a":"z"}"#, r#"{"a":"yy"}"#),
    ] {
        let pattern = format!(r#"{{"a": [{{"anything-but": {pattern}}}]}}"#);
        check(
            &pattern,
            &[matching, r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":false}"#],
            &[other, "{}", r#"{"a":[]}"#],
        );
        let both =
            format!(r#"{{"a":[{},{}]}}"#, &matching[5..matching.len() - 1], &other[5..other.len() - 1]);
        check(&pattern, &[&both], &[]);
    }
}

#[test]
fn long_lists_of_any_kind_are_alternatives() {
    let list = |item: &dyn Fn(usize) -> String| (0..40).map(item).collect::<Vec<_>>().join(",");
    for (members, matching, other) in [
        (list(&|n| format!(r#"{{"suffix": "-{n}"}}"#)), r#""x-39""#, r#""x-40""#),
        (list(&|n| format!(r#"{{"equals-ignore-case": "K{n}"}}"#)), "\"\u{212a}7\"", r#""k40""#),
        (list(&|n| format!(r#"{{"prefix": {{"equals-ignore-case": "K{n}-"}}}}"#)), r#""k7-x""#, r#""k7""#),
        (list(&|n| format!(r#"{{"suffix": {{"equals-ignore-case": "-K{n}"}}}}"#)), r#""x-k7""#, r#""k7""#),
        (list(&|n| format!(r#"{{"wildcard": "a*{n}."}}"#)), r#""axx33.""#, r#""axx33""#),
        (list(&|n| format!(r#"{{"wildcard": "*-{n}-*"}}"#)), r#""x-21-y""#, r#""x-40-y""#),
        (list(&|n| format!(r#"{{"wildcard": "*x*-{n}"}}"#)), r#""ax-21""#, r#""a-21""#),
        (list(&|n| format!(r#"{{"numeric": [">", {n}.5, "<", {n}.75]}}"#)), "39.6", "39.75"),
        (list(&|n| format!(r#"{{"cidr": "10.{n}.0.0/16"}}"#)), r#""10.39.1.1""#, r#""10.40.1.1""#),
    ] {
        let (matching, other) = (format!("{{\"a\":{matching}}}"), format!("{{\"a\":{other}}}"));
        check(&format!("{{\"a\": [{members}]}}"), &[&matching], &[&other, "{}"]);
        if !members.contains("cidr") && !members.contains("numeric") {
            let is_nested = members.contains(": {");
            let text = |operator: &str| members.replace(&format!("{{\"{operator}\": "), "").replace('}', "");
            let excluded = ["suffix", "equals-ignore-case", "wildcard"]
                .into_iter()
                .filter(|operator| !is_nested && members.contains(operator))
                .map(|operator| {
                    format!("{{\"a\": [{{\"anything-but\": {{\"{operator}\": [{}]}}}}]}}", text(operator))
                });
            for pattern in excluded {
                check(&pattern, &[&other], &[&matching, "{}"]);
            }
        }
    }
}
