//! Who may do what: every route of `/openapi.json` and every frame of the protocol, without a token, with wrong ones, with too little,
//! and with just enough. The lists are the broker's and the protocol's own, so that a new route or frame cannot be forgotten.

use bytes::Bytes;
use eventail_client::{ClientOptions, PublisherOptions};
use eventail_tests::events::{event, wire_event};
use eventail_tests::function::table;
use eventail_tests::raw_quic::{RawStream, publish};
use eventail_tests::script::always;
use eventail_tests::{Answer, Api, Home, Receiver, Reply, Server, eventually};
use eventail_wire::frame::{
    CallBack, CallbackAction, Credit, Frame, FrameKind, Hello, Nack, PROTOCOL_VERSION, Reject, Start,
    Subscribe, Tokens,
};
use http::Method;
use serde_json::{Value, json};

use crate::cli::done;
use crate::support::trigger;

/// A token that nobody made.
const WRONG: &str = "evt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Everything but operating and administering, on all topics.
const HARMLESS: [&str; 2] = ["publish:*", "subscribe:*"];

/// A broker that asks who somebody is, with something of everything in it.
struct House {
    home: Home,
    server: Server,
    admin: String,
}

/// A configuration with these tables, for [`Home::start_as`].
fn config(home: &Home, listen: &str, tables: &str) -> String {
    let data = home.data().display().to_string();
    format!(
        "data_dir = {data:?}\n[listen]\nhttp = \"127.0.0.1:0\"\nquic = \"127.0.0.1:0\"\n{listen}\n{tables}"
    )
}

impl House {
    async fn with(auth: &str, tables: &str) -> Self {
        let home = Home::new("");
        let auth =
            format!("[auth]\naudit_file = \"audit.jsonl\"\n{auth}\n[egress]\nallow = [\"127.0.0.0/8\"]\n");
        let server = home.start_as(&config(&home, "", &format!("{auth}{tables}"))).await;
        let mut house = Self { home, server, admin: String::new() };
        house.admin = house.token("admin", &["admin"]).await;
        house.known(&house.admin).await;
        house
    }

    fn api(&self) -> Api {
        self.server.api()
    }

    /// A new token with these permissions.
    async fn token(&self, name: &str, allow: &[&str]) -> String {
        let mut arguments = vec!["create", "--name", name, "--expires", "1d"];
        arguments.extend(allow.iter().flat_map(|allow| ["--allow", allow]));
        self.tokens(&arguments).await["token"].as_str().unwrap().to_owned()
    }

    /// What `eventail tokens` answers to this.
    async fn tokens(&self, arguments: &[&str]) -> Value {
        let all = [&["tokens", "--config", "eventail.toml", "--output", "json"], arguments].concat();
        let output = self.home.command(&all).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the broker knows a token.
    async fn known(&self, token: &str) {
        eventually("the token to be known", async || (self.with_token(token).await != 401).then_some(()))
            .await;
    }

    /// Waits until the broker knows a token no more.
    async fn forgotten(&self, token: &str) {
        eventually("the token to be forgotten", async || (self.with_token(token).await == 401).then_some(()))
            .await;
    }

    async fn with_token(&self, token: &str) -> u16 {
        self.ask(Some(token), &Sample::get("/v1/topics")).await.status
    }

    async fn ask(&self, token: Option<&str>, sample: &Sample) -> Answer {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", sample.media_type)];
        headers.extend(authorization.iter().map(|value| ("authorization", value.as_str())));
        let body = Bytes::from(sample.body.to_string());
        self.api().request(sample.method.clone(), &sample.path, &headers, body).await
    }

    /// Asks with everything allowed.
    async fn done(&self, sample: &Sample) -> Value {
        let answer = self.ask(Some(&self.admin), sample).await;
        assert!(answer.status < 300, "{}: {}", sample.path, answer.text());
        answer.json()
    }
}

/// A request of a route that is right in everything but, perhaps, who sends it.
struct Sample {
    method: Method,
    path: String,
    media_type: &'static str,
    body: Value,
}

impl Sample {
    fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), media_type: "application/json", body: json!("") }
    }

    fn post(path: &str, body: Value) -> Self {
        Self { method: Method::POST, body, ..Self::get(path) }
    }

    fn publish(topic: &str, query: &str, id: &str) -> Self {
        let path = format!("/v1/topics/{topic}/events{query}");
        Self { media_type: "application/cloudevents+json", ..Self::post(&path, event(id, "order.created")) }
    }
}

