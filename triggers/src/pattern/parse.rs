//! From a pattern's text to a [`Pattern`]: objects, fields and `$or`. What stands in a field's list is read by
//! [`super::expression`].
//!
//! A pattern is flattened: each field is the path to it, joined with dots, and the predicates of which one must hold. So
//! `{"a": {"b": …}}` and `{"a.b": …}` are one field, and where a pattern names a field twice the last one counts. A field
//! inside `$or` is its own: where it is named outside too, both must match.

use eventail_wire::limits::{PATTERN_ALTERNATIVES_MAX, PATTERN_BYTES_MAX};

use super::error::{PatternError, PatternProblem};
use super::expression;
use super::operator;
use super::predicate::Predicate;
use super::scope::Scope;
use super::tree::{self, Json, Member, Node};

/// Fields that must match at once. The check of array consistency keeps two bits of 128 for each.
pub const FIELDS_MAX: usize = 64;

/// A pattern: fields that must all match, or several alternatives of such.
///
/// ```
/// use eventail_triggers::pattern::Pattern;
/// let pattern = Pattern::parse(r#"{"type": ["order.created"], "data": {"total": [{"numeric": [">", 100]}]}}"#)?;
/// let error = Pattern::parse(r#"{"type": [{"foo": 1}]}"#).unwrap_err();
/// assert_eq!((error.line, error.column, error.path.as_str()), (1, 12, ".type[0]"));
/// # Ok::<(), eventail_triggers::pattern::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub(super) fields: Vec<Field>,
    /// Of which one must match: numbers of fields that must all match, ascending. Never empty.
    pub(super) alternatives: Vec<Vec<usize>>,
    complexity: usize,
}

/// A path, joined with dots, and what may stand there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) path: String,
    /// One of them must hold.
    pub(super) predicates: Vec<Predicate>,
    /// The field's list as JSON.
    pub(super) text: String,
}

impl Pattern {
    /// Reads a pattern from JSON text.
    ///
    /// # Errors
    /// The first thing in the text that is not right, with its place. Nothing is guessed or repaired.
    pub fn parse(json: &str) -> Result<Self, PatternError> {
        let refuse = |at, problem| PatternError::at(json, at, "", problem);
        if json.len() > PATTERN_BYTES_MAX {
            return Err(refuse(0, PatternProblem::TooLong { limit: PATTERN_BYTES_MAX }));
        }
        let root = tree::read(json).map_err(|(at, what)| refuse(at, PatternProblem::Syntax { what }))?;
        let Json::Object(members) = &root.value else {
            return Err(refuse(root.at, PatternProblem::NotAnObject));
        };
        let mut parser = Parser { text: json, ..Parser::default() };
        let mut scope = Scope::default();
        parser.object(root.at, members, None, &mut scope)?;
        parser.finish(&scope)
    }

    /// What the wildcards of the pattern can cost: for each the most of its beginnings that one value can match at once,
    /// added up. [`eventail_wire::limits`] has the limits for one, for a pattern and for a topic.
    #[must_use]
    pub fn complexity(&self) -> usize {
        self.complexity
    }

    /// The fields of each alternative.
    pub(super) fn alternatives(&self) -> impl Iterator<Item = impl Iterator<Item = &Field>> {
        self.alternatives.iter().map(|fields| fields.iter().map(|&field| &self.fields[field]))
    }
}

/// Where something stands, for errors that show only later.
#[derive(Clone)]
struct Place {
    at: usize,
    path: String,
}

#[derive(Default)]
pub(super) struct Parser<'a> {
    text: &'a str,
    /// Where the parser stands, as errors name it.
    path: String,
    fields: Vec<Field>,
    /// Where each field stands.
    places: Vec<Place>,
    first_or: Option<Place>,
    /// How many `$or` are around.
    or_depth: usize,
    pub(super) complexity: usize,
}

pub(super) type Parsed<T> = Result<T, PatternError>;

