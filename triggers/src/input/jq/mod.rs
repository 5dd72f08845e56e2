//! Inputs in jq, by jaq: `{ id: .data.order.id, total: [.data.lines[].price] | add }`.
//!
//! `.` is what `$` is for paths. The first result is the input, always JSON; an error, or no result, is a failed transform.
//! An expression has jq's library without the clock, the environment, further inputs, files, logs and regular expressions,
//! so that the same event makes the same input.
//!
//! An expression may be hostile or simply wrong, and the broker must live: it may take [`JQ_STEPS_MAX`] steps (see [`meter`]
//! for what is one), and runs on a stack of its own, of which it may use a part. What nests more deeply than that ends in
//! an error, and there is room for all that it built to be taken down again. Expressions are compiled on such a stack, too.

mod library;
mod meter;
mod value;

use std::thread;

use eventail_wire::limits;
use jaq_core::data::HasLut;
use jaq_core::load::{self, Arena, File, Loader, span};
use jaq_core::{Compiler, Ctx, DataT, Lut, Native, Vars, compile};
use jaq_json::Val;

use self::meter::Stop;
use self::value::Value;
use super::document::{self, Extent};
use super::error::{InputError, TextPlace, TransformError};
use super::{InputContext, Rendered};

/// Steps of one rendering: some milliseconds.
pub const JQ_STEPS_MAX: u64 = 100_000;
/// Bytes of an expression. Its parser calls itself for every bracket.
pub const JQ_BYTES_MAX: usize = 8 << 10;

/// The stack that expressions run on. It is reserved, and only taken as far as it is used. What an
/// expression builds may be nested once for every step or two, and is taken down by functions that call themselves.
const STACK_BYTES: usize = 64 << 20;
/// What of it an evaluation may use.
const EVALUATION_STACK_BYTES: usize = 8 << 20;
/// The stack that expressions are compiled on: the parser may call itself for every byte.
const COMPILE_STACK_BYTES: usize = 128 << 20;
/// Of an error's text, in bytes: it may quote the event.
const MESSAGE_BYTES_MAX: usize = 512;

/// jaq with our values, and with steps that are counted.
struct Machine;

impl DataT for Machine {
    type V<'a> = Value;
    type Data<'a> = Table<'a>;
}

/// The table of terms.
#[derive(Clone, Copy)]
struct Table<'a>(&'a Lut<Machine>);

impl<'a> HasLut<'a, Machine> for Table<'a> {
    fn lut(&self) -> &'a Lut<Machine> {
        // Asked for by every term before it is evaluated.
        meter::take(1);
        self.0
    }
}

/// A compiled expression.
pub(super) struct Jq {
    text: String,
    filter: compile::Filter<Native<Machine>>,
}

impl std::fmt::Debug for Jq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Jq").field(&self.text).finish()
    }
}

impl Jq {
    pub(super) fn compile(text: &str) -> Result<Self, InputError> {
        if text.len() > JQ_BYTES_MAX {
            return Err(InputError::JqTooLong { bytes: text.len(), most: JQ_BYTES_MAX });
        }
        let refused = |(at, why)| InputError::Jq { place: TextPlace::of(text, at), why };
        let compiled = on_own_stack(COMPILE_STACK_BYTES, || compile_here(text));
        let compiled = compiled.map_err(|why| InputError::JqThread { why })?;
        let filter = compiled.unwrap_or_else(|| Err((0, "its compiler broke down over it".to_owned())));
        Ok(Self { text: text.to_owned(), filter: filter.map_err(refused)? })
    }

    pub(super) fn render(&self, context: &InputContext<'_>) -> Result<Rendered, TransformError> {
        let mut event = Vec::with_capacity(context.event.as_bytes().len() + 256);
        document::write(context.event, Extent::Whole, &mut event);
        let ran = on_own_stack(STACK_BYTES, || {
            let evaluation = meter::run(JQ_STEPS_MAX, EVALUATION_STACK_BYTES, || self.evaluate(&event));
            evaluation.unwrap_or_else(|stop| Err(stopped(stop)))
        });
        let result = ran.map_err(|why| TransformError::JqThread { why })?;
        result.unwrap_or_else(|| Err(stopped(Stop::Broken)))
    }