/// What the house has of everything, by the name that it has in paths.
struct Furniture {
    letter: String,
    held: String,
    replay: String,
    /// Where a backup may go.
    backup: String,
}

impl Furniture {
    async fn of(house: &House) -> Self {
        house.done(&Sample::publish("orders", "", "dead")).await;
        let letters = Sample::get("/v1/dead-letters");
        let is_there = async || {
            house.done(&letters).await["dead_letters"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
                .then_some(())
        };
        eventually("a dead letter", is_there).await;
        let held = house.done(&Sample::publish("orders", "?delay=1h", "held")).await;
        let replay = json!({ "topic": "orders", "from": "earliest", "to_topic": "elsewhere" });
        let replay = house.done(&Sample::post("/v1/replays", replay)).await;
        Self {
            letter: "dead-letters/0".to_owned(),
            held: held["results"][0]["held"].to_string(),
            replay: replay["id"].as_str().unwrap().to_owned(),
            backup: house.home.path().join("backup").display().to_string(),
        }
    }

    /// A request for each route. A route that is not here is a route that nobody tried.
    fn sample(&self, route: &str) -> Sample {
        let path = |path: &str| Sample::get(path);
        let Self { letter, held, replay, backup } = self;
        match route {
            "POST /v1/topics/{topic}/events" => Sample::publish("orders", "", "again"),
            "GET /v1/topics/{topic}/events" => path("/v1/topics/orders/events"),
            "GET /v1/topics" => path("/v1/topics"),
            "GET /v1/topics/{topic}" => path("/v1/topics/orders"),
            "PUT /v1/topics/{topic}" => {
                Sample { method: Method::PUT, body: json!({}), ..path("/v1/topics/orders") }
            }
            "GET /v1/events/{id}" => path("/v1/events/dead"),
            "GET /v1/events/{id}/timeline" => path("/v1/events/dead/timeline"),
            "GET /v1/delayed" => path("/v1/delayed"),
            "GET /v1/delayed/{id}" => path(&format!("/v1/delayed/{held}")),
            "DELETE /v1/delayed/{id}" => {
                Sample { method: Method::DELETE, ..path(&format!("/v1/delayed/{held}")) }
            }
            "GET /v1/triggers" => path("/v1/triggers"),
            "GET /v1/triggers/{trigger}" => path("/v1/triggers/ship"),
            "POST /v1/triggers/{trigger}/pause" => Sample::post("/v1/triggers/ship/pause", json!({})),
            "POST /v1/triggers/{trigger}/resume" => Sample::post("/v1/triggers/ship/resume", json!({})),
            "POST /v1/triggers/{trigger}/skip-to" => {
                Sample::post("/v1/triggers/ship/skip-to", json!({ "latest": true }))
            }
            "POST /v1/backups" => Sample::post("/v1/backups", json!({ "dir": backup })),
            "GET /v1/backups" => path("/v1/backups"),
            "GET /v1/config" => path("/v1/config"),
            "GET /v1/config/plan" => path("/v1/config/plan"),
            "POST /v1/config/reload" => Sample::post("/v1/config/reload", json!({})),
            "GET /v1/schedules" => path("/v1/schedules"),
            "GET /v1/schedules/{schedule}" => path("/v1/schedules/nightly"),
            "GET /v1/functions" => path("/v1/functions"),
            "GET /v1/functions/{function}" => path("/v1/functions/work"),
            "GET /v1/dead-letters" => path("/v1/dead-letters"),
            "GET /v1/dead-letters/{topic}/{offset}" => path(&format!("/v1/dead-letters/{letter}")),
            "POST /v1/dead-letters/redrive" => {
                Sample::post("/v1/dead-letters/redrive", json!({ "trigger": "ship", "dry_run": true }))
            }
            "POST /v1/dead-letters/purge" => {
                Sample::post("/v1/dead-letters/purge", json!({ "trigger": "ship", "dry_run": true }))
            }
            "POST /v1/replays" => {
                let replay = json!({ "trigger": "ship", "from": "earliest", "dry_run": true });
                Sample::post("/v1/replays", replay)
            }
            "GET /v1/replays" => path("/v1/replays"),
            "GET /v1/replays/{id}" => path(&format!("/v1/replays/{replay}")),
            "POST /v1/replays/{id}/cancel" => {
                Sample::post(&format!("/v1/replays/{replay}/cancel"), json!({}))
            }
            "POST /v1/deliveries/{token}/ack" => Sample::post("/v1/deliveries/none/ack", json!({})),
            "POST /v1/deliveries/{token}/nack" => Sample::post("/v1/deliveries/none/nack", json!({})),
            "POST /v1/deliveries/{token}/extend" => Sample::post("/v1/deliveries/none/extend", json!({})),
            "POST /2015-03-31/functions/{name}/invocations" => {
                Sample::post("/2015-03-31/functions/work/invocations", json!({}))
            }
            "GET /healthz" => path("/healthz"),
            "GET /readyz" => path("/readyz"),
            "GET /metrics" => path("/metrics"),
            "GET /openapi.json" => path("/openapi.json"),
            route => panic!("{route} is not tried: say how it is asked"),
        }
    }
}

/// What a route needs, as permissions on the topic `orders`: too little, and just enough.
fn permissions(need: &str) -> (Vec<&'static str>, &'static str) {
    let with = |more: &[&'static str]| [&HARMLESS, more].concat();
    match need {
        "publish:{topic}" => (vec!["publish:other", "subscribe:*", "operate:*"], "publish:orders"),
        "a signature or publish:invocations" => {
            (vec!["publish:orders", "subscribe:*", "operate:*"], "publish:invocations")
        }
        "metrics" => (with(&["read:orders"]), "metrics"),
        "admin" => (with(&["operate:*"]), "admin"),
        "read:*" => (with(&["operate:orders"]), "read:*"),
        need if need.starts_with("read:{") => (with(&["operate:other"]), "read:orders"),
        need if need.starts_with("operate:{") => (with(&["read:*", "operate:other"]), "operate:orders"),
        need => panic!("{need:?} is a need that is not tried"),
    }
}

/// Refused, with the status and the code that are its.
#[track_caller]
fn is_refused(route: &str, who: &str, answer: &Answer, is_unknown: bool) {
    if route.contains("invocations") {
        assert_eq!(answer.status, 403, "{route} {who}: {}", answer.text());
        assert!(answer.headers.contains_key("x-amzn-errortype"), "{route} {who}");
        return;
    }
    let (status, code) = if is_unknown { (401, "unauthenticated") } else { (403, "forbidden") };
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{route} {who}: {}", answer.text());
    assert_eq!(answer.headers.contains_key("www-authenticate"), is_unknown, "{route} {who}");
}

#[tokio::test]
async fn every_route_is_for_those_who_may_and_for_nobody_else() {
    let receiver = Receiver::with(always(Reply::Status(422))).await;
    let schedule = "[schedules.nightly]\nexpression = \"rate(1 day)\"\nenabled = false\ntopic = \"orders\"\n";
    let tables =
        [trigger("ship", &receiver.url("/"), ""), schedule.to_owned(), table("work", "", "")].concat();
    let house = House::with("failures_per_minute = 1000000", &tables).await;
    let furniture = Furniture::of(&house).await;
    let expired =
        house.tokens(&["create", "--allow", "admin", "--expires", "1ms", "--name", "expired"]).await;
    let expired = expired["token"].as_str().unwrap().to_owned();

    let document = house.api().get("/openapi.json").await.expect_status(200).json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            let sample = furniture.sample(&route);
            tried += 1;
            match operation["x-needs"].as_str().unwrap() {
                "nothing" => {
                    for token in [None, Some(WRONG), Some(expired.as_str()), Some(house.admin.as_str())] {
                        house.ask(token, &sample).await.expect_status(200);
                    }
                }
                "the delivery's token" => {
                    for token in [None, Some(WRONG), Some(expired.as_str()), Some(house.admin.as_str())] {
                        let answer = house.ask(token, &sample).await.expect_status(404);
                        assert_eq!(answer.code(), "delivery_not_found", "{route}");
                    }
                }
                need => try_route(&house, &route, &sample, need, &expired).await,
            }
        }
    }
    assert!(tried > 35, "{tried}");
    let log = house.home.log_text();
    assert!(!log.contains("evt_"), "a token is in the log");
}

