//! Why a pattern is refused: where, what, and what would be right.
//!
//! Every refusal names its place twice, as a path in the pattern and as line and column of the text, because patterns
//! come from files where only the one and from programs where only the other helps. Nothing here repairs a pattern.

use std::fmt;

use super::operator;

/// A pattern that is refused. Prints as
/// ``pattern.data.total[0] (line 1, column 30): unknown operator "foo"; use one of …``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern{path} (line {line}, column {column}): {problem}")]
pub struct PatternError {
    /// Where in the pattern: empty for its root, else for instance `.data.total[0]`.
    pub path: String,
    /// The line in the pattern's text, from 1.
    pub line: usize,
    /// The column in that line, in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: PatternProblem,
}

impl PatternError {
    /// The operator that the error is about, if it is about one.
    #[must_use]
    pub fn operator(&self) -> Option<&str> {
        match &self.problem {
            PatternProblem::UnknownOperator { operator } => Some(operator),
            PatternProblem::Operand { operator, .. } | PatternProblem::UnknownForm { operator, .. } => {
                Some(operator)
            }
            PatternProblem::WildcardStars
            | PatternProblem::WildcardEscape
            | PatternProblem::TooComplex { .. } => Some(operator::WILDCARD),
            PatternProblem::NoAlternatives { .. }
            | PatternProblem::Reserved { .. }
            | PatternProblem::TooManyAlternatives { .. } => Some(operator::OR),
            _ => None,
        }
    }

    /// What would be right in this place.
    #[must_use]
    pub fn expected(&self) -> String {
        self.problem.expected()
    }

    pub(super) fn at(text: &str, offset: usize, path: &str, problem: PatternProblem) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            path: path.to_owned(),
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem,
        }
    }
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternProblem {
    /// The text is not JSON.
    Syntax {
        /// What does not fit the grammar.
        what: &'static str,
    },
    /// The pattern is not a JSON object.
    NotAnObject,
    /// A field holds neither an object nor a list.
    NeitherObjectNorList {
        /// What it holds instead.
        found: &'static str,
    },
    /// An object without members.
    EmptyObject,
    /// A list without members.
    EmptyList,
    /// A list directly in a field's list.
    ListInList,
    /// An operator's object with no or several keys.
    NotOneOperator {
        /// How many keys it has.
        keys: usize,
    },
    /// A word that is no operator of the language.
    UnknownOperator {
        /// The word.
        operator: String,
    },
    /// A word inside an operator that cannot stand there.
    UnknownForm {
        /// The operator around it.
        operator: &'static str,
        /// The word.
        form: String,
    },
    /// An operator with a value that it does not take.
    Operand {
        /// The operator.
        operator: &'static str,
        /// What it got.
        found: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// Two stars of a wildcard side by side.
    WildcardStars,
    /// A backslash in a wildcard before anything but a star or a backslash.
    WildcardEscape,
    /// Wildcards that a hostile value could make too much of.
    TooComplex {
        /// How many of their beginnings one value can match at once.
        complexity: usize,
        /// How many it may be.
        limit: usize,
    },
    /// An `$or` without a list of two or more objects.
    NoAlternatives {
        /// What is there instead.
        found: &'static str,
    },
    /// A field inside `$or` with a name that the language keeps for itself.
    Reserved {
        /// The name.
        word: String,
    },
    /// `$or` upon `$or` that multiply to more alternatives than one pattern may have.
    TooManyAlternatives {
        /// How many it may have.
        limit: usize,
    },
    /// More fields than must match at once.
    TooManyFields {
        /// How many they may be.
        limit: usize,
    },
    /// Text that is longer than a pattern may be.
    TooLong {
        /// How many bytes it may have.
        limit: usize,
    },
}

impl PatternProblem {
    fn expected(&self) -> String {
        match self {
            Self::Syntax { .. } => "JSON as RFC 8259 defines it".to_owned(),
            Self::NotAnObject => "a JSON object such as {\"type\": [\"order.created\"]}".to_owned(),
            Self::NeitherObjectNorList { .. } => {
                "a list of values to match, or an object of fields".to_owned()
            }
            Self::EmptyObject => "at least one field".to_owned(),
            Self::EmptyList => "at least one value".to_owned(),
            Self::ListInList => "values and operators side by side in one list".to_owned(),
            Self::NotOneOperator { .. } => "exactly one operator in an object".to_owned(),
            Self::UnknownOperator { .. } => format!("use one of {}", operator::NAMES.join(", ")),
            Self::UnknownForm { operator, .. } => {
                format!("use one of {}", operator::nested_names(operator).join(", "))
            }
            Self::Operand { takes, .. } => (*takes).to_owned(),
            Self::WildcardStars => "one star, which stands for any text".to_owned(),
            Self::WildcardEscape => {
                r"\* for a star and \\ for a backslash, each backslash doubled in JSON".to_owned()
            }
            Self::TooComplex { limit, .. } => {
                format!("at most {limit}: fewer stars, or fewer repeats of the same text behind them")
            }
            Self::NoAlternatives { .. } => "a list of two or more objects of fields".to_owned(),
            Self::Reserved { .. } => "a field by another name, or the operator in a field's list".to_owned(),
            Self::TooManyAlternatives { limit } => format!("at most {limit}, over all levels multiplied"),
            Self::TooManyFields { limit } => format!("at most {limit} fields that must match at once"),
            Self::TooLong { limit } => format!("at most {limit} bytes"),
        }
    }
}

impl fmt::Display for PatternProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { what } => return write!(f, "not JSON: {what}"),
            Self::NotAnObject => f.write_str("a pattern must be an object"),
            Self::NeitherObjectNorList { found } => write!(f, "must be an object or a list, not {found}"),
            Self::EmptyObject => f.write_str("an empty object matches nothing"),
            Self::EmptyList => f.write_str("an empty list matches nothing"),
            Self::ListInList => f.write_str("a list cannot stand in a list"),
            Self::NotOneOperator { keys } => write!(f, "{keys} keys in a match expression"),
            Self::UnknownOperator { operator } => write!(f, "unknown operator {operator:?}"),
            Self::UnknownForm { operator, form } => write!(f, "{form:?} cannot stand in {operator:?}"),
            Self::Operand { operator, found, .. } => write!(f, "{operator:?} cannot take {found}"),
            Self::WildcardStars => f.write_str("two stars side by side in a wildcard"),
            Self::WildcardEscape => f.write_str("a wildcard has no such escape"),
            Self::TooComplex { complexity, .. } => {
                write!(f, "too complex: one value could match {complexity} beginnings of wildcards at once")
            }
            Self::NoAlternatives { found } => write!(f, "\"$or\" cannot take {found}"),
            Self::Reserved { word } => write!(f, "no field inside \"$or\" may be called {word:?}"),
            Self::TooManyAlternatives { .. } => f.write_str("too many alternatives"),
            Self::TooManyFields { .. } => f.write_str("too many fields"),
            Self::TooLong { .. } => f.write_str("the pattern is too long"),
        }?;
        write!(f, "; {}", self.expected())
    }
}