    fn evaluate(&self, event: &[u8]) -> Result<Rendered, TransformError> {
        let no_result = |why: &str| TransformError::JqResult { why: why.to_owned() };
        let event =
            library::read_json(event).map_err(|why| TransformError::Jq { message: why.to_owned() })?;
        let context = Ctx::<Machine>::new(Table(&self.filter.lut), Vars::new([]));
        let mut results = self.filter.id.run((context, Value(event)));
        let value = match results.next() {
            None => return Err(TransformError::JqNothing),
            Some(Ok(value)) => value,
            Some(Err(exception)) => {
                let mut message = match exception.get_err() {
                    Ok(error) => said(error.into_val()),
                    Err(_) => "a break without its label".to_owned(),
                };
                message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
                return Err(TransformError::Jq { message });
            }
        };
        let text = value.to_string();
        if text.len() > limits::INPUT_BYTES_MAX {
            return Err(TransformError::TooLarge { most: limits::INPUT_BYTES_MAX });
        }
        // jaq's values are more than JSON's: not a number, bytes, keys that are no strings.
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
            return Err(no_result(
                "it has a number, a key or bytes that JSON has not, or is nested too deeply",
            ));
        }
        Ok(Rendered { bytes: text.into(), is_json: true })
    }
}

/// An error's value for people: a string without its quotes.
fn said(value: Value) -> String {
    match value.0 {
        Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
        other => Value(other).to_string(),
    }
}

fn stopped(stop: Stop) -> TransformError {
    match stop {
        Stop::Steps => TransformError::JqSteps { most: JQ_STEPS_MAX },
        Stop::Depth => TransformError::JqDepth,
        Stop::Broken => TransformError::Jq { message: "the evaluation broke down".to_owned() },
    }
}

/// Runs `work` on a large stack. `Err` where the system has none, `None` where `work` panicked.
fn on_own_stack<T: Send>(stack_bytes: usize, work: impl FnOnce() -> T + Send) -> Result<Option<T>, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("eventail-jq".to_owned()).stack_size(stack_bytes);
        let thread = builder.spawn_scoped(scope, work).map_err(|error| error.to_string())?;
        Ok(thread.join().ok())
    })
}

type Refusal = (usize, String);

fn compile_here(text: &str) -> Result<compile::Filter<Native<Machine>>, Refusal> {
    let arena = Arena::default();
    let file = File { code: text, path: () };
    let modules = Loader::new(library::definitions()).load(&arena, file).map_err(|errors| {
        let mut refusals = errors.into_iter().map(|(_, error)| loading(text, error));
        refusals.next().unwrap_or((0, "it cannot be read".to_owned()))
    })?;
    Compiler::default().with_funs(library::functions()).compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, undefined)| undefined).next();
        first.map_or((0, "it cannot be compiled".to_owned()), |(name, undefined)| {
            let arity = match undefined {
                compile::Undefined::Filter(arity) => format!("/{arity}"),
                _ => String::new(),
            };
            (place(text, name), format!("there is no {} `{name}{arity}`", undefined.as_str()))
        })
    })
}

fn loading(text: &str, error: load::Error<&str>) -> Refusal {
    match error {
        load::Error::Io(imports) => {
            let at = imports.first().map_or(0, |(import, _)| place(text, import));
            (at, "modules cannot be imported".to_owned())
        }
        load::Error::Lex(errors) => {
            errors.into_iter().next().map_or((0, "it cannot be read".to_owned()), |(expected, found)| {
                (place(text, found), format!("{} must come here", expected.as_str()))
            })
        }
        load::Error::Parse(errors) => {
            errors.into_iter().next().map_or((0, "it cannot be read".to_owned()), |(expected, found)| {
                (place(text, found), format!("{} must come here", expected.as_str()))
            })
        }
    }
}

/// Where `part` stands in `text`; at the beginning, where it is from elsewhere.
fn place(text: &str, part: &str) -> usize {
    let (whole, inner) = (text.as_bytes().as_ptr_range(), part.as_bytes().as_ptr_range());
    if whole.start <= inner.start && inner.end <= whole.end { span(text, part).start } else { 0 }
}
