//! The description against the table of routes, both ways, and against the table of codes.

use std::collections::{BTreeMap, BTreeSet};

use eventail_wire::Code;
use serde_json::Value;

use super::super::OPENAPI;
use super::super::routes::ROUTES;

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// `POST /v1/…` and the operation, for each that is described.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.insert(format!("{} {path}", method.to_uppercase()), operation);
        }
    }
    found
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "$ref") {
                    Some(target) => found.push(target),
                    None => references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document = document();
    let described: BTreeSet<String> = operations(&document).into_keys().collect();
    let routed: BTreeSet<String> = ROUTES.iter().map(|route| route.name()).collect();
    assert_eq!(described, routed);
}

#[test]
fn the_parameters_of_a_path_are_described() {
    let document = document();
    for (name, operation) in operations(&document) {
        let mut described = BTreeSet::new();
        for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
            let parameter = match parameter["$ref"].as_str() {
                Some(target) => document.pointer(target.trim_start_matches('#')).unwrap(),
                None => parameter,
            };
            if parameter["in"] == "path" {
                described.insert(parameter["name"].as_str().unwrap().to_owned());
            }
        }
        let wanted: BTreeSet<String> = name
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(str::to_owned)
            .collect();
        assert_eq!(described, wanted, "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for target in found {
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
    }
}

#[test]
fn the_codes_are_those_of_the_table_with_their_statuses() {
    let document = document();
    let listed = strings(&document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]);
    let table: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed, table);
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        let mut described: BTreeSet<u16> = BTreeSet::new();
        for (status, response) in responses {
            let is_problem = response["$ref"].is_string();
            if is_problem {
                described.insert(status.parse().unwrap());
            }
        }
        let codes = strings(&operation["x-codes"]);
        let of_codes: BTreeSet<u16> = codes
            .iter()
            .map(|code| code.parse::<Code>().unwrap_or_else(|()| panic!("{code} of {name}")).http_status())
            .collect();
        assert_eq!(described, of_codes, "{name}");
    }
}
