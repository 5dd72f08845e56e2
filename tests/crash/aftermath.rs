//! What must hold after all the kills of what was done beside the load: triggers that were renamed, removed and added, dead letters
//! that were redriven, replays, events that were held or cancelled, and a topic that was trimmed.

use std::collections::HashSet;

use eventail_tests::{Api, Home, Server, until};
use serde_json::{Value, json};

use crate::account::{
    all_dead_letters, assert_account, assert_all_read_back, assert_attempts_grow, requests_of,
};
use crate::acts::{Acts, Noted};
use crate::scene::{RETENTION_BYTES, Scene, has_guest, wanderer};
use crate::{ROUNDS, is_poison};

/// Answers the triggers whose dead letters are to be the same without the index.
pub(crate) async fn assert_nothing_beside_was_lost(
    server: &Server,
    home: &Home,
    scene: &Scene,
    acts: &Acts,
    rounds: u64,
) -> Vec<String> {
    let api = server.api();
    // The guest is there in the end, wherever it was.
    let mut generation = acts.generation();
    if !has_guest(generation) {
        generation += 1;
        home.set_config("", &scene.tables(generation));
        drop(home.write_config());
        api.post("/v1/config/reload", &json!({})).await.expect_status(200);
    }
    let side = assert_all_read_back(api, &acts.side).await;
    let wanderer = wanderer(generation);
    for trigger in [wanderer.as_str(), "guest"] {
        assert_account(api, trigger, &side).await;
        let path = trigger.split('-').next().unwrap();
        assert_attempts_grow(path, &side, &requests_of(&scene.receiver, path));
    }
    assert_redriven(api, scene, &side).await;
    let noted = acts.noted();
    assert_replayed(api, scene, &noted, &side).await;
    assert_released(api, scene, &noted).await;
    assert_trimmed(api, acts, rounds).await;
    ["redriven", "replayed", "guest"].into_iter().map(str::to_owned).chain([wanderer]).collect()
}

/// What was given up is taken when it is redriven after the fix: nothing is left.
async fn assert_redriven(api: Api, scene: &Scene, side: &[String]) {
    let settled = |status: &Value| status["account"]["pending"] == 0;
    until("redriven to settle", settled, async || api.trigger("redriven").await).await;
    scene.heal();
    until(
        "all dead letters to be redriven",
        |left: &usize| *left == 0,
        async || {
            // What was redriven before the fix may have died a second time meanwhile.
            let request = json!({ "trigger": "redriven" });
            api.post("/v1/dead-letters/redrive", &request).await.expect_status(200);
            all_dead_letters(api, "redriven").await.len() + scene.missing("redriven", side).len()
        },
    )
    .await;
}

/// Every replay that was begun came to its end with all of its range.
async fn assert_replayed(api: Api, scene: &Scene, noted: &Noted, side: &[String]) {
    let list = async || api.get_json("/v1/replays?limit=1000").await["replays"].clone();
    let all_ended =
        |replays: &Value| replays.as_array().unwrap().iter().all(|replay| !replay["ended_at"].is_null());
    let replays = until("the replays to end", all_ended, list).await;
    let replays = replays.as_array().unwrap();
    for id in &noted.replays {
        assert!(replays.iter().any(|replay| replay["id"] == **id), "the replay {id} was begun and is gone");
    }
    let requests = requests_of(&scene.receiver, "replayed");
    for replay in replays {
        assert_eq!(replay["state"], "completed", "{replay}");
        let offset = |name: &str| usize::try_from(replay[name].as_u64().unwrap()).unwrap();
        let range = &side[offset("start")..offset("end")];
        let poison = range.iter().filter(|id| is_poison(crate::account::number(id))).count();
        let of = |name: &str| replay["account"][name].as_u64().unwrap();
        let expected = [range.len() - poison, poison, 0, 0].map(|count| count as u64);
        let ended = [of("delivered"), of("dead_lettered"), of("expired"), of("pending")];
        assert_eq!(ended, expected, "{replay}");
    }
    let marked = |name| requests.iter().any(|request| request.find("eventail-delivery") == name);
    assert!(replays.is_empty() || side.is_empty() || marked(Some("replay")), "replays are marked");
    assert_account(api, "replayed", side).await;
}

