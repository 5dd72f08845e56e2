//! From a pattern's text to a [`Pattern`]: the grammar of EventBridge, as far as this version has it.
//!
//! A pattern is flattened: each field is the path to it, joined with dots, and the predicates of which one must hold. So
//! `{"a": {"b": …}}` and `{"a.b": …}` are one field, and where a pattern names a field twice the last one counts.

use super::error::{PatternError, PatternProblem};
use super::operator;
use super::tree::{self, Json, Member, Node};
use super::values::Literal;

/// Fields in one pattern. The check of array consistency keeps two bits of 128 for each.
pub const FIELDS_MAX: usize = 64;

/// A pattern: fields that must all match.
///
/// ```
/// use eventail_triggers::pattern::Pattern;
/// let pattern = Pattern::parse(r#"{"type": ["order.created"], "data": {"total": [{"exists": true}]}}"#)?;
/// let error = Pattern::parse(r#"{"type": [{"foo": 1}]}"#).unwrap_err();
/// assert_eq!((error.line, error.column, error.path.as_str()), (1, 12, ".type[0]"));
/// # Ok::<(), eventail_triggers::pattern::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub(super) fields: Vec<Field>,
}

/// A path, joined with dots, and what may stand there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    pub(super) path: String,
    /// One of them must hold.
    pub(super) predicates: Vec<Predicate>,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Predicate {
    Equals(Literal),
    Prefix(Box<str>),
    Exists(bool),
    AnythingBut(Excluded),
}

/// What a value that is there may not be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Excluded {
    /// Strings only or numbers only. Strings are never addresses here.
    Values(Vec<Literal>),
    Prefixes(Vec<Box<str>>),
}

impl Pattern {
    /// Reads a pattern from JSON text.
    ///
    /// # Errors
    /// The first thing in the text that is not right, with its place. Nothing is guessed or repaired.
    pub fn parse(json: &str) -> Result<Self, PatternError> {
        let mut parser = Parser { text: json, path: String::new(), fields: Vec::new() };
        let root = tree::read(json)
            .map_err(|(at, what)| PatternError::at(json, at, "", PatternProblem::Syntax { what }))?;
        let Json::Object(members) = &root.value else {
            return Err(parser.refuse(root.at, PatternProblem::NotAnObject));
        };
        parser.object(root.at, members, None)?;
        Ok(Self { fields: parser.fields })
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Where the parser stands, as errors name it.
    path: String,
    fields: Vec<Field>,
}

type Parsed<T> = Result<T, PatternError>;

impl Parser<'_> {
    fn refuse(&self, at: usize, problem: PatternProblem) -> PatternError {
        PatternError::at(self.text, at, &self.path, problem)
    }

    /// Runs `inner` one step deeper in the path.
    fn within<T>(&mut self, step: &str, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let length = self.path.len();
        self.path.push_str(step);
        let result = inner(self);
        self.path.truncate(length);
        result
    }

    /// `prefix` is the path of the object's field; the root has none, which is not the same as one that is empty.
    fn object(&mut self, at: usize, members: &[Member], prefix: Option<&str>) -> Parsed<()> {
        if members.is_empty() {
            return Err(self.refuse(at, PatternProblem::EmptyObject));
        }
        for Member { at, name, node } in members {
            let path = prefix.map_or_else(|| name.clone(), |prefix| format!("{prefix}.{name}"));
            self.within(&format!(".{name}"), |parser| {
                if name == operator::OR {
                    return Err(parser.refuse(*at, PatternProblem::NotYet { operator: name.clone() }));
                }
                match &node.value {
                    Json::Object(members) => parser.object(node.at, members, Some(&path)),
                    Json::List(list) => {
                        let predicates = parser.field(node.at, list)?;
                        parser.keep(*at, Field { path, predicates })
                    }
                    other => {
                        let found = other.what();
                        Err(parser.refuse(node.at, PatternProblem::NeitherObjectNorList { found }))
                    }
                }
            })?;
        }
        Ok(())
    }

    fn keep(&mut self, at: usize, field: Field) -> Parsed<()> {
        match self.fields.iter().position(|kept| kept.path == field.path) {
            Some(known) => self.fields[known] = field,
            None if self.fields.len() == FIELDS_MAX => {
                return Err(self.refuse(at, PatternProblem::TooManyFields { limit: FIELDS_MAX }));
            }
            None => self.fields.push(field),
        }
        Ok(())
    }

    fn field(&mut self, at: usize, list: &[Node]) -> Parsed<Vec<Predicate>> {
        if list.is_empty() {
            return Err(self.refuse(at, PatternProblem::EmptyList));
        }
        let mut predicates = Vec::with_capacity(list.len());
        for (index, node) in list.iter().enumerate() {
            predicates.push(self.within(&format!("[{index}]"), |parser| parser.predicate(node))?);
        }
        Ok(predicates)
    }

