//! What stands in a field's list: values and operators.
//!
//! A new operator gets its word in [`operator`], its arm in [`expression`] and its [`Predicate`].

use eventail_wire::limits::{PATTERN_COMPLEXITY_MAX, WILDCARD_COMPLEXITY_MAX};

use super::error::PatternProblem;
use super::fold::Folded;
use super::network::Network;
use super::operator;
use super::parse::{Parsed, Parser};
use super::predicate::Predicate;
use super::range::NumberRange;
use super::tree::{Json, Member, Node};
use super::values::Literal;
use super::wildcard::{Meaning, Wildcard, WildcardMistake};

const EXCLUDABLE: &str = "a string, a number, a list of strings or of numbers, or an object with one of prefix, suffix, \
     equals-ignore-case, wildcard";
const NUMERIC: &str = "one or two of =, <, <=, >, >= and a number each, such as [\">\", 0, \"<=\", 5]";
const HELD_NUMBER: &str = "numbers that a double can hold";
const TEXT: &str = "a string";
const TEXTS: &str = "a string or a list of strings";
const FULL_TEXTS: &str = "a string that is not empty, or a list of such";

/// One member of a field's list.
pub(super) fn member(parser: &mut Parser<'_>, node: &Node) -> Parsed<Predicate> {
    Ok(Predicate::Equals(match &node.value {
        Json::Null => Literal::Null,
        Json::Boolean(truth) => Literal::Boolean(*truth),
        Json::Number(text) => Literal::number(text),
        Json::Text(text) => Literal::text_or_address(text),
        Json::List(_) => return Err(parser.refuse(node.at, PatternProblem::ListInList)),
        Json::Object(members) => {
            let member = parser.only(node.at, members)?;
            return expression(parser, member);
        }
    }))
}

/// An object with one operator.
fn expression(parser: &mut Parser<'_>, member: &Member) -> Parsed<Predicate> {
    let node = &member.node;
    match member.name.as_str() {
        operator::EXACTLY => {
            Ok(Predicate::Equals(Literal::Text(parser.text(operator::EXACTLY, node)?.into())))
        }
        operator::PREFIX => {
            parser.affix(operator::PREFIX, node, Predicate::Prefix, Predicate::PrefixIgnoreCase)
        }
        operator::SUFFIX => {
            parser.affix(operator::SUFFIX, node, Predicate::Suffix, Predicate::SuffixIgnoreCase)
        }
        operator::EQUALS_IGNORE_CASE => {
            Ok(Predicate::EqualsIgnoreCase(Folded::new(parser.text(operator::EQUALS_IGNORE_CASE, node)?)))
        }
        operator::WILDCARD => {
            let text = parser.text(operator::WILDCARD, node)?;
            parser.wildcard(node.at, text)
        }
        operator::ANYTHING_BUT => parser.anything_but(node).map(Predicate::AnythingBut),
        operator::NUMERIC => parser.numeric(node),
        operator::CIDR => match Network::parse(parser.text(operator::CIDR, node)?) {
            Some(network) => Ok(Predicate::Cidr(network)),
            None => {
                let takes = "an IP address and a mask such as \"10.0.0.0/8\" or \"2001:db8::/32\", masks below 32 and 128 bits";
                Err(parser.operand(operator::CIDR, node, takes))
            }
        },
        operator::EXISTS => match &node.value {
            Json::Boolean(wanted) => Ok(Predicate::Exists(*wanted)),
            _ => Err(parser.operand(operator::EXISTS, node, "true or false")),
        },
        unknown => {
            let problem = PatternProblem::UnknownOperator { operator: unknown.to_owned() };
            Err(parser.refuse(member.at, problem))
        }
    }
}

