//! `[functions.NAME]`, the functions that triggers bring along, and who uses which.
//!
//! A function may be used before it is declared, so uses are gathered while triggers are read and resolved after them.

use std::collections::BTreeMap;
use std::ops::Range;

use eventail_triggers::function::{Confinement, FunctionOptions, FunctionTargetOptions, OPEN_FILES_DEFAULT};
use eventail_triggers::http::Secret;
use eventail_triggers::policy::DeliveryPolicy;
use eventail_wire::{FunctionName, TriggerName};

use super::amount::{Count, count};
use super::model::Trigger;
use super::problem::{Conflict, Problem};
use super::reader::{Found, Reader, Section};
use super::units::{ByteSize, Duration};
use super::{schema, secret, suggest, target};

/// Fewer is no process of any runtime.
const MEMORY_LEAST: ByteSize = ByteSize::from_bytes(16 << 20);
/// More is a machine of its own.
const MEMORY_MOST: ByteSize = ByteSize::from_bytes(64 << 30);
/// Fewer and no runtime starts: libraries, pipes, its connection.
const OPEN_FILES_LEAST: Count = Count(16);
/// The kernel's own most, as it is shipped.
const OPEN_FILES_MOST: Count = Count(1 << 20);
/// The most that there are process numbers for.
const PROCESSES_MOST: Count = Count(1 << 22);
/// As long as Lambda lets a function run.
const TIMEOUT_MOST: Duration = Duration::from_secs(15 * 60);
/// As Lambda's default.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// As long as Lambda waits on demand.
const INIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Each is a process.
const INSTANCES_MOST: u64 = 1_000;
/// Enough for a burst, and not more than a small machine bears.
const INSTANCES_DEFAULT: usize = 10;
/// Whoever wants to keep an instance longer keeps it with `min_instances`.
const IDLE_TIMEOUT_MOST: Duration = Duration::from_secs(86_400);
/// About what Lambda does.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// What an attempt gets beyond the function's own times, for what the host and the broker do around it.
const LEASE_MARGIN_MS: u64 = 5_000;
/// The shortest time.
const MILLISECOND: Duration = Duration::from_ms(1);

/// Variables that the host sets itself.
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
];

/// How long a call of a function may take, an init included.
pub(crate) const fn lease_ms(function: &FunctionOptions) -> u64 {
    function.timeout_ms + function.init_timeout_ms + LEASE_MARGIN_MS
}

/// The functions of a file while it is read.
#[derive(Default)]
pub(super) struct Functions {
    declared: BTreeMap<FunctionName, Declared>,
    uses: Vec<Use>,
}

/// A function that is declared somewhere.
struct Declared {
    /// The title of the section.
    section: String,
    /// `None` where something is wrong with it, which was noted.
    options: Option<FunctionOptions>,
}

/// A trigger that invokes a function.
struct Use {
    trigger: TriggerName,
    function: FunctionName,
    place: Range<usize>,
    /// The trigger's own timeout, where it says one.
    timeout: Option<(u64, Range<usize>)>,
}

impl Functions {
    /// Reads `[functions]`.
    pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> Self {
        let mut functions = Self::default();
        let Some(found) = root.get("functions") else { return functions };
        for entry in found.entries(reader) {
            let name = name(reader, &entry.key, &entry.key_span);
            let Some(table) = entry.table(reader) else { continue };
            let path = format!("functions.{}", entry.key);
            let section = Section::new(reader, path, entry.key_span.clone(), table, schema::FUNCTION);
            if section.get("command").is_none() {
                let problem = Problem::MissingKey { key: "command", section: section.title() };
                reader.note(problem, &section.span);
            }
            let Some(name) = name else { continue };
            functions.declare(reader, &section, name, &section.span);
        }
        functions
    }

    /// Reads the function that stands in this section.
    fn declare(
        &mut self,
        reader: &mut Reader<'_>,
        section: &Section<'_>,
        name: FunctionName,
        place: &Range<usize>,
    ) {
        let options = read_options(reader, section, &name);
        if let Some(first) = self.declared.get(&name) {
            let (first, second) = (first.section.clone(), section.title());
            reader.note(Problem::FunctionTwice { name: name.to_string(), first, second }, place);
            return;
        }
        self.declared.insert(name, Declared { section: section.title(), options });
    }

