//! What several modules' tests need: the real `bun`, when there is one.

use std::path::PathBuf;

/// The `bun` that tests run: `BUNTIME_TEST_BUN`, else the one on PATH. Without one, says so and the test is skipped;
/// under CI that is a failure.
pub fn bun(test: &str) -> Option<PathBuf> {
    let on_path =
        || std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join("bun")).find(|p| p.is_file());
    let bun = std::env::var_os("BUNTIME_TEST_BUN").map(PathBuf::from).or_else(on_path);
    if bun.is_none() {
        skip(test, "no bun: set BUNTIME_TEST_BUN or put bun on PATH");
    }
    bun
}

/// Says loudly that a test did not run; fails it under CI.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test} must not be skipped under CI: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
}