/// Tries a route that needs a permission, from nothing to just enough.
async fn try_route(house: &House, route: &str, sample: &Sample, need: &str, expired: &str) {
    for (who, token) in [
        ("without a token", None),
        ("with a wrong one", Some(WRONG)),
        ("with an expired one", Some(expired)),
        ("with none that could be one", Some("Zm9vOmJhcg==")),
    ] {
        is_refused(route, who, &house.ask(token, sample).await, true);
    }
    let (little, enough) = permissions(need);
    let name = |kind: &str| {
        let letters = need.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        format!("{kind}-{}", letters.collect::<String>())
    };
    let little = house.token_once(&name("little"), &little).await;
    let answer = house.ask(Some(&little), sample).await;
    if need.contains("each topic") && answer.status != 403 {
        // What is listed is listed without what is not for everybody.
        assert!(matches!(answer.status, 200 | 404), "{route}: {}", answer.text());
        for secret in ["\"orders\"", "\"ship\"", "\"nightly\""] {
            assert!(!answer.text().contains(secret), "{route} tells {secret}: {}", answer.text());
        }
    } else {
        is_refused(route, "with too little", &answer, false);
    }
    let enough = house.token_once(&name("enough"), &[enough]).await;
    let answer = house.ask(Some(&enough), sample).await;
    assert!(answer.status < 300, "{route} with just enough: {} {}", answer.status, answer.text());
    if need.contains("each topic") && sample.method == Method::GET {
        assert!(answer.text().contains("orders"), "{route} tells nothing: {}", answer.text());
    }
}