    /// Reads `target.function` of a trigger: a name, a table with a name, or a table that declares the function.
    pub(super) fn read_target(
        &mut self,
        reader: &mut Reader<'_>,
        trigger: (&Section<'_>, Option<&TriggerName>),
        target: &Section<'_>,
        policy: &DeliveryPolicy,
    ) -> Option<FunctionTargetOptions> {
        let found = target.get("function")?;
        let (trigger, trigger_name) = trigger;
        let (function, place, payload) = if let Some(text) = found.value.as_str() {
            (name(reader, text, &found.span)?, found.span, None)
        } else {
            let section = target.section(reader, "function", schema::FUNCTION_TARGET)?;
            let payload = target::payload(reader, &section);
            let (function, place) = self.named(reader, &section, trigger_name)?;
            (function, place, payload)
        };
        let timeout = trigger.get("timeout").map(|found| (policy.timeout_ms, found.span));
        let used = Use { trigger: trigger_name?.clone(), function: function.clone(), place, timeout };
        self.uses.push(used);
        Some(FunctionTargetOptions { function, payload: payload.unwrap_or_default() })
    }

    /// The function of a table, and where it is named; declared where the table does that.
    fn named(
        &mut self,
        reader: &mut Reader<'_>,
        section: &Section<'_>,
        trigger: Option<&TriggerName>,
    ) -> Option<(FunctionName, Range<usize>)> {
        let given = section.string(reader, "name");
        if section.get("command").is_some() {
            let (text, place) = match (&given, section.get("name")) {
                (Some((text, found)), _) => (*text, found.span.clone()),
                (None, Some(_)) => return None,
                (None, None) => (trigger?.as_str(), section.span.clone()),
            };
            let name = name(reader, text, &place)?;
            self.declare(reader, section, name.clone(), &place);
            return Some((name, place));
        }
        for key in schema::FUNCTION.iter().filter_map(|key| section.get(key)) {
            let conflict = Conflict::FunctionKeyWithoutCommand;
            reader.note(Problem::Conflict { key: key.key.clone(), conflict }, &key.key_span);
        }
        if section.get("name").is_none() {
            let problem = Problem::MissingOneOf { keys: &["name", "command"], section: section.title() };
            reader.note(problem, &section.span);
        }
        let (text, found) = given?;
        Some((name(reader, text, &found.span)?, found.span))
    }

    /// Finds what each trigger uses, gives it its time, and hands over all functions that are right.
    pub(super) fn resolve(
        self,
        reader: &mut Reader<'_>,
        triggers: &mut BTreeMap<TriggerName, Trigger>,
    ) -> BTreeMap<FunctionName, FunctionOptions> {
        for used in &self.uses {
            let Some(declared) = self.declared.get(&used.function) else {
                let known = self.declared.keys().map(FunctionName::as_str);
                let suggestion = suggest::nearest(used.function.as_str(), known).map(str::to_owned);
                let problem = Problem::UnknownFunction { name: used.function.to_string(), suggestion };
                reader.note(problem, &used.place);
                continue;
            };
            let Some(options) = &declared.options else { continue };
            match &used.timeout {
                Some((timeout, span)) => check_timeout(reader, *timeout, span, options),
                None => {
                    if let Some(trigger) = triggers.get_mut(&used.trigger) {
                        trigger.policy.timeout_ms = lease_ms(options);
                    }
                }
            }
        }
        self.declared.into_iter().filter_map(|(name, declared)| Some((name, declared.options?))).collect()
    }
}

/// An attempt that ends before the function may would give the event to a second instance while the first still works on it.
fn check_timeout(reader: &mut Reader<'_>, timeout: u64, span: &Range<usize>, function: &FunctionOptions) {
    if timeout >= function.timeout_ms {
        return;
    }
    let shown = |ms| Duration::from_ms(ms).to_string();
    let conflict = Conflict::EndsBeforeFunction {
        value: shown(timeout),
        function: function.name.to_string(),
        function_timeout: shown(function.timeout_ms),
    };
    reader.note(Problem::Conflict { key: "timeout".to_owned(), conflict }, span);
}

fn name(reader: &mut Reader<'_>, text: &str, place: &Range<usize>) -> Option<FunctionName> {
    FunctionName::new(text)
        .map_err(|source| reader.note(Problem::Name { name: text.to_owned(), source }, place))
        .ok()
}

fn read_options(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    name: &FunctionName,
) -> Option<FunctionOptions> {
    let command = section.get("command").and_then(|found| read_command(reader, &found));
    let directory = section.string(reader, "directory").map(|(path, _)| reader.path(path));
    let environment = section.get("environment").map(|found| read_environment(reader, &found));
    let handler = section.string(reader, "handler").map(|(handler, _)| handler.to_owned());
    let memory = section.amount(reader, "memory", MEMORY_LEAST..=MEMORY_MOST);
    let confinement = read_confinement(reader, section);
    let timeout = section.amount(reader, "timeout", MILLISECOND..=TIMEOUT_MOST);
    let init_timeout = section.amount(reader, "init_timeout", MILLISECOND..=TIMEOUT_MOST);
    let min = count(section.amount(reader, "min_instances", Count(0)..=Count(INSTANCES_MOST)));
    let max = count(section.amount(reader, "max_instances", Count(1)..=Count(INSTANCES_MOST)));
    let idle_timeout = section.amount(reader, "idle_timeout", MILLISECOND..=IDLE_TIMEOUT_MOST);
    let (min, max) = (min.unwrap_or(0), max.unwrap_or(INSTANCES_DEFAULT));
    if min > max
        && let Some(found) = section.get("min_instances")
    {
        let (value, other_value) = (min.to_string(), max.to_string());
        let conflict = Conflict::MoreThan { value, other: "max_instances", other_value };
        reader.note(Problem::Conflict { key: found.key, conflict }, &found.span);
    }
    Some(FunctionOptions {
        name: name.clone(),
        command: command?,
        directory,
        environment: environment.unwrap_or_default(),
        handler,
        memory_mb: memory.and_then(|bytes| u32::try_from(bytes >> 20).ok()),
        confinement,
        timeout_ms: timeout.unwrap_or(TIMEOUT_DEFAULT.as_ms()),
        init_timeout_ms: init_timeout.unwrap_or(INIT_TIMEOUT_DEFAULT.as_ms()),
        min_instances: min,
        max_instances: max,
        idle_timeout_ms: idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT.as_ms()),
    })
}

