//! How `ferry` answers when nobody reads, when there is nothing to answer, and when it was given the wrong file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn ferry(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    for variable in ["FERRY_NATS", "FERRY_TOKEN", "FERRY_CREDS", "FERRY_HOME", "FERRY_LOG"] {
        command.env_remove(variable);
    }
    command
}

fn output(folder: &Path, args: &[&str]) -> Output {
    ferry(folder, args).output().unwrap()
}

/// What it said, with the folder's own name left out.
fn said(folder: &Path, bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(&*folder.canonicalize().unwrap().to_string_lossy(), "HERE")
}

const SWEEP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/demo.yaml");

/// Commands that print something wherever they are run.
fn printing() -> [Vec<&'static str>; 6] {
    [
        vec!["schema"],
        vec!["status"],
        vec!["status", "--json"],
        vec!["plan", SWEEP, "--all"],
        vec!["--help"],
        vec!["run", "--help"],
    ]
}

/// Case 15: `ferry … | true`.
#[test]
fn a_reader_that_has_gone_away_ends_a_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    for args in printing() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = ferry(dir.path(), &args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let errors = said(dir.path(), &output.stderr);
        assert!(!errors.contains("panic") && !errors.contains("error"), "{args:?}: {errors}");
        assert_eq!(output.status.code(), Some(141), "{args:?}: as a shell shows SIGPIPE");
    }
}

/// Case 15: `ferry … > /dev/full`.
#[test]
fn a_full_device_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    for args in printing() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = ferry(dir.path(), &args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let errors = said(dir.path(), &output.stderr);
        let sentence = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((output.status.code(), errors.as_str()), (Some(1), sentence), "{args:?}");
    }
}

#[test]
fn the_schema_of_each_trainer_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let schema = |args: &[&str]| output(dir.path(), &[&["schema"], args].concat());
    assert_eq!(schema(&[]).stdout, schema(&["--trainer", "mtl"]).stdout);
    let empty: serde_json::Value = serde_json::from_slice(&schema(&["--trainer", "empty"]).stdout).unwrap();
    assert_eq!(empty["properties"]["trainer"]["enum"], serde_json::json!(["empty"]));
    let page = String::from_utf8(schema(&["--trainer", "empty", "--markdown"]).stdout).unwrap();
    assert!(page.contains("| `epoch_ms` | `0` | whole number |"), "{page}");
    let wrong = schema(&["--trainer", "emtpy"]);
    assert_eq!(wrong.status.code(), Some(2));
    let errors = said(dir.path(), &wrong.stderr);
    insta::assert_snapshot!(errors.lines().next().unwrap(), @"error: invalid value 'emtpy' for '--trainer <NAME>': there is no such trainer; did you mean `empty`?");
}

/// Case 28: `ferry status` names where it looked.
#[test]
fn a_status_without_sweeps_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let status = output(dir.path(), &["status"]);
    assert!(status.status.success());
    insta::assert_snapshot!(said(dir.path(), &status.stdout), @"there is no state directory HERE/.ferry; name one with --home, or a server with --nats");
    std::fs::create_dir(dir.path().join("state")).unwrap();
    let status = output(dir.path(), &["status", "--home", "state"]);
    insta::assert_snapshot!(said(dir.path(), &status.stdout), @"no sweep has run in HERE/state yet; --home names another state directory, --nats a server");
}

/// Case 28: a credential of another role is refused at once, before any connection.
#[test]
fn a_credential_of_another_role_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    assert!(output(dir.path(), &["cluster", "init", "c", "--host", "localhost"]).status.success());
    let start = Instant::now();
    let status = output(dir.path(), &["status", "--nats", "tls://localhost:1", "--creds", "c/worker.creds"]);
    assert!(start.elapsed() < Duration::from_secs(4), "it waited for a server");
    assert_eq!(status.status.code(), Some(2));
    insta::assert_snapshot!(said(dir.path(), &status.stderr), @"error: HERE/c/worker.creds is the worker's credential: use the observer's here");
}

#[test]
fn shells_and_man_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = output(dir.path(), &["completions", shell]);
        let text = String::from_utf8(script.stdout).unwrap();
        assert!(
            script.status.success() && text.contains("dry-run") && text.contains("status"),
            "{shell}: {text}"
        );
    }
    let written = output(dir.path(), &["man", "pages/man1"]);
    insta::assert_snapshot!(said(dir.path(), &written.stdout), @"wrote the pages of `ferry` and its commands to pages/man1");
    let page = |name: &str| std::fs::read_to_string(dir.path().join("pages/man1").join(name)).unwrap();
    assert!(page("ferry-run.1").contains("ferry run experiments/demo.yaml"), "{}", page("ferry-run.1"));
    assert!(page("ferry-cluster-init.1").contains(".TH ferry"), "{}", page("ferry-cluster-init.1"));
    assert!(!dir.path().join("pages/man1/ferry-guard.1").exists(), "hidden commands have no page");
}

#[test]
fn earlier_names_of_commands_work_and_name_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let made = output(dir.path(), &["init", "--cluster", "c", "--host", "localhost"]);
    assert!(made.status.success());
    insta::assert_snapshot!(said(dir.path(), &made.stderr), @"note: `ferry init --cluster DIR` is now `ferry cluster init DIR`");
    let refused = output(dir.path(), &["serve", "elsewhere"]);
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(said(dir.path(), &refused.stderr), @"
    note: `ferry serve FOLDER` is now `ferry cluster start FOLDER`
    error: elsewhere is not the folder of a server: name one that `ferry cluster init` created
    ");
}
