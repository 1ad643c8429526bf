//! What the process does to itself at its start, seen from outside.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// `buntime config`, stopped where it opens its configuration file: a FIFO that nobody has opened yet.
#[test]
fn secrets_leave_the_environment_block_the_memory_is_private_and_the_descriptor_limit_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, bun) = (dir.path().join("config"), dir.path().join("bun"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::write(&bun, "").unwrap();
    std::fs::set_permissions(&bun, std::fs::Permissions::from_mode(0o755)).unwrap();

    let mut child = Command::new("/bin/sh")
        .args(["-c", r#"ulimit -S -n 100; exec "$0" config --config "$1" --bun "$2""#])
        .args([env!("CARGO_BIN_EXE_buntime").as_ref(), fifo.as_os_str(), bun.as_os_str()])
        .current_dir(dir.path())
        .env_clear()
        .envs([
            ("RUNTIME_ROOT_KEY", "btk_secret-0123456789-0123456789-01"),
            ("DATABASE_URL", "postgres://secret"),
            ("NODE_ENV", "test"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Returns when the other side opens the FIFO too, which it does after it has secured itself.
    let mut config = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();

    let proc = |name: &str| std::fs::read(format!("/proc/{}/{name}", child.id()));
    if nix::unistd::geteuid().is_root() {
        let block = proc("environ").unwrap();
        assert!(block.iter().all(|byte| *byte == 0), "{}", String::from_utf8_lossy(&block));
    } else {
        assert_eq!(proc("environ").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    }
    let limits = String::from_utf8(proc("limits").unwrap()).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = files["Max open files".len()..].split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1], "{files}");

    config.write_all(b"workerDirs: .\n").unwrap();
    drop(config);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    assert!(stdout.contains("RUNTIME_ROOT_KEY  ********"), "{stdout}");
    assert!(!stdout.contains("secret") && !stderr.contains("secret"), "{stdout}{stderr}");
    // The variables that are no secrets still count.
    assert!(stdout.lines().any(|line| line.starts_with("env ") && line.ends_with("NODE_ENV")), "{stdout}");
}

#[test]
fn a_wrong_command_line_or_configuration_exits_with_2_and_says_why_on_stderr() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, message) in [
        (&["run", "--worker-dirs", ".", "--port", "x"][..], "error: --port: `x` is not valid"),
        (&["run"], "error: no worker directory is set"),
        (
            &["run", "--worker-dirs", ".", "--tls-cert", "x"],
            "error: --tls-cert: `x` is not valid: there is no --tls-key (RUNTIME_TLS_KEY) with it\n  allowed: ",
        ),
        (
            &["run", "--worker-dirs", ".", "--bun", "/bin/true"],
            "error: /bin/true does not answer as bun does",
        ),
        (&["walk"], "error: unrecognized subcommand 'walk'"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buntime"));
        let output = command.args(arguments).current_dir(dir.path()).env_clear().output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(message), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_go_to_stdout_and_exit_with_0() {
    for (argument, start) in [("--version", "buntime 0."), ("--help", "Runs a fleet of Bun apps")] {
        let output = Command::new(env!("CARGO_BIN_EXE_buntime")).arg(argument).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().starts_with(start));
    }
}
