//! The environment of an instance: a clean one, so that nothing of the broker's own secrets reaches a function.
//!
//! From the broker's environment come only the variables of [`INHERITED`]: where programs and certificates are, the language
//! and the place for temporary files. On top stand the user's own where one is configured, the variables that Lambda sets, and
//! on top of those what is configured. Credentials are never passed on, nor are `HOME`, `PYTHONPATH` and the like of the broker:
//! a function that needs some is given them (`NAME = { env = "NAME" }`).
//! Left out on purpose: `AWS_EXECUTION_ENV` (Lambda sets it for its managed runtimes only) and `LAMBDA_RUNTIME_DIR`
//! (nothing of a runtime is installed here).

use std::ffi::OsString;
use std::net::SocketAddr;

use super::FunctionOptions;
use super::account::Account;

/// What an instance gets from the broker's own environment.
const INHERITED: [&str; 6] = ["PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// The memory that a function is told where none is configured: Lambda's default.
pub(super) const MEMORY_MB_DEFAULT: u32 = 128;
/// Where functions are when nobody says where.
const REGION_DEFAULT: &str = "us-east-1";

/// The region that functions are told: the broker's own, where it has one.
pub(super) fn region(ours: &dyn Fn(&str) -> Option<OsString>) -> String {
    let named =
        |name| ours(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    named("AWS_REGION").or_else(|| named("AWS_DEFAULT_REGION")).unwrap_or_else(|| REGION_DEFAULT.to_owned())
}

/// All variables of one instance; later ones win. `log_stream` names the instance as CloudWatch would.
pub(super) fn variables(
    options: &FunctionOptions,
    ours: &dyn Fn(&str) -> Option<OsString>,
    account: Option<&Account>,
    api: SocketAddr,
    log_stream: &str,
    is_kept_warm: bool,
) -> Vec<(String, OsString)> {
    let mut all: Vec<(String, OsString)> = Vec::with_capacity(40);
    all.extend(INHERITED.iter().filter_map(|&name| Some((name.to_owned(), ours(name)?))));
    if let Some(Account { name: Some(user), home: Some(home), .. }) = account {
        let user: OsString = user.into();
        all.push(("HOME".to_owned(), home.into()));
        all.extend(["USER", "LOGNAME"].map(|name| (name.to_owned(), user.clone())));
    }
    let name = options.name.as_str();
    let region = region(ours);
    let memory_mb = options.memory_mb.unwrap_or(MEMORY_MB_DEFAULT);
    let handler = options.handler.as_ref().or_else(|| options.command.last());
    let initialization = if is_kept_warm { "provisioned-concurrency" } else { "on-demand" };
    let set: [(&str, String); 11] = [
        ("AWS_LAMBDA_RUNTIME_API", api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.to_owned()),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("_HANDLER", handler.cloned().unwrap_or_default()),
        ("TZ", ":UTC".to_owned()),
    ];
    all.extend(set.map(|(name, value)| (name.to_owned(), value.into())));
    let root = options.directory.clone().or_else(|| std::env::current_dir().ok());
    all.extend(root.map(|root| ("LAMBDA_TASK_ROOT".to_owned(), root.into_os_string())));
    all.extend(options.environment.iter().map(|(name, value)| (name.clone(), value.expose().into())));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use eventail_wire::FunctionName;

    use super::*;
    use crate::function::Confinement;
    use crate::http::Secret;

    fn options() -> FunctionOptions {
        FunctionOptions {
            name: FunctionName::new("thumbs").unwrap(),
            command: ["python3", "-m", "awslambdaric", "app.handler"].map(str::to_owned).into(),
            directory: Some("/srv/thumbs".into()),
            environment: vec![("TABLE".to_owned(), Secret::new("t1".to_owned()))],
            handler: None,
            memory_mb: None,
            confinement: Confinement::default(),
            timeout_ms: 3_000,
            init_timeout_ms: 10_000,
            min_instances: 0,
            max_instances: 1,
            idle_timeout_ms: 1_000,
        }
    }

    fn told(options: &FunctionOptions, ours: &[(&str, &str)]) -> BTreeMap<String, OsString> {
        let ours = |name: &str| ours.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let api = "127.0.0.1:9001".parse().unwrap();
        variables(options, &ours, None, api, "2026/11/23/[$LATEST]0f", false).into_iter().collect()
    }

    #[test]
    fn a_function_sees_what_lambda_sets_and_what_is_configured() {
        let told = told(&options(), &[]);
        for (name, value) in [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("AWS_LAMBDA_FUNCTION_NAME", "thumbs"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/thumbs"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/23/[$LATEST]0f"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("_HANDLER", "app.handler"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("LAMBDA_TASK_ROOT", "/srv/thumbs"),
            ("TZ", ":UTC"),
            ("TABLE", "t1"),
        ] {
            assert_eq!(told.get(name).map(|value| value.to_str().unwrap()), Some(value), "{name}");
        }
    }

    #[test]
    fn a_function_sees_no_secret_of_the_broker() {
        let secret = ["AWS_SECRET_ACCESS_KEY", "EVENTAIL_TOKEN", "DB", "HOME", "PYTHONPATH", "LD_PRELOAD"];
        let mut ours = vec![("PATH", "/bin"), ("AWS_REGION", "eu-west-1")];
        ours.extend(secret.map(|name| (name, "the broker's own")));
        let told = told(&options(), &ours);
        assert_eq!(told["PATH"], "/bin");
        assert_eq!(told["AWS_REGION"], "eu-west-1");
        assert!(!told.values().any(|value| value == "the broker's own"), "{told:?}");
    }

    #[test]
    fn a_function_with_a_user_of_its_own_sees_that_users_home() {
        let account =
            Account { user: 7, group: 7, name: Some("worker".to_owned()), home: Some("/srv/w".into()) };
        let api = "127.0.0.1:9001".parse().unwrap();
        let told: BTreeMap<String, OsString> =
            variables(&options(), &|_| None, Some(&account), api, "", false).into_iter().collect();
        assert_eq!(
            ["HOME", "USER", "LOGNAME"].map(|name| told[name].to_str().unwrap()),
            ["/srv/w", "worker", "worker"]
        );
    }

    #[test]
    fn configured_variables_win_over_those_of_the_host() {
        let mut options = options();
        options.environment.push(("TZ".to_owned(), Secret::new("Europe/Berlin".to_owned())));
        assert_eq!(told(&options, &[])["TZ"], "Europe/Berlin");
    }
}