    fn predicate(&mut self, node: &Node) -> Parsed<Predicate> {
        Ok(Predicate::Equals(match &node.value {
            Json::Null => Literal::Null,
            Json::Boolean(truth) => Literal::Boolean(*truth),
            Json::Number(text) => Literal::number(text),
            Json::Text(text) => Literal::text_or_address(text),
            Json::List(_) => return Err(self.refuse(node.at, PatternProblem::ListInList)),
            Json::Object(members) => return self.expression(self.only(node.at, members)?),
        }))
    }

    fn only<'m>(&self, at: usize, members: &'m [Member]) -> Parsed<&'m Member> {
        match members {
            [member] => Ok(member),
            _ => Err(self.refuse(at, PatternProblem::NotOneOperator { keys: members.len() })),
        }
    }

    /// An object with one operator. A new operator gets its arm here, its word in [`operator`] and its [`Predicate`].
    fn expression(&self, member: &Member) -> Parsed<Predicate> {
        match member.name.as_str() {
            operator::PREFIX => self.prefix(&member.node),
            operator::EXISTS => match &member.node.value {
                Json::Boolean(wanted) => Ok(Predicate::Exists(*wanted)),
                _ => Err(self.operand(operator::EXISTS, &member.node, "true or false")),
            },
            operator::ANYTHING_BUT => self.anything_but(&member.node).map(Predicate::AnythingBut),
            later if operator::is_later(later) => {
                Err(self.refuse(member.at, PatternProblem::NotYet { operator: later.to_owned() }))
            }
            unknown => {
                Err(self.refuse(member.at, PatternProblem::UnknownOperator { operator: unknown.to_owned() }))
            }
        }
    }

    fn operand(&self, operator: &'static str, node: &Node, takes: &'static str) -> PatternError {
        self.refuse(node.at, PatternProblem::Operand { operator, found: node.value.what(), takes })
    }

    /// Refuses an operator that stands inside `outer`, and says whether the language has it.
    fn nested(&self, outer: &'static str, member: &Member) -> PatternError {
        let name = &member.name;
        let problem = if operator::is_later_inside(outer, name) {
            PatternProblem::NotYet { operator: format!("{outer}/{name}") }
        } else {
            PatternProblem::UnknownForm { operator: outer.to_owned(), form: name.clone() }
        };
        self.refuse(member.at, problem)
    }

    fn prefix(&self, node: &Node) -> Parsed<Predicate> {
        match &node.value {
            Json::Text(text) => Ok(Predicate::Prefix(text.as_str().into())),
            Json::Object(members) => Err(self.nested(operator::PREFIX, self.only(node.at, members)?)),
            _ => Err(self.operand(operator::PREFIX, node, "a string")),
        }
    }

    fn anything_but(&self, node: &Node) -> Parsed<Excluded> {
        match &node.value {
            Json::Text(_) | Json::Number(_) => Ok(Excluded::Values(vec![self.excluded(node)?])),
            Json::List(nodes) if !nodes.is_empty() => {
                let values = nodes.iter().map(|node| self.excluded(node)).collect::<Parsed<Vec<_>>>()?;
                let is_text = |literal: &Literal| matches!(literal, Literal::Text(_));
                match nodes.iter().zip(&values).find(|(_, value)| is_text(value) != is_text(&values[0])) {
                    Some((node, _)) => Err(self.operand(operator::ANYTHING_BUT, node, EXCLUDABLE)),
                    None => Ok(Excluded::Values(values)),
                }
            }
            Json::Object(members) => {
                let member = self.only(node.at, members)?;
                if member.name != operator::PREFIX {
                    return Err(self.nested(operator::ANYTHING_BUT, member));
                }
                self.excluded_prefixes(&member.node).map(Excluded::Prefixes)
            }
            _ => Err(self.operand(operator::ANYTHING_BUT, node, EXCLUDABLE)),
        }
    }

    fn excluded(&self, node: &Node) -> Parsed<Literal> {
        match &node.value {
            Json::Text(text) => Ok(Literal::Text(text.as_str().into())),
            Json::Number(text) => match Literal::number(text) {
                Literal::LongNumber(_) => {
                    Err(self.operand(operator::ANYTHING_BUT, node, "numbers that a double can hold"))
                }
                literal => Ok(literal),
            },
            _ => Err(self.operand(operator::ANYTHING_BUT, node, EXCLUDABLE)),
        }
    }

    fn excluded_prefixes(&self, node: &Node) -> Parsed<Vec<Box<str>>> {
        let one = |node: &Node| match &node.value {
            Json::Text(text) if !text.is_empty() => Ok(text.as_str().into()),
            _ => Err(self.operand(operator::PREFIX, node, EXCLUDABLE_PREFIX)),
        };
        match &node.value {
            Json::List(nodes) if !nodes.is_empty() => nodes.iter().map(one).collect(),
            Json::List(_) => Err(self.operand(operator::PREFIX, node, EXCLUDABLE_PREFIX)),
            _ => Ok(vec![one(node)?]),
        }
    }
}

const EXCLUDABLE: &str = "a string, a number, a list of strings or of numbers, or {\"prefix\": …}";
const EXCLUDABLE_PREFIX: &str = "a string that is not empty, or a list of such";