impl House {
    /// A token of this name, made where it was not yet.
    async fn token_once(&self, name: &str, allow: &[&str]) -> String {
        let path = self.home.path().join(format!("{name}.token"));
        if let Ok(token) = std::fs::read_to_string(&path) {
            return token;
        }
        let token = self.token(name, allow).await;
        std::fs::write(path, &token).unwrap();
        self.known(&token).await;
        token
    }

    /// A stream after its hello with this token.
    async fn stream(&self, token: Option<&str>) -> RawStream {
        let mut stream = RawStream::open(self.server.quic()).await;
        let (version, client) = (PROTOCOL_VERSION, "raw".to_owned());
        stream.frame(&Frame::Hello(Hello { version, client, token: token.map(str::to_owned) })).await;
        stream
    }

    /// The same, welcomed.
    async fn welcomed(&self, token: Option<&str>) -> RawStream {
        let mut stream = self.stream(token).await;
        let welcome = stream.next().await;
        assert!(matches!(welcome, Some(Frame::Welcome(_))), "{welcome:?}");
        stream
    }
}

fn subscribe(name: &str) -> Frame {
    Frame::Subscribe(Subscribe {
        request: 1,
        name: name.to_owned(),
        topic: "orders".to_owned(),
        pattern: None,
        start: Start::Latest,
        lease_ms: 60_000,
        max_attempts: 0,
        credit: 1,
    })
}

