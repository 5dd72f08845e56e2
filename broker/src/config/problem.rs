//! What can be wrong with a configuration, one variant for each kind. No variant ever holds a secret's value.

use std::sync::Arc;

use eventail_triggers::http::{AddressRangeError, HttpTargetError, OriginError, PortRangeError};
use eventail_triggers::input::InputError;
use eventail_triggers::key::KeyPathError;
use eventail_triggers::lambda::LambdaTargetError;
use eventail_triggers::pattern::PatternError;
use eventail_triggers::schedule::{ScheduleError, UnknownZone};
use eventail_wire::{EventError, NameError, TopicName, limits};

use super::units::UnitError;
use crate::auth::PermissionError;
use crate::lambda_name::LambdaNameError;

/// One thing that is wrong. It prints as one line; [`Problem::help`] is the next step.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("the configuration cannot be read: {source}")]
    Unreadable {
        /// The system's word.
        source: Arc<std::io::Error>,
    },
    /// The file is not TOML.
    #[error("this is not TOML: {message}")]
    Syntax {
        /// The parser's word.
        message: String,
    },
    /// Files that are to be included and cannot be read.
    #[error("{pattern} cannot be included: {source}")]
    Include {
        /// What was written, with its folder.
        pattern: String,
        /// The system's word.
        source: Arc<std::io::Error>,
    },
    /// More files than anybody writes.
    #[error("more than {limit} files are included")]
    TooManyIncluded {
        /// How many may be.
        limit: usize,
    },
    /// More tests than can be run at each reload.
    #[error("there are more than {limit} tests")]
    TooManyTests {
        /// How many may be.
        limit: usize,
    },
    /// The event of a test that is none.
    #[error("`{key}` is no event: {why}")]
    TestEvent {
        /// Whose value.
        key: String,
        /// Why not.
        why: String,
    },
    /// A test says what a trigger has to send that is not to match.
    #[error("`{name}` is not among the `triggers` of this test")]
    InputOfNone {
        /// What was written.
        name: String,
    },
    /// A key that only the first file may have.
    #[error("`{key}` cannot stand in a file that is included")]
    NotIncluded {
        /// Which.
        key: String,
    },
    /// A name that two files have.
    #[error("`{key}` stands in another file already")]
    Twice {
        /// Which.
        key: String,
    },
    /// The braces of a variable are not closed.
    #[error("a variable begins with `${{` here and does not end with `}}`")]
    OpenVariable,
    /// A variable's name that is none.
    #[error("{name:?} is no name of an environment variable")]
    VariableName {
        /// What was written.
        name: String,
    },
    /// A variable that is not set, or is empty.
    #[error("the environment variable {name} is not set")]
    UnsetVariable {
        /// Which.
        name: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {section}")]
    UnknownKey {
        /// What was written.
        key: String,
        /// Where.
        section: String,
        /// What was meant, probably.
        suggestion: Option<&'static str>,
        /// The section where such a key exists.
        home: Option<&'static str>,
        /// The keys that the section has.
        known: &'static [&'static str],
    },
    /// A key that must be there is not.
    #[error("{section} needs `{key}`")]
    MissingKey {
        /// Which.
        key: &'static str,
        /// Where.
        section: String,
    },
    /// A user or a group that can be none.
    #[error("`{key}` is {name:?}, which is no name of a user or group")]
    NoAccount {
        /// Whose value.
        key: String,
        /// What was written.
        name: String,
    },
    /// None of some keys is there, of which one must be.
    #[error("{section} needs {}", or(keys))]
    MissingOneOf {
        /// Which.
        keys: &'static [&'static str],
        /// Where.
        section: String,
    },
    /// Two targets of one trigger.
    #[error("{section} has `{first}` and `{second}`, and a trigger has one target")]
    SecondTarget {
        /// Where.
        section: String,
        /// The first of them.
        first: &'static str,
        /// The one that is pointed at.
        second: &'static str,
    },
    /// Two inputs of one trigger.
    #[error("{section} has `{first}` and `{second}`, and an input is one of them")]
    SecondInput {
        /// Where.
        section: String,
        /// The first of them.
        first: &'static str,
        /// The one that is pointed at.
        second: &'static str,
    },
    /// An input that is refused.
    #[error("`{key}` is refused: {source}")]
    Input {
        /// Which of them.
        key: String,
        /// Why.
        source: InputError,
    },
    /// A constant input with a value that JSON has not.
    #[error("`{key}` has {found}, which JSON has not")]
    InputValue {
        /// Whose value.
        key: String,
        /// What it has.
        found: &'static str,
    },
    /// A value of the wrong type.
    #[error("`{key}` must be {expected}, and this is {found}")]
    WrongType {
        /// Whose value.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A duration or size that cannot be read.
    #[error("`{key}`: {source}")]
    Unit {
        /// Whose value.
        key: String,
        /// What is wrong with it.
        source: UnitError,
        /// What it should look like.
        form: &'static str,
    },
    /// A value outside of its limits.
    #[error("`{key}` is {value}, and must be {least} to {most}")]
    OutOfRange {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
        /// The least that it may be.
        least: String,
        /// The most that it may be.
        most: String,
    },
    /// A name that is not one.
    #[error("`{name}` cannot be a name: {source}")]
    Name {
        /// What was written.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A word that is none of those allowed.
    #[error("`{key}` cannot be {value:?}")]
    UnknownChoice {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
        /// What was meant, probably.
        suggestion: Option<&'static str>,
        /// What it may be.
        allowed: &'static [&'static str],
    },
    /// An address to listen at that is not one.
    #[error("`{key}`: {value:?} is no address to listen at")]
    Address {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
    },
    /// A network that is not one.
    #[error("`{key}`: {value:?} is no network: {source}")]
    Network {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        source: AddressRangeError,
    },
    /// A URL that a target cannot have. The URL itself is not told: it may hold a password.
    #[error("`{key}` is no URL that can be called: {why}")]
    Url {
        /// Whose value.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A permission that is none.
    #[error("`{key}`: {source}")]
    Permission {
        /// Whose value.
        key: String,
        /// What is wrong with it.
        source: PermissionError,
    },
    /// An origin that no browser sends.
    #[error("{value:?} is no origin of a web page")]
    PageOrigin {
        /// What was written.
        value: String,
    },
    /// A host's name that is not one.
    #[error("{name:?} is no host that a URL can name")]
    HostName {
        /// What was written.
        name: String,
    },
    /// A header's name that is not one.
    #[error("{name:?} is no name of a header")]
    HeaderName {
        /// What was written.
        name: String,
    },
    /// Two ways of saying who sends a target's requests.
    #[error("{section} has `{first}` and `{second}`, and a target takes one of them")]
    SecondAuth {
        /// Where.
        section: String,
        /// The first of them.
        first: &'static str,
        /// The one that is pointed at.
        second: &'static str,
    },
    /// Ports that are none.
    #[error("`{key}`: {value:?} are no ports: {source}")]
    Ports {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        source: PortRangeError,
    },
    /// A sender's name that is none.
    #[error("`{key}` cannot be {value:?}: {source}")]
    Origin {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        source: OriginError,
    },
    /// Something that an HTTP target cannot be made with.
    #[error("{source}")]
    Target {
        /// What, and why.
        source: HttpTargetError,
    },
    /// A Lambda target that cannot be.
    #[error("{source}")]
    LambdaTarget {
        /// What, and why.
        source: LambdaTargetError,
    },
    /// A status that is not one.
    #[error("{status:?} is no status that a target can answer")]
    Status {
        /// What was written.
        status: String,
    },
    /// A function that nobody declares.
    #[error("there is no function `{name}`")]
    UnknownFunction {
        /// What was written.
        name: String,
        /// What was meant, probably.
        suggestion: Option<String>,
    },
    /// Two functions of one name.
    #[error("the function `{name}` is declared twice: in {first} and in {second}")]
    FunctionTwice {
        /// The name.
        name: String,
        /// Where first.
        first: String,
        /// Where again.
        second: String,
    },
    /// A command without a program.
    #[error("`{key}` names no program")]
    NoProgram {
        /// Whose value.
        key: String,
    },
    /// A variable that a function cannot be given.
    #[error("`{name}` cannot be a variable of a function: {why}")]
    Variable {
        /// What was written.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A name or ARN of a Lambda function that is none.
    #[error("`{key}`: {value:?} names no Lambda function: {source}")]
    LambdaName {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        source: LambdaNameError,
    },
    /// A target that this program was built without.
    #[error("`{key}` is not in this build of eventail: it was built without the feature `{feature}`")]
    NotBuilt {
        /// The key.
        key: String,
        /// The cargo feature.
        feature: &'static str,
    },
    /// An access key id that no request can be signed with.
    #[error("{id:?} cannot be an access key id")]
    AccessKeyId {
        /// What was written.
        id: String,
    },
    /// A secret that is there and has nothing in it.
    #[error("`{key}` is an empty secret")]
    EmptySecret {
        /// Whose value.
        key: String,
    },
    /// A start position that is not one.
    #[error("`{key}` is no place to start from: {value:?}")]
    Start {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
    },
    /// A place of the ordering key that is not one.
    #[error("{source}")]
    KeyPath {
        /// Why not.
        source: KeyPathError,
    },
    /// An expression that is no schedule.
    #[error("`{key}` is no schedule: {source}")]
    Schedule {
        /// Whose value.
        key: String,
        /// Why not.
        source: ScheduleError,
    },
    /// A time zone that does not exist.
    #[error("`{key}`: {source}")]
    TimeZone {
        /// Whose value.
        key: String,
        /// What was written.
        source: UnknownZone,
        /// What was meant, probably.
        suggestion: Option<String>,
    },
    /// A moment that is none.
    #[error("`{key}` is no moment: {value:?}")]
    Moment {
        /// Whose value.
        key: String,
        /// What was written.
        value: String,
    },
    /// A trigger that nobody declares.
    #[error("there is no trigger `{name}`")]
    UnknownTrigger {
        /// What was written.
        name: String,
        /// What was meant, probably.
        suggestion: Option<String>,
    },
    /// An event that a schedule could not send.
    #[error("{section} cannot send its event: {source}")]
    ScheduledEvent {
        /// The schedule.
        section: String,
        /// Why not.
        source: EventError,
    },
    /// A text that is not JSON.
    #[error("`{key}` is not JSON: {source}")]
    Json {
        /// Whose value.
        key: String,
        /// The parser's word.
        source: Arc<serde_json::Error>,
    },
    /// A value that JSON does not have.
    #[error("`{key}` has {found}, which JSON does not have")]
    NotJson {
        /// Whose value.
        key: String,
        /// What it has.
        found: &'static str,
    },
    /// A pattern that is refused.
    #[error("`{key}{}` is refused: {}", source.path, source.problem)]
    Pattern {
        /// Whose value.
        key: String,
        /// Why.
        source: PatternError,
        /// Whether it is written as JSON, so that the lines and columns of the error are ones that can be looked up.
        is_json: bool,
    },
    /// A pattern with a value that JSON does not have.
    #[error("`{key}` has {found}, which no JSON value is equal to")]
    PatternValue {
        /// Whose value.
        key: String,
        /// What it has.
        found: &'static str,
    },
    /// A pattern's file that cannot be read.
    #[error("`{key}`: {path} cannot be read: {source}")]
    PatternFile {
        /// Whose value.
        key: String,
        /// The file.
        path: String,
        /// The system's word.
        source: Arc<std::io::Error>,
    },
    /// Wildcards of a topic's triggers that a hostile event could make too much of.
    #[error(
        "`{key}`: the wildcards of topic `{topic}` are too complex together: {complexity}, and {} are the limit",
        limits::TOPIC_COMPLEXITY_MAX
    )]
    TooManyWildcards {
        /// Whose value made it too much.
        key: String,
        /// The topic.
        topic: TopicName,
        /// What they add up to.
        complexity: usize,
    },
    /// A secret that is written into the file.
    #[error("`{key}` is a secret and must not be written into the file")]
    InlineSecret {
        /// Whose value.
        key: String,
    },
    /// A secret that says both or neither of its two sources.
    #[error("`{key}` needs one of `env` and `file`")]
    SecretSource {
        /// Whose value.
        key: String,
    },
    /// The environment variable of a secret is not set.
    #[error("`{key}`: the environment variable {variable} is not set")]
    MissingVariable {
        /// Whose value.
        key: String,
        /// The variable.
        variable: String,
    },
    /// The file of a secret cannot be read.
    #[error("`{key}`: the file {path} cannot be read: {source}")]
    SecretFile {
        /// Whose value.
        key: String,
        /// The file.
        path: String,
        /// The system's word.
        source: Arc<std::io::Error>,
    },
    /// Two values that do not go together.
    #[error("`{key}` {conflict}")]
    Conflict {
        /// The one that is pointed at.
        key: String,
        /// What is wrong, and with what.
        conflict: Conflict,
    },
}