/// Who it runs as, and what it may have beside memory.
fn read_confinement(reader: &mut Reader<'_>, section: &Section<'_>) -> Confinement {
    let mut name = |key| {
        let (name, found) = section.string(reader, key)?;
        // In the files of users a colon ends a name, and a line the entry.
        let is_name = !name.is_empty() && !name.contains([':', '\n', '\0']);
        if !is_name {
            reader.note(Problem::NoAccount { key: found.key, name: name.to_owned() }, &found.span);
        }
        is_name.then(|| name.to_owned())
    };
    let (user, group) = (name("user"), name("group"));
    if section.get("user").is_none() {
        let without = [
            (section.get("group"), Conflict::GroupWithoutUser),
            (section.get("processes_max"), Conflict::ProcessesWithoutUser),
        ];
        for (found, conflict) in without {
            if let Some(found) = found {
                reader.note(Problem::Conflict { key: found.key.clone(), conflict }, &found.key_span);
            }
        }
    }
    let open_files = section.amount(reader, "open_files_max", OPEN_FILES_LEAST..=OPEN_FILES_MOST);
    let processes_max = section.amount(reader, "processes_max", Count(1)..=PROCESSES_MOST);
    Confinement { user, group, open_files_max: open_files.unwrap_or(OPEN_FILES_DEFAULT), processes_max }
}

/// A program and its arguments, all strings that a process can be given.
fn read_command(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Vec<String>> {
    if !found.value.is_array() {
        reader.note(found.wrong_type("an array of strings"), &found.span);
        return None;
    }
    let items = found.items(reader);
    let command: Option<Vec<String>> = items
        .iter()
        .map(|item| item.string(reader).map(str::to_owned))
        // All of them are looked at, so that every wrong one is told.
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    let command = command?;
    let runs = command.first().is_some_and(|program| !program.is_empty());
    if !runs || command.iter().any(|word| word.contains('\0')) {
        reader.note(Problem::NoProgram { key: found.key.clone() }, &found.span);
        return None;
    }
    Some(command)
}

fn read_environment(reader: &mut Reader<'_>, found: &Found<'_>) -> Vec<(String, Secret)> {
    let mut variables = Vec::new();
    for entry in found.entries(reader) {
        let why = match entry.key.as_str() {
            "" => Some("it has no name"),
            key if key.contains(['=', '\0']) => Some("its name has a character that no name has"),
            key if RESERVED_VARIABLES.contains(&key) => Some("the host sets it"),
            _ => None,
        };
        if let Some(why) = why {
            reader.note(Problem::Variable { name: entry.key.clone(), why }, &entry.key_span);
        }
        let Some(value) = secret::read_or_text(reader, &entry) else { continue };
        if value.expose().contains('\0') {
            let why = "its value has a NUL character";
            reader.note(Problem::Variable { name: entry.key.clone(), why }, &entry.key_span);
            continue;
        }
        variables.push((entry.key, value));
    }
    variables
}
