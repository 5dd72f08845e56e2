//! Finds what cargo built: the `eventail` binary and the examples, beside the test that runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}

/// The `eventail` binary. `tests/run` builds it; where only this crate was built, it is built now.
#[must_use]
pub fn eventail() -> PathBuf {
    built("eventail", "eventail-broker")
}

/// A binary of the workspace, by its name and its package's.
///
/// # Panics
/// Where it is missing and cargo cannot build it.
#[must_use]
pub fn built(name: &str, package: &str) -> PathBuf {
    /// Tests run side by side, and only one of them is to build.
    static BUILDING: Mutex<()> = Mutex::new(());

    let test = std::env::current_exe().expect("a process knows its file");
    let folder = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    let _one = BUILDING.lock();
    if !path.exists() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root()).args(["build", "--locked", "-p", package, "--bin", name, "--target-dir"]);
        cargo.arg(folder.parent().expect("a profile's folder lies in the target folder"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success() && path.exists(), "cargo could not build {name}");
    }
    path
}
