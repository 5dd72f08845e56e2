//! Schedules: a real broker that does something at a set time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use eventail_tests::script::always;
use eventail_tests::{Home, Receiver, Reply, eventually};
use eventail_wire::Timestamp;
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, trigger};

/// A moment from now, to the second, as `at(...)` has it.
fn soon(seconds: u64) -> String {
    #[allow(clippy::disallowed_methods, reason = "the broker under test goes by the system's clock")]
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(seconds);
    let moment = Timestamp(u64::try_from(now.as_millis()).unwrap() / 1000 * 1000).to_string();
    moment.split('.').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_schedule_publishes_and_calls_once_and_never_again_after_a_restart() {
    let receiver = Receiver::with(always(Reply::Status(204))).await;
    let at = soon(3);
    let schedules = format!(
        "[schedules.report]\nexpression = \"at({at})\"\ntopic = \"jobs\"\ntype = \"job.report\"\ndata = {{ job = 7 }}\n\
         [schedules.cleanup]\nexpression = \"at({at})\"\ntrigger = \"ship\"\n"
    );
    let home = Home::new(&format!("{}\n{schedules}", trigger("ship", &receiver.url("/"), QUICK)));
    let server = home.start().await;
    let api = server.api();
    assert_eq!(api.get_json("/v1/schedules/report").await["next_runs"], json!([format!("{at}.000Z")]));

    eventually("both run", async || {
        let all = api.get_json("/v1/schedules").await;
        all["schedules"].as_array().unwrap().iter().all(|schedule| schedule["runs"] == 1).then_some(())
    })
    .await;
    let called = &receiver.wait_for(1).await[0];
    assert_eq!(called.header("ce-id"), format!("cleanup/{at}.000Z"));
    assert_eq!(called.header("ce-eventailschedule"), "cleanup");
    at_rest(api, "ship", 1).await;

    server.kill_9().await;
    let server = home.start().await;
    let events = server.api().get_json("/v1/topics/jobs/events?from=earliest").await;
    let events = events["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    let event = &events[0]["event"];
    assert_eq!((&event["type"], &event["data"]), (&json!("job.report"), &json!({ "job": 7 })));
    assert_eq!(event["eventailscheduledtime"], format!("{at}.000Z"));
    let report = server.api().get_json("/v1/schedules/report").await;
    assert_eq!((&report["runs"], &report["next_runs"]), (&json!(1), &json!([])));
    at_rest(server.api(), "ship", 1).await;
    // The kill may have come before the settlement was on disk: then the same delivery comes again, and no other does.
    let calls = receiver.received();
    let deliveries: BTreeSet<&str> = calls.iter().map(|call| call.header("webhook-id")).collect();
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    assert!(calls.len() <= 2, "{}", calls.len());
}

#[tokio::test]
async fn the_next_ten_runs_are_shown_with_and_without_a_broker() {
    let home = Home::new(
        "[schedules.nightly]\nexpression = \"cron(30 2 * * ? *)\"\ntimezone = \"Europe/Paris\"\ntopic = \"jobs\"\n",
    );
    let server = home.start().await;
    let config = home.write_config().display().to_string();
    let url = server.url();
    for arguments in [
        &["schedules", "--config", &config][..],
        &["schedules", "--url", &url],
        &["schedules", "nightly", "--url", &url],
    ] {
        let output = home.command(arguments).output().await.unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shown}");
        assert_eq!(shown.matches("T02:30:00+0").count(), 10, "{arguments:?}: {shown}");
    }
    let output = home.command(&["schedules", "-o", "json", "--config", &config]).output().await.unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["schedules"][0]["next_runs"].as_array().unwrap().len(), 10);
    let absent = home.command(&["schedules", "absent", "--config", &config]).output().await.unwrap();
    assert_eq!(absent.status.code(), Some(1));
    let metrics = server.api().get("/metrics").await;
    assert!(metrics.text().contains("eventail_schedule_runs_total{schedule=\"nightly\"} 0"));
}
