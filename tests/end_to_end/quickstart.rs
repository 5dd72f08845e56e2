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
    let count = |part: &str| text.matches(part).count();
    for (part, times) in [
        ("appended, safe on disk", 10),
        ("  matched\n", 10),
        (": failed 500", 6),
        ("attempt 3: delivered", 3),
        ("write-receipt    attempt 1: delivered", 3),
        ("dead-lettered as dead-letters/", 2),
    ] {
        assert_eq!(count(part), times, "{part:?} in:\n{text}");
    }
    for part in [
        "11 events acknowledged, 1 of them as a repeat",
        "2 of 2 dead letters redriven.",
        "2 dead letters written, 0 left to redrive",
        "eventail serve",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let row = |name: &str, nth: usize| {
        let mut rows = text.lines().filter(|line| line.trim_start().starts_with(name));
        rows.nth(nth).unwrap_or_else(|| panic!("no {name} in:\n{text}")).to_owned()
    };
    for name in ["ship-order ", "record-payment ", "sync-crm ", "write-receipt "] {
        assert!(row(name, 0).ends_with("yes"), "{text}");
    }
    assert_eq!(count("  yes\n"), 4, "the quickstart's own triggers and no others: {text}");
    // Of three calls the first was cold.
    let ledger = row("write-receipt ", 1);
    assert_eq!(ledger.split_whitespace().skip(1).take(2).collect::<Vec<_>>(), ["3", "1"], "{text}");
    // It needs no file and leaves none.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "{text}");
}
