//! The first thing that anyone runs.

use std::time::Duration;

use eventail_tests::Home;

#[tokio::test]
async fn the_quickstart_tells_the_whole_story_and_ends_well() {
    let home = Home::new("");
    let run = home.command(&["quickstart"]).output();
    let output = tokio::time::timeout(Duration::from_secs(120), run).await.expect("it ends in time").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let lower = text.to_lowercase();
    for word in ["appended", "matched", "delivered", "dead-letter", "redriv", "eventail serve"] {
        assert!(lower.contains(word), "no {word:?} in:\n{text}");
    }
    // It needs no file and leaves none.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "{text}");
}