impl Parser<'_> {
    fn only<'m>(&self, at: usize, members: &'m [Member]) -> Parsed<&'m Member> {
        match members {
            [member] => Ok(member),
            _ => Err(self.refuse(at, PatternProblem::NotOneOperator { keys: members.len() })),
        }
    }

    fn operand(&self, operator: &'static str, node: &Node, takes: &'static str) -> super::PatternError {
        self.refuse(node.at, PatternProblem::Operand { operator, found: node.value.what(), takes })
    }

    fn text<'n>(&self, operator: &'static str, node: &'n Node) -> Parsed<&'n str> {
        match &node.value {
            Json::Text(text) => Ok(text),
            _ => Err(self.operand(operator, node, TEXT)),
        }
    }

    /// A word inside an operator that cannot stand there.
    fn no_form<T>(&self, outer: &'static str, member: &Member) -> Parsed<T> {
        let problem = PatternProblem::UnknownForm { operator: outer, form: member.name.clone() };
        Err(self.refuse(member.at, problem))
    }

    /// `prefix` and `suffix`, with case or without.
    fn affix(
        &self,
        operator: &'static str,
        node: &Node,
        with_case: fn(Box<str>) -> Predicate,
        ignoring: fn(Folded) -> Predicate,
    ) -> Parsed<Predicate> {
        match &node.value {
            Json::Text(text) => Ok(with_case(text.as_str().into())),
            Json::Object(members) => {
                let member = self.only(node.at, members)?;
                if member.name != operator::EQUALS_IGNORE_CASE {
                    return self.no_form(operator, member);
                }
                self.text(operator::EQUALS_IGNORE_CASE, &member.node).map(|text| ignoring(Folded::new(text)))
            }
            _ => Err(self.operand(operator, node, "a string, or {\"equals-ignore-case\": \"…\"}")),
        }
    }

    fn wildcard(&mut self, at: usize, text: &str) -> Parsed<Predicate> {
        let wildcard = match Wildcard::parse(text) {
            // Inside `wildcard` an address is only text.
            Ok(Meaning::Text(text)) => return Ok(Predicate::Equals(Literal::Text(text.into()))),
            Ok(Meaning::Wildcard(wildcard)) => wildcard,
            Err(WildcardMistake::Stars) => return Err(self.refuse(at, PatternProblem::WildcardStars)),
            Err(WildcardMistake::Escape) => return Err(self.refuse(at, PatternProblem::WildcardEscape)),
        };
        let complexity = wildcard.complexity();
        self.complexity += complexity;
        if complexity > WILDCARD_COMPLEXITY_MAX {
            let limit = WILDCARD_COMPLEXITY_MAX;
            return Err(self.refuse(at, PatternProblem::TooComplex { complexity, limit }));
        }
        if self.complexity > PATTERN_COMPLEXITY_MAX {
            let (complexity, limit) = (self.complexity, PATTERN_COMPLEXITY_MAX);
            return Err(self.refuse(at, PatternProblem::TooComplex { complexity, limit }));
        }
        Ok(wildcard.into_predicate())
    }

    fn anything_but(&mut self, node: &Node) -> Parsed<Vec<Predicate>> {
        match &node.value {
            Json::Text(_) | Json::Number(_) => Ok(vec![self.excluded(node)?]),
            Json::List(nodes) if !nodes.is_empty() => {
                let is_text = |node: &&Node| matches!(node.value, Json::Text(_));
                let first = nodes.first().is_some_and(|node| is_text(&node));
                let values = nodes.iter().map(|node| self.excluded(node)).collect::<Parsed<Vec<_>>>()?;
                match nodes.iter().find(|node| is_text(node) != first) {
                    Some(node) => Err(self.operand(operator::ANYTHING_BUT, node, EXCLUDABLE)),
                    None => Ok(values),
                }
            }
            Json::Object(members) => {
                let member = self.only(node.at, members)?;
                self.excluded_form(member)
            }
            _ => Err(self.operand(operator::ANYTHING_BUT, node, EXCLUDABLE)),
        }
    }

    /// A value that `anything-but` excludes; strings are never addresses there.
    fn excluded(&self, node: &Node) -> Parsed<Predicate> {
        let literal = match &node.value {
            Json::Text(text) => Literal::Text(text.as_str().into()),
            Json::Number(_) => Literal::Number(self.held_number(operator::ANYTHING_BUT, node)?),
            _ => return Err(self.operand(operator::ANYTHING_BUT, node, EXCLUDABLE)),
        };
        Ok(Predicate::Equals(literal))
    }

    fn excluded_form(&mut self, member: &Member) -> Parsed<Vec<Predicate>> {
        let (operator, takes) = match member.name.as_str() {
            operator::PREFIX => (operator::PREFIX, FULL_TEXTS),
            operator::SUFFIX => (operator::SUFFIX, FULL_TEXTS),
            operator::EQUALS_IGNORE_CASE => (operator::EQUALS_IGNORE_CASE, TEXTS),
            operator::WILDCARD => (operator::WILDCARD, TEXTS),
            _ => return self.no_form(operator::ANYTHING_BUT, member),
        };
        let nodes = match &member.node.value {
            Json::List(nodes) if !nodes.is_empty() => &nodes[..],
            Json::List(_) => return Err(self.operand(operator, &member.node, takes)),
            _ => std::slice::from_ref(&member.node),
        };
        let mut excluded = Vec::with_capacity(nodes.len());
        for node in nodes {
            let text = match &node.value {
                Json::Text(text) if !(text.is_empty() && takes == FULL_TEXTS) => text.as_str(),
                _ => return Err(self.operand(operator, node, takes)),
            };
            excluded.push(match operator {
                operator::PREFIX => Predicate::Prefix(text.into()),
                operator::SUFFIX => Predicate::Suffix(text.into()),
                operator::WILDCARD => self.wildcard(node.at, text)?,
                _ => Predicate::EqualsIgnoreCase(Folded::new(text)),
            });
        }
        Ok(excluded)
    }

    fn held_number(&self, operator: &'static str, node: &Node) -> Parsed<u64> {
        match &node.value {
            Json::Number(text) => match Literal::number(text) {
                Literal::Number(bits) => Ok(bits),
                _ => Err(self.operand(operator, node, HELD_NUMBER)),
            },
            _ => Err(self.operand(operator, node, "a number behind each of =, <, <=, >, >=")),
        }
    }

    fn numeric(&self, node: &Node) -> Parsed<Predicate> {
        let Json::List(terms) = &node.value else {
            return Err(self.operand(operator::NUMERIC, node, NUMERIC));
        };
        let refuse = |at: usize, found: &'static str| {
            Err(self
                .refuse(at, PatternProblem::Operand { operator: operator::NUMERIC, found, takes: NUMERIC }))
        };
        let mut bounds = Vec::with_capacity(2);
        for term in terms.chunks(2) {
            let word = match &term[0].value {
                Json::Text(word) if matches!(word.as_str(), "=" | "<" | "<=" | ">" | ">=") => word.as_str(),
                other => return refuse(term[0].at, other.what()),
            };
            let Some(number) = term.get(1) else {
                return refuse(term[0].at, "a comparison without a number");
            };
            bounds.push((word, self.held_number(operator::NUMERIC, number)?, term[0].at));
        }
        match bounds[..] {
            [("=", bits, _)] => Ok(Predicate::Equals(Literal::Number(bits))),
            [(word @ (">" | ">="), bits, _)] => Ok(range(Some((bits, word)), None)),
            [(word, bits, _)] => Ok(range(None, Some((bits, word)))),
            [(low @ (">" | ">="), bottom, _), (high @ ("<" | "<="), top, at)] => {
                if f64::from_bits(bottom) < f64::from_bits(top) {
                    return Ok(range(Some((bottom, low)), Some((top, high))));
                }
                refuse(at, "a lower bound that is not below the upper one")
            }
            [_, (_, _, at)] => refuse(at, "two bounds that are not first a lower and then an upper one"),
            [] => refuse(node.at, node.value.what()),
            [_, _, (_, _, at), ..] => refuse(at, "more than two bounds"),
        }
    }
}

fn range(low: Option<(u64, &str)>, high: Option<(u64, &str)>) -> Predicate {
    let bound = |(bits, word): (u64, &str)| (bits, word.ends_with('='));
    Predicate::Numeric(NumberRange::new(low.map(bound), high.map(bound)))
}