impl Parser<'_> {
    pub(super) fn refuse(&self, at: usize, problem: PatternProblem) -> PatternError {
        PatternError::at(self.text, at, &self.path, problem)
    }

    /// Runs `inner` one step deeper in the path.
    pub(super) fn within<T>(&mut self, step: &str, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let length = self.path.len();
        self.path.push_str(step);
        let result = inner(self);
        self.path.truncate(length);
        result
    }

    /// `prefix` is the path of the object's field; the root has none, which is not the same as one that is empty.
    fn object(
        &mut self,
        at: usize,
        members: &[Member],
        prefix: Option<&str>,
        scope: &mut Scope,
    ) -> Parsed<()> {
        if members.is_empty() {
            return Err(self.refuse(at, PatternProblem::EmptyObject));
        }
        for Member { at, name, node } in members {
            self.within(&format!(".{name}"), |parser| {
                if name == operator::OR {
                    let choice = parser.choice(*at, node, prefix)?;
                    scope.choices.push(choice);
                    return Ok(());
                }
                if parser.or_depth > 0 && operator::is_reserved_in_or(name) {
                    return Err(parser.refuse(*at, PatternProblem::Reserved { word: name.clone() }));
                }
                let path = prefix.map_or_else(|| name.clone(), |prefix| format!("{prefix}.{name}"));
                match &node.value {
                    Json::Object(members) => parser.object(node.at, members, Some(&path), scope),
                    Json::List(list) => {
                        let predicates = parser.field(node.at, list)?;
                        parser.keep(*at, Field { path, predicates, text: node.value.to_string() }, scope);
                        Ok(())
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

    /// The alternatives of an `$or`.
    fn choice(&mut self, at: usize, node: &Node, prefix: Option<&str>) -> Parsed<Vec<Scope>> {
        let place = Place { at, path: self.path.clone() };
        self.first_or.get_or_insert(place);
        let list = match &node.value {
            Json::List(list) if list.len() >= 2 => list,
            other => return Err(self.refuse(node.at, PatternProblem::NoAlternatives { found: other.what() })),
        };
        self.or_depth += 1;
        let mut choice = Vec::with_capacity(list.len());
        for (index, node) in list.iter().enumerate() {
            choice.push(self.within(&format!("[{index}]"), |parser| {
                let Json::Object(members) = &node.value else {
                    let found = node.value.what();
                    return Err(parser.refuse(node.at, PatternProblem::NoAlternatives { found }));
                };
                let mut scope = Scope::default();
                parser.object(node.at, members, prefix, &mut scope)?;
                Ok(scope)
            })?);
        }
        self.or_depth -= 1;
        Ok(choice)
    }

    fn field(&mut self, at: usize, list: &[Node]) -> Parsed<Vec<Predicate>> {
        if list.is_empty() {
            return Err(self.refuse(at, PatternProblem::EmptyList));
        }
        let mut predicates = Vec::with_capacity(list.len());
        for (index, node) in list.iter().enumerate() {
            let step = format!("[{index}]");
            predicates.push(self.within(&step, |parser| expression::member(parser, node))?);
        }
        Ok(predicates)
    }

    fn keep(&mut self, at: usize, field: Field, scope: &mut Scope) {
        let same = |&&known: &&usize| self.fields[known].path == field.path;
        if let Some(&known) = scope.fields.iter().find(same) {
            self.fields[known] = field;
            return;
        }
        scope.fields.push(self.fields.len());
        self.fields.push(field);
        self.places.push(Place { at, path: self.path.clone() });
    }

    fn finish(self, scope: &Scope) -> Parsed<Pattern> {
        let refuse =
            |place: &Place, problem| Err(PatternError::at(self.text, place.at, &place.path, problem));
        if let Some(place) = &self.first_or
            && scope.count() > PATTERN_ALTERNATIVES_MAX
        {
            return refuse(place, PatternProblem::TooManyAlternatives { limit: PATTERN_ALTERNATIVES_MAX });
        }
        let alternatives = scope.alternatives();
        if let Some(&field) = alternatives.iter().find_map(|fields| fields.get(FIELDS_MAX)) {
            return refuse(&self.places[field], PatternProblem::TooManyFields { limit: FIELDS_MAX });
        }
        Ok(Pattern { fields: self.fields, alternatives, complexity: self.complexity })
    }
}