/// Values that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The first must not be more than the second.
    #[error("is {value}, which is more than `{other}`, {other_value}")]
    MoreThan {
        /// The value.
        value: String,
        /// The other key.
        other: &'static str,
        /// Its value.
        other_value: String,
    },
    /// The dead letters would be delivered to the trigger that gave up on them.
    #[error("is the topic that the trigger reads: what it gives up on would come back to it")]
    DeadLettersReturn,
    /// Replies among dead letters could not be told from them.
    #[error("is the trigger's dead-letter topic, and replies are no dead letters")]
    RepliesAmongDeadLetters,
    /// A key is only looked at with `ordering = "key"`.
    #[error("does nothing without `ordering = \"key\"`")]
    KeyWithoutOrdering,
    /// Batches are sent as CloudEvents.
    #[error("does not go with `mode = \"raw\"`: a batch is sent as application/cloudevents-batch+json")]
    BatchOfRaw,
    /// Each event has a request of its own.
    #[error(
        "does not go with places such as `{{$.data.id}}` in the target's URL or headers: each event has a request of its own then"
    )]
    BatchOfPlaces,
    /// Nothing else has places.
    #[error("does nothing without `template`")]
    PathsWithoutTemplate,
    /// A reply belongs to one event.
    #[error("does not go with `reply_topic`: a reply answers one event")]
    BatchWithReplies,
    /// Lambda takes an asynchronous call before the function runs.
    #[error("does nothing with `invocation = \"async\"`: nobody waits for the function's answer")]
    RepliesOfAsync,
    /// A topic answers nothing.
    #[error("does nothing with `target.topic`: a topic answers nothing")]
    RepliesOfTopic,
    /// What is routed among dead letters could not be told from them.
    #[error("is the trigger's dead-letter topic, and what is routed there is no dead letter")]
    RoutedAmongDeadLetters,
    /// An attempt would end before the function may.
    #[error("is {value}, which is less than the `timeout` of the function `{function}`, {function_timeout}")]
    EndsBeforeFunction {
        /// The value.
        value: String,
        /// The function.
        function: String,
        /// How long it may take.
        function_timeout: String,
    },
    /// Only the place where a function is declared says how it runs.
    #[error("belongs to where a function is declared, and without a `command` here that is elsewhere")]
    FunctionKeyWithoutCommand,
    /// The broker's own group is its own user's.
    #[error("does nothing without `user`")]
    GroupWithoutUser,
    /// The kernel counts them by user, so the broker's own and everything else of its user would count.
    #[error("needs a `user`: the kernel counts all processes of a user, the broker's own among them")]
    ProcessesWithoutUser,
    /// The ARN says it otherwise.
    #[error("is {value:?}, and the ARN in `function` says {of_arn:?}")]
    NotAsInArn {
        /// The value.
        value: String,
        /// What the ARN has at this place.
        of_arn: String,
    },
    /// A schedule has one of them.
    #[error("does not go with `trigger`: a schedule publishes to a topic or calls a trigger's target")]
    TopicAndTrigger,
    /// A moment comes once, whatever lies around it.
    #[error("does nothing with `at(...)`, which comes once")]
    BoundOfMoment,
    /// No run would ever go.
    #[error("is not after `start`")]
    EndsBeforeStart,
    /// A cap of what is not done.
    #[error("does nothing without `missed = \"all\"`")]
    CapWithoutAll,
    /// The trigger would get what is meant for it twice.
    #[error("reads the topic `schedules`, through which a schedule reaches it: it would get each run twice")]
    ReadsSchedules,
    /// A state cannot be moved from what still has it.
    #[error("names the trigger `{0}`, which is still in the configuration")]
    RenamedFromPresent(String),
    /// One state cannot be moved to two.
    #[error("names `{old}`, as that of the trigger `{other}` does")]
    RenamedTwice {
        /// What both were called.
        old: String,
        /// The other one.
        other: String,
    },
}

