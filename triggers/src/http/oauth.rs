//! Access tokens by OAuth 2.0's client credentials grant (RFC 6749, section 4.4): fetched once, kept, and renewed ahead of their end.
//!
//! Of many calls that need one, one fetches it. While a token is good its renewal holds nobody up, and a failure of it harms nobody.
//! The token endpoint is called like a target: its addresses are screened, no redirect is followed, what is read of its answer is
//! bounded. Without a token nothing can be sent: that is an outage, and never an event's fault. It must not show what it was told,
//! but for the error code.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::Timestamp;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};
use zeroize::{Zeroize as _, Zeroizing};

use super::Secret;
use super::auth::{basic, bearer};
use super::caller::Caller;
use super::egress::Egress;
use super::error::{AttemptError, HttpTargetError, chain};
use super::link::Outgoing;
use super::request::AGENT;
use crate::input::percent;

/// How long a token endpoint may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of its answer: tokens with many claims have a few KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A token is renewed so long before its end, but not before most of its life is over.
const REFRESH_AHEAD_MS: u64 = 60_000;
/// The life of a token that says nothing of it. One that ends before is refused by the target, and replaced then.
const LIFETIME_MS: u64 = 5 * 60_000;
/// The longest life that is believed.
const LIFETIME_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// After a failure the endpoint rests: many calls ask at once.
const REST_MS: u64 = 1_000;
/// An idle connection is of no use for so long.
const IDLE_CONNECTIONS: usize = 0;
/// The longest error code that is shown.
const CODE_BYTES_MAX: usize = 64;

/// How the client says who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `Authorization: Basic`, which every server must take.
    #[default]
    Basic,
    /// In the body, which some servers want instead.
    Post,
}

/// Where tokens come from, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthOptions {
    /// The token endpoint: `http` or `https`, no user info.
    pub token_url: Uri,
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What for, where the server wants to know.
    pub scope: Option<String>,
    /// For which API, where the server wants to know.
    pub audience: Option<String>,
    /// How the client says who it is.
    pub client_authentication: ClientAuthentication,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("no access token from `{host}`")]
    Call { host: String, source: Arc<AttemptError> },
    #[error("no access token: `{host}` answered {status}{}", code.as_ref().map(|code| format!(", {code}")).unwrap_or_default())]
    Refused { host: String, status: u16, code: Option<String> },
    #[error("no access token: the answer of `{host}` {why}")]
    Answer { host: String, why: &'static str },
    #[error("no access token from `{host}` in the time of the attempt")]
    Slow { host: String },
    #[error("the search for an access token was cut off")]
    Lost,
}

impl TokenError {
    /// With its causes, on one line.
    pub(crate) fn text(&self) -> String {
        match self {
            // `Arc` hides its error's causes.
            Self::Call { source, .. } => format!("{self}: {}", chain(&**source)),
            _ => self.to_string(),
        }
    }
}

/// A token that is good for a while.
pub(super) struct Token {
    /// `Bearer …`.
    pub(super) header: HeaderValue,
    refresh_at: Timestamp,
    ends_at: Timestamp,
}

impl Token {
    fn new(header: HeaderValue, lifetime_ms: Option<u64>, now: Timestamp) -> Self {
        let lifetime_ms = lifetime_ms.unwrap_or(LIFETIME_MS).min(LIFETIME_MS_MAX);
        let ahead_ms = REFRESH_AHEAD_MS.min(lifetime_ms / 5);
        Self { header, refresh_at: now.plus_ms(lifetime_ms - ahead_ms), ends_at: now.plus_ms(lifetime_ms) }
    }
}

/// The way to tokens.
pub(super) struct TokenSource {
    caller: Caller,
    /// Set with [`ClientAuthentication::Basic`].
    authorization: Option<HeaderValue>,
    form: Zeroizing<String>,
    /// Held by the one that fetches.
    turn: Arc<tokio::sync::Mutex<()>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    token: Option<Arc<Token>>,
    failed: Option<(Timestamp, TokenError)>,
}

enum Look {
    Fresh(Arc<Token>),
    /// Good still, but it is time for a new one.
    Ageing(Arc<Token>),
    Failed(TokenError),
    Nothing,
}

impl TokenSource {
    /// Connects nowhere yet.
    pub(super) fn new(options: &OAuthOptions, egress: &Egress) -> Result<Arc<Self>, HttpTargetError> {
        let wrong_url = |source| HttpTargetError::TokenUrl { source: Box::new(source) };
        let caller = Caller::new(&options.token_url, egress.clone(), IDLE_CONNECTIONS).map_err(wrong_url)?;
        let authorization = match options.client_authentication {
            ClientAuthentication::Post => None,
            ClientAuthentication::Basic => {
                let (id, secret) = (encoded(&options.client_id), encoded(options.client_secret.expose()));
                let value = basic(&id, &secret);
                Some(value.map_err(|_| HttpTargetError::AuthValue { name: AUTHORIZATION })?)
            }
        };
        let (turn, known) = Default::default();
        Ok(Arc::new(Self { caller, authorization, form: form(options), turn, known }))
    }

