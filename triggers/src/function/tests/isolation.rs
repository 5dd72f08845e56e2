//! What a function gets of the broker, what it may have, and who may speak to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use rustix::io::FdFlags;

use super::support::{Folder, call, json, until};
use crate::function::{RunError, StartError};

#[tokio::test(flavor = "multi_thread")]
async fn a_function_inherits_no_descriptor() {
    let folder = Folder::new(
        "serve(lambda event: {fd: os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd')\n\
         if os.path.exists('/proc/self/fd/' + fd) or os.path.islink('/proc/self/fd/' + fd)})",
    );
    // As one that who started the broker left open.
    let planted = std::fs::OpenOptions::new().read(true).open(folder.0.join("function.py")).unwrap();
    rustix::io::fcntl_setfd(&planted, FdFlags::empty()).unwrap();
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    let seen = json(&run);
    let seen: Vec<&str> = seen.as_object().unwrap().values().map(|link| link.as_str().unwrap()).collect();
    let odd: Vec<&&str> = seen.iter().filter(|link| link.starts_with('/') && **link != "/dev/null").collect();
    assert!(odd.is_empty(), "{} was planted, and it sees {seen:?}", planted.as_raw_fd());
    let count = |kind: &str| seen.iter().filter(|link| link.starts_with(kind)).count();
    assert_eq!(
        (count("pipe:"), count("socket:")),
        (2, 1),
        "its output, its errors and its own connection: {seen:?}"
    );
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_no_more_files_than_it_may_have() {
    let folder = Folder::new(
        "
def handle(event):
    held = []
    try:
        while len(held) < 1000:
            held.append(open('/dev/null'))
    except OSError as error:
        return [len(held), error.errno]
    return [len(held), 0]
serve(handle)
",
    );
    let function = folder.function(|options| options.confinement.open_files_max = 32);
    let run = function.invoke(call("{}")).await;
    let seen = json(&run);
    assert!(seen[0].as_u64().is_some_and(|count| (16..32).contains(&count)), "{seen}");
    assert_eq!(seen[1], libc::EMFILE);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_not_there_is_told_and_no_process_starts() {
    let folder = Folder::new("serve(lambda event: 1)");
    let function = folder.function(|options| options.confinement.user = Some("no-such-user".to_owned()));
    let run = function.invoke(call("{}")).await;
    let Err(RunError::Start(error)) = &run.result else { panic!("{run:?}") };
    assert!(matches!(**error, StartError::Account { .. }), "{error:?}");
    let told = run.result.unwrap_err().to_string();
    assert!(told.contains("there is no user `no-such-user` in /etc/passwd"), "{told}");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_instance_can_speak_to_its_runtime_api() {
    let folder = Folder::new(
        "
def handle(event):
    if event['stay']:
        until_it_exists('open')
    return API
serve(handle)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call(r#"{"stay":false}"#)).await;
    let api = json(&run).as_str().unwrap().to_owned();
    let busy = super::support::spawn(&function, call(r#"{"stay":true}"#));
    until(&function, |status| status.busy == 1).await;
    // This test is another process of the same user.
    let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";
    let lie = "POST /2018-06-01/runtime/invocation/made-up/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    for request in [next, lie] {
        let address = api.clone();
        let heard = tokio::task::spawn_blocking(move || {
            let mut stranger = TcpStream::connect(address).unwrap();
            stranger.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stranger.write_all(request.as_bytes()).ok();
            let mut heard = Vec::new();
            match stranger.read_to_end(&mut heard) {
                Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
                _ => heard,
            }
        });
        assert_eq!(String::from_utf8(heard.await.unwrap()).unwrap(), "", "a stranger was answered");
    }
    folder.let_go("open");
    let run = busy.await.unwrap();
    assert_eq!(json(&run), api.as_str(), "the instance was disturbed");
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_the_command_starts_may_speak_in_its_place() {
    // As `sh -c` and `npm` do; the second one also leaves the group.
    for new_group in ["False", "True"] {
        let folder = Folder::new(&format!(
            "
if len(sys.argv) == 1:
    sys.exit(subprocess.Popen([sys.executable, 'function.py', 'child'], start_new_session={new_group}).wait())
serve(lambda event: os.getppid())
"
        ));
        let function = folder.function(|_| {});
        let run = function.invoke(call("{}")).await;
        assert!(run.result.is_ok(), "{run:?}");
        function.close().await;
    }
}
