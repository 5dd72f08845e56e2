//! What functions did and cost, over the API.

use eventail_triggers::function::{Confinement, FunctionOptions};
use eventail_triggers::ledger::{Budget, BudgetAction};
use eventail_triggers::outcome::Outcome;
use eventail_triggers::report::{Architecture, Report, RunEnd};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::TriggerName;
use serde_json::{Value, json};

use super::support::Served;
use crate::config::{TargetOptions, Trigger};

fn report(function: &str) -> Report {
    Report {
        function: function.into(),
        end: RunEnd::Succeeded,
        init_ms: Some(110.0),
        duration_ms: 3.0,
        billed_ms: Some(114),
        memory_mb: Some(128),
        memory_used_mb: Some(36),
        architecture: Architecture::Arm,
    }
}

struct Takes;

impl Target for Takes {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async { Outcome::Ack { reply: None }.into() })
    }
}

#[tokio::test]
async fn functions_are_listed_and_shown_with_what_they_did_and_cost() {
    let served = Served::start_with(|config| {
        let name = "quiet".parse().unwrap();
        config.functions.insert(name, idle_function());
    })
    .await;
    for function in ["lambda resize", "function resize", "lambda arn:aws:lambda:eu-west-1:1:function:f:live"]
    {
        served.broker.record_call(&report(function), 2);
    }
    let listed = served.get("/v1/functions").await.ok(200);
    let told: Vec<_> =
        listed["functions"].as_array().unwrap().iter().map(|one| (&one["kind"], &one["name"])).collect();
    let arn = json!("arn:aws:lambda:eu-west-1:1:function:f:live");
    let (function, lambda, resize) = (json!("function"), json!("lambda"), json!("resize"));
    assert_eq!(
        told,
        [(&function, &json!("quiet")), (&function, &resize), (&lambda, &arn), (&lambda, &resize)]
    );

    let shown = served.get("/v1/functions/resize?window=2h").await.ok(200);
    assert_eq!((&shown["kind"], &shown["window_ms"]), (&function, &json!(7_200_000)));
    assert_eq!(
        (&shown["calls"], &shown["events"], &shown["cold_percent"]),
        (&json!(1), &json!(2), &json!(100.0))
    );
    assert_eq!(
        (&shown["billed_ms_per_1000_events"], &shown["cost_basis"]),
        (&json!(57_000.0), &json!("as_lambda_would_bill"))
    );
    assert_eq!(
        (&shown["memory_mb"], &shown["memory_used_mb"], &shown["instances"]),
        (&json!(128), &json!(36), &Value::Null)
    );
    assert_eq!(
        shown["triggers"],
        json!([{"trigger": null, "calls": 1, "events": 2, "failures": 0, "cost": shown["cost"]}])
    );
    assert_eq!(served.get("/v1/functions/lambda%20resize").await.ok(200)["cost_basis"], "billed");
    assert_eq!(
        served.get(&format!("/v1/functions/{}", arn.as_str().unwrap())).await.ok(200)["kind"],
        "lambda"
    );
    assert_eq!(served.get("/v1/functions/quiet").await.ok(200)["calls"], 0);
    served.stop().await;
}

#[tokio::test]
async fn a_function_or_a_window_that_is_none_is_a_problem() {
    let served = Served::start().await;
    served.get("/v1/functions/absent").await.problem(404, "unknown_function");
    for target in [
        "/v1/functions?window=31d",
        "/v1/functions?window=0s",
        "/v1/functions/f?window=day",
        "/v1/functions?x=1",
    ] {
        served.get(target).await.problem(400, "invalid_parameter");
    }
    assert_eq!(served.get("/v1/functions").await.ok(200), json!({"functions": []}));
    served.stop().await;
}

#[tokio::test]
async fn a_trigger_tells_its_budget() {
    let served = Served::start_with(|config| {
        let budget = Some(Budget { per_day: 2.5, action: BudgetAction::Pause });
        let trigger = Trigger { budget, ..Trigger::new(TargetOptions::Handler(std::sync::Arc::new(Takes))) };
        config.triggers.insert(TriggerName::new("ship").unwrap(), trigger);
    })
    .await;
    let budget = served.get("/v1/triggers/ship").await.ok(200)["budget"].clone();
    assert_eq!(
        (&budget["per_day"], &budget["action"], &budget["level"]),
        (&json!(2.5), &json!("pause"), &json!("within"))
    );
    assert_eq!(served.get("/v1/triggers").await.ok(200)["triggers"][0]["budget"], budget);
    served.stop().await;
}

fn idle_function() -> FunctionOptions {
    FunctionOptions {
        name: "quiet".parse().unwrap(),
        command: vec!["true".to_owned()],
        directory: None,
        environment: Vec::new(),
        handler: None,
        memory_mb: None,
        confinement: Confinement::default(),
        timeout_ms: 1_000,
        init_timeout_ms: 1_000,
        min_instances: 0,
        max_instances: 1,
        idle_timeout_ms: 1_000,
    }
}