    /// A token that is good at `now`. It waits for one no longer than until `deadline`.
    pub(super) async fn get(
        self: &Arc<Self>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Arc<Token>, TokenError> {
        match self.look(now) {
            Look::Fresh(token) => return Ok(token),
            Look::Ageing(token) => {
                if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
                    tokio::spawn(Arc::clone(self).fetch(turn, now));
                }
                return Ok(token);
            }
            Look::Failed(error) => return Err(error),
            Look::Nothing => {}
        }
        let waited = timeout_at(deadline, async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            match self.look(now) {
                Look::Fresh(token) | Look::Ageing(token) => Ok(token),
                Look::Failed(error) => Err(error),
                // A task of its own: it goes on when the call that began it runs out of time.
                Look::Nothing => {
                    tokio::spawn(Arc::clone(self).fetch(turn, now)).await.unwrap_or(Err(TokenError::Lost))
                }
            }
        });
        waited.await.unwrap_or_else(|_| Err(TokenError::Slow { host: self.host() }))
    }

    /// Lets go of a token that the target refused, unless it was replaced meanwhile.
    pub(super) fn forget(&self, refused: &Arc<Token>) {
        let mut known = self.known();
        if known.token.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            known.token = None;
        }
    }

    fn look(&self, now: Timestamp) -> Look {
        let known = self.known();
        let failed = known.failed.as_ref().filter(|(at, _)| now.since_ms(*at) < REST_MS);
        match (&known.token, failed) {
            (Some(token), _) if now < token.refresh_at => Look::Fresh(Arc::clone(token)),
            (Some(token), Some(_)) if now < token.ends_at => Look::Fresh(Arc::clone(token)),
            (Some(token), None) if now < token.ends_at => Look::Ageing(Arc::clone(token)),
            (_, Some((_, error))) => Look::Failed(error.clone()),
            _ => Look::Nothing,
        }
    }

    async fn fetch(
        self: Arc<Self>,
        _turn: OwnedMutexGuard<()>,
        now: Timestamp,
    ) -> Result<Arc<Token>, TokenError> {
        let deadline = Instant::now() + FETCH_TIMEOUT;
        let fetched = timeout_at(deadline, self.ask(now, deadline)).await;
        let after_ms = FETCH_TIMEOUT.as_millis();
        let fetched = fetched.unwrap_or_else(|_| Err(self.failed(AttemptError::Timeout { after_ms })));
        let mut known = self.known();
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                *known = Known { token: Some(Arc::clone(&token)), failed: None };
                drop(known);
                debug!(host = self.host(), "new access token");
                Ok(token)
            }
            Err(error) => {
                known.failed = Some((now, error.clone()));
                drop(known);
                warn!(error = error.text(), "no new access token");
                Err(error)
            }
        }
    }

    async fn ask(&self, now: Timestamp, deadline: Instant) -> Result<Token, TokenError> {
        let called = self.caller.exchange(self.request(), deadline, |_| (ANSWER_BYTES_MAX, ())).await;
        let (head, body, ()) = called.map_err(|error| self.failed(error))?;
        let answer = Answer::read(body.kept);
        if !head.status.is_success() {
            let code = answer.and_then(|answer| answer.error).filter(|code| is_code(code));
            return Err(TokenError::Refused { host: self.host(), status: head.status.as_u16(), code });
        }
        let wrong = |why| TokenError::Answer { host: self.host(), why };
        let answer =
            answer.filter(|_| body.is_whole).ok_or_else(|| wrong("is no JSON object of at most 64 KiB"))?;
        if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(wrong("has a token that is no bearer token"));
        }
        let token = answer.access_token.filter(|token| !token.is_empty());
        let token = token.map(Zeroizing::new).ok_or_else(|| wrong("has no `access_token`"))?;
        let header = bearer(&token).map_err(|_| wrong("has a token that no header can have"))?;
        Ok(Token::new(header, answer.expires_in.and_then(lifetime_ms), now))
    }

    fn request(&self) -> Outgoing {
        let form = Zeroizing::new(self.form.as_bytes().to_vec());
        let mut request = Request::new(Full::new(Bytes::from_owner(form)));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    fn failed(&self, error: AttemptError) -> TokenError {
        TokenError::Call { host: self.host(), source: Arc::new(error) }
    }

    fn host(&self) -> String {
        self.caller.endpoint().host_and_port()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds the lock can leave it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of an answer matters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
}

impl Answer {
    /// Wipes what it reads, where nobody else has it.
    fn read(bytes: Bytes) -> Option<Self> {
        let answer = serde_json::from_slice(&bytes).ok();
        if let Ok(mut bytes) = bytes.try_into_mut() {
            bytes.as_mut().zeroize();
        }
        answer
    }
}

/// Some servers write the number of seconds as a text.
fn lifetime_ms(expires_in: serde_json::Value) -> Option<u64> {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.parse().ok())?;
    let seconds = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(seconds.as_millis()).ok()
}

/// Whether a text is an error code as the RFC has them. Others are not shown: nobody knows what they are.
fn is_code(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_letter)
}

fn form(options: &OAuthOptions) -> Zeroizing<String> {
    let OAuthOptions { client_id, client_secret, scope, audience, client_authentication, .. } = options;
    let is_post = *client_authentication == ClientAuthentication::Post;
    let fields = [
        ("client_id", is_post.then_some(client_id.as_str())),
        ("client_secret", is_post.then(|| client_secret.expose())),
        ("scope", scope.as_deref()),
        ("audience", audience.as_deref()),
    ];
    let mut form = String::with_capacity(
        64 + 3 * fields.iter().map(|(_, value)| value.map_or(0, str::len) + 20).sum::<usize>(),
    );
    form.push_str("grant_type=client_credentials");
    for (name, value) in fields {
        if let Some(value) = value {
            form.push('&');
            form.push_str(name);
            form.push('=');
            percent::encode(value.as_bytes(), &mut form);
        }
    }
    Zeroizing::new(form)
}

fn encoded(text: &str) -> Zeroizing<String> {
    let mut encoded = String::with_capacity(3 * text.len());
    percent::encode(text.as_bytes(), &mut encoded);
    Zeroizing::new(encoded)
}
