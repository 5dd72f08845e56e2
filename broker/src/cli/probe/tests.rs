//! Probes against real listeners, closed ports and temporary folders.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn config(folder: &Path, text: &str) -> Config {
    let name = folder.join("eventail.toml").display().to_string();
    Config::parse(&name, text, &|_| None).unwrap()
}

/// What was found of one subject.
async fn found(config: &Config, subject: &str, path: Option<&str>) -> Result<String, ProbeError> {
    let disk = Arc::new(eventail_storage::disk_io::OsDisk);
    let probes = all(config, disk, Timestamp(0), path.map(OsString::from)).await;
    probes.into_iter().find(|probe| probe.subject == subject).unwrap().outcome
}

fn http(url: &str, allow: &str) -> String {
    format!("[egress]\nallow = [{allow}]\n[triggers.t.target.http]\nurl = \"{url}\"\n")
}

#[tokio::test]
async fn a_target_that_takes_connections_is_ok_and_a_closed_port_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let open = config(folder.path(), &http(&format!("http://{address}/hook"), "\"127.0.0.0/8\""));
    assert_eq!(found(&open, "trigger t", None).await.unwrap(), format!("connected to {address}"));
    drop(listener);
    let refused = found(&open, "trigger t", None).await.unwrap_err();
    assert!(matches!(refused, ProbeError::Connect(ConnectError::Connect { .. })), "{refused:?}");
    assert!(refused.text().contains("refused") && refused.next().contains("start the target"));
}

#[tokio::test]
async fn a_target_in_a_network_that_is_not_allowed_and_one_without_an_address_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let inside = config(folder.path(), &http("http://127.0.0.1:9/", ""));
    let told = found(&inside, "trigger t", None).await.unwrap_err();
    assert!(told.text().contains("loopback") && told.next().contains("egress.allow"), "{}", told.text());
    let nowhere = config(folder.path(), &http("http://no-such-host.invalid/", ""));
    let told = found(&nowhere, "trigger t", None).await.unwrap_err();
    assert!(matches!(told, ProbeError::Connect(ConnectError::Resolve { .. } | ConnectError::Timeout { .. })));
}

#[tokio::test]
async fn a_certificate_is_tried_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let listen = config(folder.path(), "[listen.tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n");
    let told = found(&listen, "certificate", None).await.unwrap_err();
    assert!(told.text().contains("a.key") && told.next().contains("listen.tls"), "{}", told.text());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("a.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("a.key"), made.signing_key.serialize_pem()).unwrap();
    let told = found(&listen, "certificate", None).await.unwrap();
    assert_eq!(told, "it fits its key, and ends at 4096-01-01T00:00:00.000Z");
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(folder.path().join("a.key"), other).unwrap();
    assert!(matches!(
        found(&listen, "certificate", None).await,
        Err(ProbeError::Certificate(TlsError::Pair(_)))
    ));
}

#[tokio::test]
async fn a_functions_program_is_looked_for_as_it_will_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let (bin, work) = (folder.path().join("bin"), folder.path().join("work"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::create_dir(&work).unwrap();
    let program = bin.join("serve-it");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    let path = bin.display().to_string();
    let of = |keys: &str| config(folder.path(), &format!("[functions.f]\n{keys}\n"));
    let named = of("command = [\"serve-it\"]\ndirectory = \"work\"");
    let told = found(&named, "function f", Some(&path)).await.unwrap_err();
    assert!(matches!(told, ProbeError::NotInPath { .. }), "not executable: {told:?}");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        found(&named, "function f", Some(&path)).await.unwrap(),
        format!("found {}", program.display())
    );
    assert!(found(&named, "function f", Some("/nowhere")).await.is_err());
    let own = of(&format!("command = [\"serve-it\"]\nenvironment = {{ PATH = \"{path}\" }}"));
    assert!(found(&own, "function f", None).await.is_ok(), "the function's own PATH");
    let relative = of("command = [\"../bin/serve-it\"]\ndirectory = \"work\"");
    assert!(found(&relative, "function f", None).await.is_ok(), "it begins at the working directory");
    let told = found(&of("command = [\"./serve-it\"]\ndirectory = \"work\""), "function f", None).await;
    assert!(matches!(told, Err(ProbeError::Program { .. })));
    let told = found(&of("command = [\"serve-it\"]\ndirectory = \"gone\""), "function f", Some(&path)).await;
    assert!(matches!(told, Err(ProbeError::Directory { .. })));
}

#[tokio::test]
async fn the_data_folder_is_written_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "data_dir = \"data\"");
    let told = found(&config, "data", None).await.unwrap();
    assert!(told.contains("not there yet"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let logs = folder.path().join("data").join(LOGS);
    std::fs::create_dir_all(&logs).unwrap();
    assert_eq!(found(&config, "data", None).await.unwrap(), "it can be written");
    let left: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == ".lock"), "{left:?}");
}

#[tokio::test]
async fn a_data_folder_that_a_broker_uses_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "data_dir = \"data\"");
    let logs = folder.path().join("data").join(LOGS);
    std::fs::create_dir_all(&logs).unwrap();
    let _lock = eventail_storage::disk_io::OsDisk.lock(&logs.join(".lock")).unwrap();
    assert!(found(&config, "data", None).await.unwrap().contains("left alone"));
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "a file").unwrap();
    let config = config(folder.path(), "data_dir = \"data\"");
    let told = found(&config, "data", None).await.unwrap_err();
    assert!(matches!(told, ProbeError::Data { .. }) && told.next().contains("data_dir"), "{told:?}");
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn credentials_that_are_nowhere_are_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[triggers.t.target.lambda]\nfunction = \"bill\"\nregion = \"eu-west-1\"\nprofile = \"no-such-profile\"\n";
    let told = found(&config(folder.path(), text), "trigger t", None).await.unwrap_err();
    assert!(matches!(told, ProbeError::Signing(_) | ProbeError::Slow { .. }) && !told.next().is_empty());
}

#[tokio::test]
async fn a_function_whose_user_is_not_there_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[functions.f]\ncommand = [\"/bin/sh\"]\nuser = \"nobody-of-this-name\"\n";
    let told = found(&config(folder.path(), text), "function f", None).await.unwrap_err();
    assert!(told.text().contains("there is no user `nobody-of-this-name`"), "{}", told.text());
    assert!(told.next().contains("`user`"));
}

#[tokio::test]
async fn a_port_that_is_not_called_is_told_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        http("http://127.0.0.1:9/", "\"127.0.0.0/8\"").replace("[triggers", "ports = [\"443\"]\n[triggers");
    let told = found(&config(folder.path(), &text), "trigger t", None).await.unwrap_err();
    assert!(told.text().contains("port 9") && told.next().contains("egress.ports"), "{}", told.next());
}
