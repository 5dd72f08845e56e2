//! `kill -9` at random moments under load. Afterwards nothing that was acknowledged is missing, each trigger's account is
//! complete, attempts and their order survived, and the index can be thrown away.
#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

mod account;
mod load;

use std::sync::Arc;

use eventail_tests::{Home, Received, Receiver, Reply};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::account::{assert_all_read_back, assert_all_settled, assert_repeats_are_recognised, observable};
use crate::load::{Ledger, load_until};

const ROUNDS: u64 = 20;
/// Another seed gives other moments; a failure prints it.
const SEED: u64 = 0x5eed_2026;
/// One of so many events is never taken by its target.
const POISON_EVERY: usize = 29;
/// One of so many is refused at its first attempts.
const STUBBORN_EVERY: usize = 7;

const TABLES: &str = r#"
[topics.load]
segment_bytes = "1MiB"

[triggers.all]
topic = "load"
start = "earliest"
concurrency = 16
retry = { max_attempts = 4, backoff_initial = "20ms", backoff_max = "200ms" }
breaker = { failures = 10000 }
[triggers.all.target.http]
url = "ALL"

[triggers.keyed]
topic = "load"
start = "earliest"
concurrency = 16
ordering = "key"
key = "partitionkey"
retry = { max_attempts = 4, backoff_initial = "20ms", backoff_max = "200ms" }
breaker = { failures = 10000 }
[triggers.keyed.target.http]
url = "KEYED"
"#;

/// What the target makes of an event, by the number at the end of its id.
fn judge(request: &Received) -> Reply {
    let number: usize = request.id().rsplit('-').next().unwrap().parse().unwrap();
    if is_poison(number) {
        Reply::Text(500, "poison".to_owned())
    } else if number.is_multiple_of(STUBBORN_EVERY) && request.header("eventail-attempt") < "3" {
        Reply::Status(500)
    } else {
        Reply::Status(204)
    }
}

const fn is_poison(number: usize) -> bool {
    number % POISON_EVERY == POISON_EVERY - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing_and_leave_every_account_complete() {
    let receiver = Receiver::forgetful(judge).await;
    let tables = TABLES.replace("ALL", &receiver.url("/all")).replace("KEYED", &receiver.url("/keyed"));
    let home = Home::new(&tables);
    let ledger = Arc::new(Ledger::default());
    let mut dice = SmallRng::seed_from_u64(SEED);
    for round in 0..ROUNDS {
        let server = home.start().await;
        // Sometimes in the middle of recovery and the first deliveries, sometimes after a good while.
        let acks = dice.random_range(1..400);
        load_until(server, &ledger, round, acks).await;
    }

    let server = home.start().await;
    let api = server.api();
    let events = assert_all_read_back(api, &ledger).await;
    for trigger in ["all", "keyed"] {
        assert_all_settled(api, &receiver, trigger, &events).await;
    }
    assert_repeats_are_recognised(api, &ledger).await;
    server.stop().await;

    // What lies in the index can be told from the logs.
    let server = home.start().await;
    let before = observable(server.api(), &events).await;
    server.stop().await;
    std::fs::remove_dir_all(home.data().join("index")).expect("the index is a folder of its own");
    let server = home.start().await;
    let after = observable(server.api(), &events).await;
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    server.stop().await;
}
