//! Whose folder is taken, and what is done in it.

use super::*;

fn arguments(dir: &std::path::Path) -> Arguments {
    let output = Output { output: Format::Json };
    Arguments { dir: dir.to_owned(), rounds: 1, seconds: None, seed: 3, append: false, output }
}

#[tokio::test]
async fn a_folder_with_files_of_others_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "precious").unwrap();
    let refused = run(arguments(dir.path()), &mut Screen::plain(std::io::sink())).await.unwrap_err();
    assert!(matches!(refused, CliError::TortureFolder { .. }), "{refused}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
    // The process that appends asks as well.
    let appending = Arguments { append: true, ..arguments(dir.path()) };
    assert!(run(appending, &mut Screen::plain(std::io::sink())).await.is_err());
}

#[test]
fn a_folder_of_an_earlier_run_is_taken_and_left_empty() {
    let dir = tempfile::tempdir().unwrap();
    let part = Folder::claim(dir.path()).unwrap().fresh("crash").unwrap();
    std::fs::write(part.join("left"), "over").unwrap();
    let folder = Folder::claim(dir.path()).unwrap();
    assert!(!part.exists());
    folder.tidy().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_power_cut_round_tries_states_and_finds_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::claim(dir.path()).unwrap();
    let mut report = Report::new(&folder, 3);
    power_cut(&folder, 3, &mut report).await.unwrap();
    assert!(!report.is_lost(), "{}", report.to_json());
    let told = report.to_json();
    assert!(told["power_cuts"]["states"].as_u64().unwrap() > 100, "{told}");
    assert!(told["sync_us"]["count"].as_u64().unwrap() > 20, "{told}");
}
