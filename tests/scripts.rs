//! What all scripts share: `scripts/lib.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What these lines print, called from `dir` with this `CDPATH`, after `lib.sh` was read by this name.
fn script(dir: &Path, lib: &str, lines: &str, cdpath: &str) -> String {
    let mut bash = Command::new("bash");
    let output =
        bash.args(["-c", &format!(". '{lib}'\n{lines}")]).current_dir(dir).env("CDPATH", cdpath).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn scripts_work_in_their_repository_whatever_cdpath_is_exported() {
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("scripts")).unwrap();
    let root = project("").canonicalize().unwrap();
    let said = script(&root, "scripts/lib.sh", "pwd", other.path().to_str().unwrap());
    assert_eq!(said, format!("{}\n", root.display()));
}

#[test]
fn paths_in_arguments_are_meant_from_where_a_script_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().canonicalize().unwrap();
    let here = here.to_str().unwrap();
    let lines = r#"
take_arguments "--binary --config" --binary a/b --port 1 --config=c --binary /d "e f"
printf '%s\n' "${arguments[@]}""#;
    let expected = format!("--binary\n{here}/a/b\n--port\n1\n--config={here}/c\n--binary\n/d\ne f\n");
    let lib = project("scripts/lib.sh");
    assert_eq!(script(dir.path(), lib.to_str().unwrap(), lines, ""), expected);
}
