//! The unit files, by what systemd says of them.

use std::fs::{create_dir_all, read_to_string, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// None = systemd-analyze is not there, which was said.
fn analyze(test: &str, args: &[&str]) -> Option<String> {
    let output = match Command::new("systemd-analyze")
        .args(args)
        .envs([("SYSTEMD_COLORS", "0"), ("LC_ALL", "C.UTF-8")])
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!ci, "{test} must not be skipped under CI: systemd-analyze: {error}");
            eprintln!("SKIPPED {test}: systemd-analyze: {error}");
            return None;
        }
    };
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8(said).unwrap())
}

/// A root with this system's own units, ours, and programs by the names that ours start.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for dir in ["usr/bin", "usr/lib/systemd/system", "etc/systemd/system/buntime.service.d"] {
        create_dir_all(at(dir)).unwrap();
    }
    for (link, to) in [("bin", "usr/bin"), ("lib", "usr/lib")] {
        std::os::unix::fs::symlink(to, at(link)).unwrap();
    }
    for program in ["buntime", "kill", "sh"] {
        let program = at("usr/bin").join(program);
        write(&program, "#!/bin/sh\n").unwrap();
        set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let ours = ["buntime.service", "buntime.socket"].map(|name| project("systemd").join(name));
    let of_system = std::fs::read_dir("/usr/lib/systemd/system").into_iter().flatten();
    let of_system = of_system.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    for unit in of_system.chain(ours) {
        write(at("usr/lib/systemd/system").join(unit.file_name().unwrap()), std::fs::read(unit).unwrap())
            .unwrap();
    }
    root
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    let test = "systemd_finds_nothing_to_say_about_the_units";
    let root = root();
    let from = format!("--root={}", root.path().display());
    let verify = ["verify", "--man=no", &from, "buntime.service", "buntime.socket"];
    let Some(said) = analyze(test, &verify) else { return };
    assert_eq!(said, "");
    // Were something wrong, it would say so.
    let unit = root.path().join("usr/lib/systemd/system/buntime.service");
    write(&unit, read_to_string(&unit).unwrap().replace("LimitNOFILE", "LimitFiles")).unwrap();
    assert!(analyze(test, &verify).unwrap().contains("LimitFiles"));
}

/// What `docs/operate.md` says of them: how exposed the service is, and why it is not less.
#[test]
fn the_service_is_as_exposed_as_the_documents_say_with_a_reason_for_each_exception() {
    let test = "the_service_is_as_exposed_as_the_documents_say_with_a_reason_for_each_exception";
    let unit = project("systemd/buntime.service");
    let args = ["security", "--offline=yes", "--no-pager", unit.to_str().unwrap()];
    let Some(said) = analyze(test, &args) else { return };
    let level = said.split("Overall exposure level for buntime.service: ").nth(1).unwrap();
    let level = level.split_whitespace().next().unwrap();
    let document = read_to_string(project("docs/operate.md")).unwrap();
    let recorded = document.split("exposure level is **").nth(1).unwrap().split("**").next().unwrap();
    let number = |text: &str| text.parse::<f64>().unwrap();
    assert!(number(level) <= number(recorded), "it is {level}, and the document says {recorded}");
    let exceptions = said.lines().filter_map(|line| line.strip_prefix("✗ "));
    let mut reasons = 0;
    for name in exceptions.map(|line| line.split_whitespace().next().unwrap()) {
        // A bar would end the cell of the table.
        let row = format!("| `{}` |", name.replace('|', r"\|"));
        assert!(document.contains(&row), "no reason for {name}");
        reasons += 1;
    }
    assert!(reasons > 0);
}

#[test]
fn the_service_waits_longer_for_its_end_than_the_runtime_does() {
    let unit = read_to_string(project("systemd/buntime.service")).unwrap();
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let shutdown =
        buntime::config::settings::SETTINGS.iter().find(|setting| setting.flag == "shutdown-timeout");
    let shutdown = shutdown.unwrap().default.trim_end_matches('s').parse::<u64>().unwrap();
    assert!(setting("TimeoutStopSec=").parse::<u64>().unwrap() >= shutdown + 17, "plugins 10 s, workers 7 s");
    assert!(setting("StateDirectory=") == "buntime" && setting("KillMode=") == "mixed");
}