/// `one of `a`, `b` and `c``.
fn or(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.split_last() {
        Some((last, first @ [_, ..])) => format!("one of {} and {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

impl Problem {
    /// What to do about it, where that can be told.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let quoted =
            |words: &[&str]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        Some(match self {
            Self::NotIncluded { .. } => format!(
                "it may have {}; everything else belongs into the first file",
                super::document::INCLUDED_KEYS.join(", ")
            ),
            Self::UnsetVariable { name } => format!("set it, or write `${{{name}:-default}}`"),
            Self::OpenVariable => "write `$${` for the two characters themselves".to_owned(),
            Self::UnknownKey { suggestion: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::UnknownKey { home: Some(home), key, .. } => format!("`{key}` is a key of {home}"),
            Self::UnknownKey { known, .. } => format!("the keys here are {}", known.join(", ")),
            Self::UnknownChoice { suggestion: Some(near), allowed, .. } => {
                format!("did you mean {near:?}? It may be {}", quoted(allowed))
            }
            Self::UnknownChoice { allowed, .. } => format!("it may be {}", quoted(allowed)),
            Self::UnknownFunction { suggestion: Some(near), .. } => format!("did you mean {near:?}?"),
            Self::UnknownFunction { name, .. } => {
                format!("declare it in [functions.{name}], or give its `command` here")
            }
            Self::Schedule { .. } => {
                "write for instance \"cron(0 8 ? * MON-FRI *)\", \"rate(5 minutes)\" or \"at(2027-01-31T08:30:00)\""
                    .to_owned()
            }
            Self::TimeZone { suggestion: Some(near), .. } | Self::UnknownTrigger { suggestion: Some(near), .. } => {
                format!("did you mean {near:?}?")
            }
            Self::TimeZone { .. } => "write an IANA name, such as \"Europe/Paris\" or \"UTC\"".to_owned(),
            Self::UnknownTrigger { name, .. } => format!("declare it in [triggers.{name}]"),
            Self::Moment { .. } => {
                "write a time with its zone, such as \"2026-11-23T10:00:00Z\"".to_owned()
            }
            Self::Json { .. } => "write a table, or JSON in a string, such as '{\"total\":7}'".to_owned(),
            Self::NotBuilt { feature, .. } => format!("build it with `--features {feature}`"),
            Self::Unit { form, .. } => format!("write {form}"),
            Self::MissingVariable { variable, .. } => {
                format!("set {variable}, or write {{ file = \"path\" }}")
            }
            Self::Conflict { conflict: Conflict::KeyWithoutOrdering, .. } => {
                "add `ordering = \"key\"`, or take the key away".to_owned()
            }
            Self::Conflict { conflict: Conflict::FunctionKeyWithoutCommand, .. } => {
                "write it into [functions.NAME], or give the `command` here".to_owned()
            }
            Self::Conflict { conflict: Conflict::EndsBeforeFunction { .. }, .. } => {
                "leave it out to give the function its time".to_owned()
            }
            Self::Pattern { source, is_json: true, .. } => {
                format!("look at line {}, column {} of the pattern", source.line, source.column)
            }
            Self::TooManyWildcards { .. } => "use prefixes and suffixes, or spread them over topics".to_owned(),
            Self::Conflict { conflict: Conflict::DeadLettersReturn, .. } => "name another topic".to_owned(),
            _ => return self.form().map(str::to_owned),
        })
    }

    /// How a value of this kind is written.
    const fn form(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoProgram { .. } => {
                "write the program and its arguments, such as [\"python3\", \"-m\", \"awslambdaric\", \"app.handler\"]"
            }
            Self::LambdaName { .. } => {
                "write a name, name:qualifier, or an ARN such as \"arn:aws:lambda:eu-west-1:123456789012:function:bill\""
            }
            Self::AccessKeyId { .. } => "it has up to 128 letters, digits, `_` and `-`, such as AKIDEXAMPLE",
            Self::Address { .. } => "write an IP address and a port, such as \"127.0.0.1:4080\", or \"off\"",
            Self::Network { .. } => {
                "write an address and its leading bits, such as \"127.0.0.0/8\" or \"::1/128\""
            }
            Self::Ports { .. } => {
                "write a port or the first and the last of several, such as \"443\" or \"8000-8999\""
            }
            Self::Origin { .. } => "write a name that stands for this sender, such as \"events.example.com\"",
            Self::Url { .. } => {
                "write for instance \"http://127.0.0.1:9000/hook\"; credentials belong into `auth`"
            }
            Self::HostName { .. } => {
                "write a name, or a name and a port, such as \"api.example.com\" or \"127.0.0.1:9000\""
            }
            Self::Permission { .. } => {
                "write a scope and a topic's name, in which `*` is any characters, such as \"publish:orders.*\", or \"admin\""
            }
            Self::PageOrigin { .. } => {
                "write what the browser shows before the path, such as \"https://console.example\""
            }
            Self::Status { .. } => "write a status as three digits in quotes, such as \"404\"",
            Self::Start { .. } => {
                "it may be \"latest\", \"earliest\" or a time with its zone, such as \"2026-11-23T10:00:00Z\""
            }
            Self::InlineSecret { .. } | Self::SecretSource { .. } => {
                "write { env = \"VARIABLE\" } or { file = \"path\" }"
            }
            _ => return None,
        })
    }
}