/// The code of a refusal or fault.
fn code(frame: Option<Frame>) -> String {
    match frame {
        Some(Frame::Refused(refused)) => refused.code.to_string(),
        Some(Frame::Fault(fault)) => fault.code.to_string(),
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[tokio::test]
async fn every_frame_is_for_those_who_may_and_for_nobody_else() {
    let house = House::with("failures_per_minute = 1000000", "[topics.orders]\n").await;
    let expired =
        house.tokens(&["create", "--allow", "admin", "--expires", "1ms", "--name", "expired"]).await;
    let expired = expired["token"].as_str().unwrap();
    let tokens = || Tokens { tokens: vec![7] };
    for &kind in FrameKind::ALL {
        match kind {
            FrameKind::Hello => {
                for token in [WRONG, expired, "nonsense", ""] {
                    let answer = house.stream(Some(token)).await.next().await;
                    assert_eq!(code(answer), "unauthenticated", "{token}");
                }
                house.welcomed(None).await;
                house.welcomed(Some(&house.admin)).await;
            }
            FrameKind::Publish => {
                let publish = || publish(1, "orders", &[wire_event("1", "t").as_bytes().clone()]);
                let enough = ["publish:orders"];
                let answer =
                    try_request(&house, "publish", &publish, &["publish:other", "operate:*"], &enough).await;
                assert!(matches!(answer, Frame::Published(_)), "{answer:?}");
            }
            FrameKind::Subscribe => {
                let enough = ["subscribe:orders"];
                let little = ["subscribe:other", "operate:*", "publish:*"];
                let answer = try_request(&house, "subscribe", &|| subscribe("mine"), &little, &enough).await;
                assert!(matches!(answer, Frame::Subscribed(_)), "{answer:?}");
            }
            FrameKind::Credit => {
                after_revocation(&house, "credit", Frame::Credit(Credit { deliveries: 1 })).await
            }
            FrameKind::Ack => after_revocation(&house, "ack", Frame::Ack(tokens())).await,
            FrameKind::Nack => {
                let nack = Nack { tokens: vec![7], delay_ms: None, reason: String::new() };
                after_revocation(&house, "nack", Frame::Nack(nack)).await;
            }
            FrameKind::Reject => {
                let reject = Reject { tokens: vec![7], reason: String::new() };
                after_revocation(&house, "reject", Frame::Reject(reject)).await;
            }
            FrameKind::Extend => after_revocation(&house, "extend", Frame::Extend(tokens())).await,
            FrameKind::CallBack => {
                let mut stream = house.welcomed(None).await;
                let (token, action) = ("none".to_owned(), CallbackAction::Ack);
                stream.frame(&Frame::CallBack(CallBack { request: 1, token, action })).await;
                assert_eq!(code(stream.next().await), "delivery_not_found");
            }
            FrameKind::Goodbye => {
                let mut stream = house.welcomed(None).await;
                stream.frame(&Frame::Goodbye).await;
                assert_eq!(stream.next().await, None);
            }
            // Those of servers.
            FrameKind::Welcome
            | FrameKind::Published
            | FrameKind::Refused
            | FrameKind::Subscribed
            | FrameKind::Deliver
            | FrameKind::Stale
            | FrameKind::Fault
            | FrameKind::CalledBack
            | FrameKind::Held => {}
        }
    }
}

/// Tries a request without a token, with too little and with enough; answers what it gets at last.
async fn try_request(
    house: &House,
    name: &str,
    request: &dyn Fn() -> Frame,
    little: &[&str],
    enough: &[&str],
) -> Frame {
    let mut stream = house.welcomed(None).await;
    stream.frame(&request()).await;
    assert_eq!(code(stream.next().await), "unauthenticated", "{name}");
    let little = house.token_once(&format!("little-{name}"), little).await;
    let mut stream = house.welcomed(Some(&little)).await;
    stream.frame(&request()).await;
    assert_eq!(code(stream.next().await), "forbidden", "{name}");
    let enough = house.token_once(&format!("enough-{name}"), enough).await;
    let mut stream = house.welcomed(Some(&enough)).await;
    stream.frame(&request()).await;
    stream.next().await.expect("an answer")
}

/// A frame about a subscription is taken, and no more after the token was revoked.
async fn after_revocation(house: &House, name: &str, frame: Frame) {
    let token = house.token_once(name, &["subscribe:orders"]).await;
    let mut stream = house.welcomed(Some(&token)).await;
    stream.frame(&subscribe(name)).await;
    assert!(matches!(stream.next().await, Some(Frame::Subscribed(_))), "{name}");
    stream.frame(&frame).await;
    if !matches!(frame, Frame::Credit(_)) {
        let answer = stream.next().await;
        assert!(matches!(answer, Some(Frame::Stale(_))), "{name}: {answer:?}");
    }
    house.tokens(&["revoke", name]).await;
    house.forgotten(&token).await;
    stream.frame(&frame).await;
    assert_eq!(code(stream.next().await), "unauthenticated", "{name}");
    assert_eq!(stream.next().await, None, "{name}");
}

#[tokio::test]
async fn a_subscription_gets_nothing_more_when_its_token_is_revoked() {
    let house = House::with("", "[topics.orders]\n").await;
    let token = house.token_once("sub", &["subscribe:orders"]).await;
    let mut stream = house.welcomed(Some(&token)).await;
    stream.frame(&subscribe("sub")).await;
    assert!(matches!(stream.next().await, Some(Frame::Subscribed(_))));
    house.tokens(&["revoke", "sub"]).await;
    house.forgotten(&token).await;
    house.done(&Sample::publish("orders", "", "1")).await;
    assert_eq!(code(stream.next().await), "unauthenticated");
}

#[tokio::test]
async fn the_client_library_and_the_command_line_say_who_they_are() {
    let house = House::with("", "").await;
    let token = house.token_once("both", &["publish:orders", "read:orders"]).await;
    let options = || {
        ClientOptions::pinned(house.server.quic().to_string(), house.server.fingerprint().parse().unwrap())
    };
    let client = eventail_client::Client::connect(options().token(token.as_str())).await.unwrap();
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    publisher.publish(wire_event("1", "t")).await.unwrap().await.unwrap();
    let nobody = eventail_client::Client::connect(options()).await.unwrap();
    let publisher = nobody.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    let refused = publisher.publish(wire_event("2", "t")).await.unwrap().await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.to_string()).as_deref(), Some("unauthenticated"), "{refused}");
    assert!(!refused.is_retryable());

    let run = async |arguments: &[&str], variable: &str, value: &str| {
        let mut command = house.home.command(arguments);
        command.env("EVENTAIL_URL", house.server.url()).env(variable, value);
        let output = command.output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    };
    let tail = ["tail", "orders", "--from", "earliest"];
    assert!(done(run(&tail, "EVENTAIL_TOKEN", &token).await).contains("/tests"));
    std::fs::write(house.home.path().join("token"), format!("{token}\n")).unwrap();
    let from_file = [&tail[..], &["--token-file", "token"]].concat();
    assert!(done(run(&from_file, "NOTHING", "").await).contains("/tests"));
    let (exit, _, errors) = run(&tail, "NOTHING", "").await;
    assert_eq!(exit, 4, "{errors}");
    assert!(errors.contains("[unauthenticated]") && errors.contains("EVENTAIL_TOKEN"), "{errors}");
    let (exit, _, errors) = run(&["triggers", "pause", "x"], "EVENTAIL_TOKEN", &token).await;
    assert_eq!(exit, 4, "{errors}");
    assert!(errors.contains("`operate:*`"), "{errors}");
}

