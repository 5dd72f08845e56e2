//! The standard credential chain. It reads the process's environment, so each case runs in a process of its own: this test
//! binary again, with one test that invokes.

use std::process::{Command, Output};

use super::signature::check;
use super::*;

const ENDPOINT: &str = "EVENTAIL_TEST_ENDPOINT";
const PROFILE: &str = "EVENTAIL_TEST_PROFILE";

#[tokio::test]
async fn invokes_with_what_the_environment_says() {
    let Some(target) = environments_target() else { return };
    let answer = invoke(&target).await;
    println!("{answer:?}");
    assert!(is_acked(&answer.outcome));
}

#[tokio::test]
async fn is_refused_and_invokes_again() {
    let Some(target) = environments_target() else { return };
    let (class, _, response) = retried(invoke(&target).await.outcome);
    println!("{response:?}");
    assert_eq!(class, RetryClass::Unreachable);
    let answer = invoke(&target).await;
    println!("{answer:?}");
    assert!(is_acked(&answer.outcome));
}

/// The others run these two, in a process and an environment of its own. Among them they have nothing to do.
fn environments_target() -> Option<LambdaTarget> {
    let endpoint = std::env::var(ENDPOINT).ok()?;
    let options = LambdaTargetOptions {
        function: "ship".to_owned(),
        qualifier: None,
        region: None,
        endpoint: Some(endpoint.parse().unwrap()),
        profile: std::env::var(PROFILE).ok(),
        invocation: InvocationType::Sync,
        payload: PayloadShape::CloudEvent,
    };
    Some(LambdaTarget::new(options, loopback()).unwrap())
}

async fn run(server: &Server, test: &str, environment: &[(&str, String)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("lambda::tests::chain::{test}")]);
    // Nothing of the machine's own credentials, and no search for a metadata service that is not there.
    command.env_clear().env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env(ENDPOINT, format!("http://{}", server.address)).arg("--nocapture");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains(SECRET));
    assert!(!String::from_utf8_lossy(&output.stderr).contains(SECRET));
    output
}

async fn invokes(server: &Server, environment: &[(&str, String)]) {
    let output = run(server, "invokes_with_what_the_environment_says", environment).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn keys_and_region_come_from_the_environment() {
    let server = answering(|| answer(200), "{}").await;
    let environment = [
        ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_SESSION_TOKEN", "token".to_owned()),
        ("AWS_REGION", "ap-south-1".to_owned()),
    ];
    invokes(&server, &environment).await;
    check(&server.last(), KEY_ID, SECRET, "ap-south-1");
    assert_eq!(server.last().0.headers["x-amz-security-token"], "token");
}

#[tokio::test]
async fn keys_and_region_come_from_a_profile() {
    let server = answering(|| answer(200), "{}").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let keys = |id: &str| format!("aws_access_key_id = {id}\naws_secret_access_key = {SECRET}\n");
    let credentials = format!("[default]\n{}[other]\n{}", keys("AKIDDEFAULT"), keys("AKIDOTHER"));
    let config = "[default]\nregion = us-west-1\n[profile other]\nregion = sa-east-1\n".to_owned();
    let mut environment = vec![
        ("AWS_SHARED_CREDENTIALS_FILE", file("credentials", credentials)),
        ("AWS_CONFIG_FILE", file("config", config)),
    ];
    invokes(&server, &environment).await;
    check(&server.last(), "AKIDDEFAULT", SECRET, "us-west-1");
    environment.push((PROFILE, "other".to_owned()));
    invokes(&server, &environment).await;
    check(&server.last(), "AKIDOTHER", SECRET, "sa-east-1");
}

#[tokio::test]
async fn keys_that_were_changed_in_a_profile_are_read_again_when_the_old_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    let write = {
        let credentials = credentials.clone();
        move |id: &str| {
            let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {SECRET}\n");
            std::fs::write(&credentials, text).unwrap();
        }
    };
    write("AKIDOLD");
    let server = Server::answering(move |head, _| {
        if head.headers["authorization"].to_str().unwrap().contains("AKIDOLD/") {
            write("AKIDNEW");
            let refused = answer(403).header("x-amzn-errortype", "UnrecognizedClientException");
            return with_body(
                refused,
                r#"{"message":"The security token included in the request is invalid."}"#,
            );
        }
        with_body(answer(200), "{}")
    })
    .await;
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap().to_owned()),
        ("AWS_CONFIG_FILE", "/nonexistent".to_owned()),
        ("AWS_REGION", "eu-north-1".to_owned()),
    ];
    let output = run(&server, "is_refused_and_invokes_again", &environment).await;
    assert!(output.status.success(), "{output:?}");
    check(&server.last(), "AKIDNEW", SECRET, "eu-north-1");
}

#[tokio::test]
async fn keys_come_from_a_containers_metadata_service() {
    let metadata = Server::answering(|head, _| {
        assert_eq!(head.headers["authorization"], "let me in");
        let body = format!(
            r#"{{"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{SECRET}","Token":"t","Expiration":"2096-02-25T06:03:31Z"}}"#
        );
        with_body(answer(200), body)
    })
    .await;
    let server = answering(|| answer(200), "{}").await;
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/keys?x=1", metadata.address)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in".to_owned()),
        ("AWS_REGION", "eu-north-1".to_owned()),
    ];
    invokes(&server, &environment).await;
    check(&server.last(), KEY_ID, SECRET, "eu-north-1");
    assert_eq!(metadata.last().0.uri.to_string(), "/keys?x=1");
}

#[tokio::test]
async fn keys_come_from_a_web_identity() {
    let sts = Server::answering(|_, body| {
        let body = std::str::from_utf8(body).unwrap();
        assert!(body.contains("Action=AssumeRoleWithWebIdentity") && body.contains("WebIdentityToken=a.jwt"));
        let answer_body = format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{KEY_ID}</AccessKeyId>\
             <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2096-02-25T06:03:31Z</Expiration></Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        with_body(answer(200).header("content-type", "text/xml"), answer_body)
    })
    .await;
    let server = answering(|| answer(200), "{}").await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a.jwt").unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap().to_owned()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r".to_owned()),
        ("AWS_ENDPOINT_URL_STS", format!("http://{}", sts.address)),
        ("AWS_REGION", "eu-north-1".to_owned()),
    ];
    invokes(&server, &environment).await;
    check(&server.last(), KEY_ID, SECRET, "eu-north-1");
}

#[tokio::test]
async fn a_chain_without_keys_says_so() {
    let server = answering(|| answer(200), "{}").await;
    let output =
        run(&server, "invokes_with_what_the_environment_says", &[("AWS_REGION", "eu-north-1".to_owned())])
            .await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Unreachable") && said.contains("no AWS credentials"), "{said}");
    assert_eq!(server.connections(), 0);
}
