//! `[triggers.NAME.target.lambda]`: which function of AWS Lambda, and how it is called.

use eventail_triggers::http::Egress;
use eventail_triggers::lambda::{InvocationType, LambdaTarget, LambdaTargetError, LambdaTargetOptions};

use super::http_target::read_url;
use super::model::TargetOptions;
use super::problem::{Conflict, Problem};
use super::reader::{Reader, Section};
use super::{schema, target};
use crate::lambda_name::{LambdaName, LambdaNameError, is_qualifier, is_region};

/// The cargo feature that this target needs.
const FEATURE: &str = "aws";

/// The target; `None` where there is none without a fix, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, target: &Section<'_>) -> Option<TargetOptions> {
    if !cfg!(feature = "aws")
        && let Some(found) = target.get("lambda")
    {
        let key = format!("target.{}", found.key);
        reader.note(Problem::NotBuilt { key, feature: FEATURE }, &found.key_span);
    }
    let section = target.section(reader, "lambda", schema::LAMBDA)?;
    let noted = reader.problems.len();
    if section.get("function").is_none() {
        reader.note(Problem::MissingKey { key: "function", section: section.title() }, &section.span);
    }
    let function = section.string(reader, "function").map(|(text, _)| text);
    let parsed = section.parsed(reader, "function", |text| {
        LambdaName::parse(text).map(|_| ()).map_err(|source| bad_name("function", text, source))
    });
    let name = parsed.and(function).and_then(|text| LambdaName::parse(text).ok());
    let qualifier = section.parsed(reader, "qualifier", |text| {
        let right = is_qualifier(text).then(|| text.to_owned());
        right.ok_or_else(|| bad_name("qualifier", text, LambdaNameError::Qualifier))
    });
    let region = section.parsed(reader, "region", |text| {
        let right = is_region(text).then(|| text.to_owned());
        right.ok_or_else(|| bad_name("region", text, LambdaNameError::Region))
    });
    if let Some(name) = name {
        check_against_arn(reader, &section, "qualifier", qualifier.as_deref(), name.qualifier);
        check_against_arn(reader, &section, "region", region.as_deref(), name.region);
    }
    let endpoint = read_url(reader, &section, "endpoint");
    let profile = section.string(reader, "profile").map(|(profile, _)| profile.to_owned());
    let invocation = section.choice(
        reader,
        "invocation",
        &["sync", "async"],
        &[InvocationType::Sync, InvocationType::Async],
    );
    let payload = target::payload(reader, &section);
    let options = LambdaTargetOptions {
        function: function?.to_owned(),
        qualifier,
        region,
        endpoint,
        profile,
        invocation: invocation.unwrap_or_default(),
        payload: payload.unwrap_or_default(),
    };
    if reader.problems.len() == noted {
        check(reader, &section, &options);
    }
    Some(TargetOptions::Lambda(options))
}

/// Asks the target itself, so that what was read here can be used there. It connects nowhere yet.
fn check(reader: &mut Reader<'_>, section: &Section<'_>, options: &LambdaTargetOptions) {
    let source = match LambdaTarget::new(options.clone(), Egress::new([])) {
        // Not built: that was noted.
        Ok(_) | Err(LambdaTargetError::NotBuilt) => return,
        Err(source) => source,
    };
    let culprit = match &source {
        LambdaTargetError::Endpoint { .. } | LambdaTargetError::EndpointQuery => section.get("endpoint"),
        LambdaTargetError::Region { .. } => section.get("region"),
        LambdaTargetError::Qualifier { .. } => section.get("qualifier"),
        _ => None,
    };
    let span =
        culprit.or_else(|| section.get("function")).map_or(section.span.clone(), |found| found.key_span);
    reader.note(Problem::LambdaTarget { source }, &span);
}

fn bad_name(key: &str, value: &str, source: LambdaNameError) -> Problem {
    Problem::LambdaName { key: key.to_owned(), value: value.to_owned(), source }
}

/// What is said twice must be said alike.
fn check_against_arn(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &'static str,
    value: Option<&str>,
    of_arn: Option<&str>,
) {
    let (Some(value), Some(of_arn), Some(found)) = (value, of_arn, section.get(key)) else { return };
    if value != of_arn {
        let conflict = Conflict::NotAsInArn { value: value.to_owned(), of_arn: of_arn.to_owned() };
        reader.note(Problem::Conflict { key: key.to_owned(), conflict }, &found.span);
    }
}