#[tokio::test]
async fn tokens_are_shown_once_listed_without_and_taken_back() {
    let house = House::with("", "").await;
    let made = [
        "create",
        "--allow",
        "publish:orders.*",
        "--allow",
        "read:orders.*",
        "--expires",
        "90d",
        "--name",
        "b",
    ];
    let made = house.tokens(&made).await;
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("evt_") && token.len() == 47, "{token}");
    assert_eq!(made["allow"], json!(["publish:orders.*", "read:orders.*"]));
    house.known(token).await;
    let listed = house.tokens(&["list"]).await;
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&listed["tokens"][1]["name"], &listed["tokens"][1]["expires"]),
        (&made["name"], &made["expires"])
    );
    let table = house.home.command(&["tokens", "--config", "eventail.toml"]).output().await.unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("publish:orders.* read:orders.*"), "{table}");
    let file = std::fs::read_to_string(house.home.data().join("tokens.toml")).unwrap();
    for text in [&listed.to_string(), &table, &file] {
        assert!(!text.contains("evt_"), "{text}");
    }
    house.tokens(&["revoke", "b"]).await;
    house.forgotten(token).await;
    let again = ["tokens", "--config", "eventail.toml", "revoke", "b"];
    let refused = house.home.command(&again).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no token with the name"));
}

