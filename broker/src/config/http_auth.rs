//! `auth` of an HTTP target: how its requests say who sends them.

use eventail_triggers::http::{ClientAuthentication, HttpAuth, OAuthOptions, Secret};
use http::HeaderName;

use super::http_target::read_url;
use super::problem::Problem;
use super::reader::{Reader, Section};
use super::{schema, secret};

/// What it says; `None` where it says nothing, or nothing without a fix, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, target: &Section<'_>) -> Option<HttpAuth> {
    let section = target.section(reader, "auth", schema::HTTP_AUTH)?;
    let mut given = schema::HTTP_AUTH.iter().copied().filter_map(|key| Some((key, section.get(key)?)));
    let Some((first, _)) = given.next() else {
        let problem = Problem::MissingOneOf { keys: schema::HTTP_AUTH, section: section.title() };
        reader.note(problem, &section.span);
        return None;
    };
    if let Some((second, found)) = given.next() {
        // What is not read masks nothing, and the line is shown: a secret may stand in it all the same.
        reader.masks.extend(target.get("auth").map(|auth| auth.span));
        let problem = Problem::SecondAuth { section: section.title(), first, second };
        reader.note(problem, &found.key_span);
    }
    match first {
        "basic" => read_basic(reader, &section),
        "bearer" => read_secret(reader, &section, "bearer").map(HttpAuth::Bearer),
        "header" => read_header(reader, &section),
        _ => read_oauth(reader, &section).map(HttpAuth::OAuth),
    }
}

fn read_basic(reader: &mut Reader<'_>, auth: &Section<'_>) -> Option<HttpAuth> {
    let section = auth.section(reader, "basic", schema::HTTP_BASIC)?;
    let user = read_text(reader, &section, "user");
    let password = read_secret(reader, &section, "password");
    Some(HttpAuth::Basic { user: user?, password: password? })
}

fn read_header(reader: &mut Reader<'_>, auth: &Section<'_>) -> Option<HttpAuth> {
    let section = auth.section(reader, "header", schema::HTTP_AUTH_HEADER)?;
    let name = read_text(reader, &section, "name").and_then(|text| {
        let name = text.parse::<HeaderName>();
        if let (Err(_), Some(found)) = (&name, section.get("name")) {
            reader.note(Problem::HeaderName { name: text }, &found.span);
        }
        name.ok()
    });
    let value = read_secret(reader, &section, "value");
    Some(HttpAuth::Header { name: name?, value: value? })
}

fn read_oauth(reader: &mut Reader<'_>, auth: &Section<'_>) -> Option<OAuthOptions> {
    let section = auth.section(reader, "oauth", schema::HTTP_OAUTH)?;
    require(reader, &section, "token_url");
    let token_url = read_url(reader, &section, "token_url");
    let client_id = read_text(reader, &section, "client_id");
    let client_secret = read_secret(reader, &section, "client_secret");
    let scope = section.string(reader, "scope").map(|(text, _)| text.to_owned());
    let audience = section.string(reader, "audience").map(|(text, _)| text.to_owned());
    let client_authentication = section.choice(
        reader,
        "client_authentication",
        &["basic", "post"],
        &[ClientAuthentication::Basic, ClientAuthentication::Post],
    );
    Some(OAuthOptions {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope,
        audience,
        client_authentication: client_authentication.unwrap_or_default(),
    })
}

/// A text that must be there.
fn read_text(reader: &mut Reader<'_>, section: &Section<'_>, key: &'static str) -> Option<String> {
    require(reader, section, key);
    section.string(reader, key).map(|(text, _)| text.to_owned())
}

/// A secret that must be there.
fn read_secret(reader: &mut Reader<'_>, section: &Section<'_>, key: &'static str) -> Option<Secret> {
    require(reader, section, key);
    let found = section.get(key)?;
    secret::read(reader, &found)
}

fn require(reader: &mut Reader<'_>, section: &Section<'_>, key: &'static str) {
    if section.get(key).is_none() {
        reader.note(Problem::MissingKey { key, section: section.title() }, &section.span);
    }
}
