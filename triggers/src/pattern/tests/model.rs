//! The compiled matcher against a slow and obvious one: try every way to give each field a value or its absence.

mod wanted;

use std::collections::BTreeMap;

use eventail_wire::event::{Event, ValueKind};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Explanation, Matcher, Pattern, Scratch};
use wanted::{PLAINS, Wanted, wanted};

#[derive(Clone, Debug)]
enum Tree {
    /// A plain value as JSON text.
    Plain(&'static str),
    List(Vec<Tree>),
    Object(Vec<(&'static str, Tree)>),
}

/// A pattern: what each path may be, and objects of which one must match, at the top or in a field.
#[derive(Clone, Debug)]
struct Model {
    fields: BTreeMap<&'static str, Vec<Wanted>>,
    choices: Vec<(Option<&'static str>, Vec<Model>)>,
}

/// A field of one alternative.
type Field<'m> = (String, &'m [Wanted]);

const PATHS: &[&str] = &["a", "b", "a.a", "a.b", "a.c", "b.a", "b.c", "a.b.a", "a.b.c", "a.a.b", "b.a.a"];

/// A value in the event: where it stands, in which elements of which lists, and its text.
struct Place {
    path: String,
    elements: Vec<(usize, usize)>,
    text: &'static str,
}

fn places(
    tree: &Tree,
    path: &str,
    elements: &mut Vec<(usize, usize)>,
    lists: &mut usize,
    to: &mut Vec<Place>,
) {
    match tree {
        Tree::Plain(text) => to.push(Place { path: path.to_owned(), elements: elements.clone(), text }),
        Tree::List(nodes) => {
            *lists += 1;
            let list = *lists;
            for (index, node) in nodes.iter().enumerate() {
                if let Tree::Plain(_) = node {
                    places(node, path, elements, lists, to);
                } else {
                    elements.push((list, index));
                    places(node, path, elements, lists, to);
                    elements.pop();
                }
            }
        }
        Tree::Object(members) => {
            for (name, node) in members {
                let path = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
                places(node, &path, elements, lists, to);
            }
        }
    }
}

fn is_compatible(left: &[(usize, usize)], right: &[(usize, usize)]) -> bool {
    left.iter().all(|(list, index)| right.iter().all(|(other, at)| list != other || index == at))
}

/// Whether the fields that are left can be given something that agrees with what was chosen.
fn can_match(fields: &[Field<'_>], places: &[Place], chosen: &[(usize, usize)], absent: &[&str]) -> bool {
    let Some(((path, wanted), rest)) = fields.split_first() else {
        let is_left = |place: &Place| is_compatible(&place.elements, chosen);
        return absent.iter().all(|path| !places.iter().any(|place| place.path == **path && is_left(place)));
    };
    for place in places.iter().filter(|place| place.path == *path && is_compatible(&place.elements, chosen)) {
        if wanted.iter().any(|wanted| wanted.accepts(place.text)) {
            let chosen = [chosen, &place.elements].concat();
            if can_match(rest, places, &chosen, absent) {
                return true;
            }
        }
    }
    wanted.iter().any(|wanted| matches!(wanted, Wanted::Exists(false)))
        && can_match(rest, places, chosen, &[absent, &[path]].concat())
}

impl Model {
    /// The fields of every alternative, `prefix` before their paths.
    fn alternatives(&self, prefix: &str) -> Vec<Vec<Field<'_>>> {
        let path = |path: &str| if prefix.is_empty() { path.to_owned() } else { format!("{prefix}.{path}") };
        let mut alternatives =
            vec![self.fields.iter().map(|(name, wanted)| (path(name), &wanted[..])).collect::<Vec<_>>()];
        for (below, models) in &self.choices {
            let prefix = below.map_or_else(|| prefix.to_owned(), path);
            let branches: Vec<_> = models.iter().flat_map(|model| model.alternatives(&prefix)).collect();
            alternatives = alternatives
                .iter()
                .flat_map(|fields| branches.iter().map(|branch| [&fields[..], branch].concat()))
                .collect();
        }
        alternatives
    }

    fn print(&self) -> String {
        let field = |(path, wanted): (&&str, &Vec<Wanted>)| {
            let wanted: Vec<String> = wanted.iter().map(Wanted::print).collect();
            format!("\"{path}\":[{}]", wanted.join(","))
        };
        let choice = |(below, models): &(Option<&str>, Vec<Self>)| {
            let models: Vec<String> = models.iter().map(Self::print).collect();
            let or = format!("\"$or\":[{}]", models.join(" , "));
            below.map_or_else(|| or.clone(), |below| format!("\"{below}\":{{{or}}}"))
        };
        let members: Vec<String> =
            self.fields.iter().map(field).chain(self.choices.iter().map(choice)).collect();
        format!("{{{}}}", members.join(", "))
    }
}

fn slowly(model: &Model, event: &Tree) -> bool {
    let mut found = Vec::new();
    places(event, "", &mut Vec::new(), &mut 0, &mut found);
    model.alternatives("").iter().any(|fields| can_match(fields, &found, &[], &[]))
}

fn print_event(tree: &Tree) -> String {
    match tree {
        Tree::Plain(text) => (*text).to_owned(),
        Tree::List(nodes) => format!("[{}]", nodes.iter().map(print_event).collect::<Vec<_>>().join(" ,")),
        Tree::Object(members) => {
            let print = |(name, node): &(&str, Tree)| format!("\"{name}\": {}", print_event(node));
            format!("{{{}}}", members.iter().map(print).collect::<Vec<_>>().join(","))
        }
    }
}

fn fields(most: usize) -> impl Strategy<Value = BTreeMap<&'static str, Vec<Wanted>>> {
    (1..=most).prop_flat_map(|fields| {
        let paths = subsequence(PATHS, fields);
        let wanted = prop::collection::vec(prop::collection::vec(wanted(), 1..=3), fields);
        (paths, wanted).prop_map(|(paths, wanted)| paths.into_iter().zip(wanted).collect())
    })
}

fn model() -> impl Strategy<Value = Model> {
    let flat = fields(4).prop_map(|fields| Model { fields, choices: Vec::new() });
    let small = fields(2).prop_map(|fields| Model { fields, choices: Vec::new() });
    let nested = small.prop_recursive(2, 8, 3, |inner| {
        let models = prop::collection::vec(inner, 2..=3);
        let choice = (select(&[None, None, Some("a"), Some("b.a")][..]), models);
        (fields(2), prop::collection::vec(choice, 1..=2))
            .prop_map(|(fields, choices)| Model { fields, choices })
    });
    prop_oneof![2 => flat, 1 => nested]
}

/// Few names and few values, so that patterns match often; names with dots only where they name nothing twice, because then
/// two lists would be at one path and the slow matcher's answer is not ours.
fn object(node: impl Strategy<Value = Tree>) -> impl Strategy<Value = Tree> {
    let names = prop_oneof![
        5 => subsequence(&["a", "b", "c"][..], 0..=3),
        1 => subsequence(&["a.b", "b", "c"][..], 0..=3),
        1 => subsequence(&["a.b.a", "b.a"][..], 0..=2),
    ];
    (names, prop::collection::vec(node, 3))
        .prop_map(|(names, nodes)| Tree::Object(names.into_iter().zip(nodes).collect()))
}

fn node() -> impl Strategy<Value = Tree> {
    let plain = select(PLAINS).prop_map(Tree::Plain);
    plain.prop_recursive(4, 40, 3, |inner| {
        prop_oneof![
            1 => inner.clone(),
            3 => prop::collection::vec(inner.clone(), 0..=3).prop_map(Tree::List),
            3 => prop::collection::vec(object(inner.clone()), 1..=3).prop_map(Tree::List),
            3 => object(inner),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1_000), ..Default::default() })]

    #[test]
    fn the_matcher_says_what_the_slow_one_says(
        models in prop::collection::vec(model(), 1..12),
        events in prop::collection::vec(object(node()), 1..4),
    ) {
        let texts: Vec<String> = models.iter().map(Model::print).collect();
        let patterns: Vec<Option<Pattern>> = texts.iter().map(|text| Some(Pattern::parse(text).unwrap())).collect();
        let matcher = Matcher::new(&patterns);
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        for event in &events {
            let text = print_event(event);
            matcher.matches_json(text.as_bytes(), &mut scratch, &mut out).unwrap();
            let slow: Vec<usize> = (0..models.len()).filter(|&n| slowly(&models[n], event)).collect();
            prop_assert_eq!(&out, &slow, "{:?} of {}", texts, text);
            for (number, pattern) in patterns.iter().flatten().enumerate() {
                let explanation = pattern.explain_json(text.as_bytes()).unwrap();
                prop_assert_eq!(explanation.is_match(), slow.contains(&number), "{} of {}", texts[number], text);
                if let Explanation::NoMatch(miss) = explanation {
                    let is_named = models[number].alternatives("").iter().flatten().any(|(path, _)| *path == miss.path);
                    prop_assert!(is_named && miss.failed_fields > 0, "{:?}", miss);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn data_of_an_event_matches_as_the_same_json_does(
        models in prop::collection::vec(model(), 1..6),
        data in node(),
        count in 1i32..3,
    ) {
        let patterns: Vec<Option<Pattern>> = models.iter().map(|model| {
            let pattern = model.print();
            Some(Pattern::parse(&format!("{{\"data\": {pattern}, \"count\": [1], \"b\": [\"x\", {{\"exists\": false}}]}}")).unwrap())
        }).collect();
        let matcher = Matcher::new(&patterns);
        let (data, count) = (print_event(&data), count.to_string());
        let json = format!("{{\"count\": {count}, \"data\": {data}, \"b\": \"x\"}}");
        let event = Event::builder("1", "/s", "t")
            .attribute("count", count, ValueKind::Integer)
            .extension("b", "x")
            .json_data(data)
            .build()
            .unwrap();
        let (mut scratch, mut of_json, mut of_event) = (Scratch::default(), Vec::new(), Vec::new());
        matcher.matches_json(json.as_bytes(), &mut scratch, &mut of_json).unwrap();
        matcher.matches(&event, &mut scratch, &mut of_event);
        prop_assert_eq!(of_json, of_event);
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes(text in "[\\[\\]{}:,\" 0-2eE.+\\-tfn\\\\u\\x01aé]{0,12}", wrap in any::<bool>()) {
        let text = if wrap { format!("{{\"a\": {text}}}") } else { text };
        let is_object = serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(&text).is_ok();
        let mut out = Vec::new();
        let named = Matcher::new(&[Some(Pattern::parse(r#"{"a": [{"exists": true}]}"#).unwrap())]);
        for matcher in [Matcher::new(&[None]), named] {
            let taken = matcher.matches_json(text.as_bytes(), &mut Scratch::default(), &mut out).is_ok();
            prop_assert_eq!(taken, is_object, "{}", text);
        }
    }

    #[test]
    fn reading_a_pattern_is_total(text in "[\\[\\]{}:,\" 0-2etfn\\\\ua-c$é]{0,40}") {
        if let Err(error) = Pattern::parse(&text) {
            prop_assert!(error.line >= 1 && error.column >= 1 && !error.to_string().is_empty());
        }
    }
}