#[tokio::test]
async fn what_an_operator_does_is_written_down() {
    let receiver = Receiver::start().await;
    let house = House::with("", &trigger("ship", &receiver.url("/"), "")).await;
    let operator = house.token_once("op", &["operate:orders"]).await;
    let pause = Sample::post("/v1/triggers/ship/pause", json!({ "reason": "test" }));
    house.ask(Some(&operator), &pause).await.expect_status(200);
    house.ask(Some(&operator), &Sample::post("/v1/config/reload", json!({}))).await.expect_status(403);
    house
        .ask(Some(&operator), &Sample::post("/v1/dead-letters/redrive", json!({ "trigger": "ship" })))
        .await
        .expect_status(200);
    let file = std::fs::read_to_string(house.home.path().join("audit.jsonl")).unwrap();
    let log = house.home.log_text();
    let all: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<[&str; 4]> = all
        .iter()
        .filter(|act| act["who"] == "token op")
        .map(|act| ["what", "on", "outcome", "from"].map(|key| act[key].as_str().unwrap()))
        .collect();
    assert_eq!(acts.len(), 3, "{file}");
    assert_eq!(acts[0], ["POST /v1/triggers/{trigger}/pause", "trigger=ship", "done", "127.0.0.1"]);
    assert_eq!(acts[1], ["POST /v1/config/reload", "", "forbidden", "127.0.0.1"]);
    assert!(acts[2][1].contains("ship"), "{file}");
    let lines = log.lines().filter(|line| line.contains("\"eventail_audit\"")).count();
    assert_eq!(lines, all.len(), "{log}");
    assert!(!file.contains("evt_") && !log.contains("evt_"));
}

#[tokio::test]
async fn attempts_that_fail_too_often_are_held_back_and_right_ones_are_not() {
    let house = House::with("failures_per_minute = 5", "").await;
    let topics = Sample::get("/v1/topics");
    let mut held_back = None;
    // A slow machine may refill one or two meanwhile.
    for _ in 0..200 {
        let answer = house.ask(Some(WRONG), &topics).await;
        if answer.status == 429 {
            held_back = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let answer = held_back.expect("too many attempts are held back");
    assert_eq!(answer.code(), "too_many_attempts");
    assert!(answer.headers.contains_key("retry-after"));
    house.ask(Some(&house.admin), &topics).await.expect_status(200);
}

#[tokio::test]
async fn a_broker_that_strangers_reach_does_not_start_open_unless_it_says_so() {
    let home = Home::new("");
    for (tables, needed) in [("", "[auth]"), ("[auth]\n", "[listen.tls]")] {
        std::fs::write(home.path().join("eventail.toml"), config(&home, "", tables)).unwrap();
        let serve = ["serve", "--config", "eventail.toml", "--http", "0.0.0.0:0", "--quic", "off"];
        let output = home.command(&serve).output().await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("0.0.0.0:0") && errors.contains(needed), "{errors}");
        assert!(errors.contains("insecure = true"), "{errors}");
    }
    let open = config(&home, "insecure = true", "").replacen("127.0.0.1", "0.0.0.0", 1);
    let server = home.start_as(&open).await;
    let api = Api::new(([127, 0, 0, 1], server.api().address().port()).into());
    api.get("/v1/topics").await.expect_status(200);
    server.stop().await;
}

#[tokio::test]
async fn a_web_page_changes_nothing_and_a_name_that_was_pointed_here_reads_nothing() {
    let home = Home::new("");
    let listen = "hosts = [\"host.docker.internal\"]\norigins = [\"https://console.example\"]";
    let server = home.start_as(&config(&home, listen, "")).await;
    let api = server.api();
    let own = format!("http://{}", api.address());
    let path = "/v1/topics/orders/events?type=t&source=/s";
    for (origin, code) in [
        ("https://evil.example", Some("foreign_origin")),
        ("null", Some("foreign_origin")),
        ("http://127.0.0.1:1", Some("foreign_origin")),
        ("https://console.example", None),
        (own.as_str(), None),
    ] {
        let answer = api.request(Method::POST, path, &[("origin", origin)], Bytes::from_static(b"x")).await;
        match code {
            Some(code) => assert_eq!((answer.status, answer.code().as_str()), (403, code), "{origin}"),
            None => assert_eq!(answer.status, 200, "{origin}: {}", answer.text()),
        }
    }
    let port = api.address().port();
    for (host, status) in [
        (format!("evil.example:{port}"), 403),
        ("192.168.1.1".to_owned(), 403),
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        (format!("host.docker.internal:{port}"), 200),
    ] {
        for route in ["/v1/topics", "/metrics", "/healthz"] {
            let answer = api.request(Method::GET, route, &[("host", host.as_str())], Bytes::new()).await;
            assert_eq!(answer.status, status, "{host} {route}: {}", answer.text());
        }
    }
}