/// What was held is in its topic once and was delivered; what was cancelled never comes.
async fn assert_released(api: Api, scene: &Scene, noted: &Noted) {
    let waiting = |page: &Value| {
        let ids = page["delayed"].as_array().unwrap().iter().map(|held| held["event_id"].as_str().unwrap());
        ids.filter(|id| id.starts_with("near")).count()
    };
    let none_near = |page: &Value| waiting(page) == 0;
    until("what is held to be released", none_near, async || api.get_json("/v1/delayed?limit=1000").await)
        .await;
    let (mut ids, mut from) = (Vec::new(), 0);
    loop {
        let page = api.get_json(&format!("/v1/topics/later/events?from={from}&limit=1000")).await;
        let events = page["events"].as_array().unwrap();
        let Some(last) = events.last() else { break };
        from = last["offset"].as_u64().unwrap() + 1;
        ids.extend(events.iter().map(|stored| stored["event"]["id"].as_str().unwrap().to_owned()));
    }
    let distinct: HashSet<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(distinct.len(), ids.len(), "an event was released twice: {ids:?}");
    for (id, handle) in &noted.held {
        let held = api.get_json(&format!("/v1/delayed/{handle}")).await;
        assert_eq!(held["event_id"], **id, "{held}");
        if id.starts_with("near") {
            assert_eq!(held["state"], "released", "{held}");
            let offset = usize::try_from(held["offset"].as_u64().unwrap()).unwrap();
            assert_eq!(ids.get(offset), Some(id), "{held}");
        } else {
            let is_cancelled = held["state"] == "cancelled";
            assert!(is_cancelled || !noted.cancelled.contains(id), "{held} was cancelled");
            assert!(!distinct.contains(id.as_str()), "{held} must not come");
        }
    }
    assert_account(api, "later", &ids).await;
    let missing = scene.missing("later", &ids);
    assert!(missing.iter().all(|id| is_poison(crate::account::number(id))), "{missing:?}");
}

/// What retention left is whole, and what it took is told.
async fn assert_trimmed(api: Api, acts: &Acts, rounds: u64) {
    let settled = |status: &Value| status["account"]["pending"] == 0 && status["lag"] == 0;
    let status = until("trimmed to settle", settled, async || api.trigger("trimmed").await).await;
    let topic = api.get_json("/v1/topics/short").await;
    let (start, end) = (topic["start"].as_u64().unwrap(), topic["end"].as_u64().unwrap());
    let of = |name: &str| status["account"][name].as_u64().unwrap();
    assert_eq!(of("matched"), of("delivered") + of("dead_lettered") + of("expired"), "{status}");
    assert_eq!(of("matched") + status["lost"].as_u64().unwrap(), end, "{status}");
    // Kills may have come before more than is kept was there.
    let too_much = rounds >= ROUNDS && topic["bytes"].as_u64().unwrap() > RETENTION_BYTES;
    assert!(!too_much || start > 0, "nothing was trimmed: {topic}");
    let mut stored = Vec::new();
    while start + (stored.len() as u64) < end {
        let from = start + stored.len() as u64;
        let page = api.get_json(&format!("/v1/topics/short/events?from={from}&limit=500")).await;
        let events = page["events"].as_array().unwrap();
        assert!(!events.is_empty(), "nothing is at {from} of {topic}");
        for (event, at) in events.iter().zip(from..) {
            assert_eq!(event["offset"].as_u64(), Some(at));
            stored.push(event["event"]["id"].as_str().unwrap().to_owned());
        }
    }
    for (id, offset) in acts.short.acknowledged() {
        assert!(offset < end, "{id} at {offset} is behind the end of {topic}");
        if let Some(at) = offset.checked_sub(start) {
            assert_eq!(stored[usize::try_from(at).unwrap()], id, "at {offset} of {topic}");
        }
    }
}
