//! How `ferry` ends: 2 for a bad or missing file, 1 for a full disk, whatever the verb.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code and standard error of `ferry` with `words`; its standard output goes to `output`.
fn ferry(folder: &Path, words: &[&str], output: Stdio) -> (i32, String) {
    let mut ferry = Command::new(env!("CARGO_BIN_EXE_ferry"));
    ferry.current_dir(folder).args(words).env("NO_COLOR", "1").stdout(output).stderr(Stdio::piped());
    let output = ferry.spawn().unwrap().wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const SWEEP: &str = "\
name: s
dataset: {synthetic: {train: 6, validation: 6, test: 6, image_size: 16}}
groups: {a: {matrix: {heads: [1]}}}
";

/// A folder with a sweep file, tables, a pack and a run folder without results.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("s.yaml"), SWEEP).unwrap();
    fs::write(path("t.csv"), "image,expression\na,1\n").unwrap();
    fs::write(path("bad.csv"), "image,expression\na,9\n").unwrap();
    let counts = ["--train", "6", "--validation", "6", "--test", "6", "--size", "16"];
    let synth = [&["data", "synth", "pack"], &counts[..]].concat();
    assert_eq!(ferry(folder.path(), &synth, Stdio::null()).0, 0);
    let text = SWEEP.replace("{synthetic: {train: 6, validation: 6, test: 6, image_size: 16}}", "pack");
    let plan = orchestrator::sweep::plan(&text, folder.path(), folder.path()).unwrap();
    orchestrator::run_dir::RunDir::create(&path("run"), &plan).unwrap();
    folder
}

#[test]
fn a_full_disk_under_standard_output_ends_with_code_1_and_one_sentence() {
    let folder = folder();
    for words in [
        &["plan", "s.yaml"][..],
        &["schema"],
        &["schema", "--markdown"],
        &["report", "run"],
        &["report", "run", "--json"],
        &["evaluate", "--predictions", "t.csv", "--labels", "t.csv"],
        &["data", "inspect", "pack"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = ferry(folder.path(), words, full.into());
        assert_eq!(code, 1, "{words:?}: {said}");
        assert!(said.contains("No space left on device") && !said.contains("panicked"), "{words:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{words:?}: {said}");
    }
}

#[test]
fn bad_and_missing_files_end_with_code_2() {
    let folder = folder();
    fs::write(folder.path().join("run/plan.json"), "{}").unwrap();
    fs::write(folder.path().join("pack/pack.json"), "{}").unwrap();
    for words in [
        &["plan", "none.yaml"][..],
        &["plan", "t.csv"],
        &["report", "none"],
        &["report", "run"],
        &["evaluate", "--predictions", "none.csv", "--labels", "t.csv"],
        &["evaluate", "--predictions", "bad.csv", "--labels", "t.csv"],
        &["data", "inspect", "none"],
        &["data", "inspect", "pack"],
        &["data", "import", "none", "new"],
        &["data", "synth", "new", "--size", "1"],
        &["report"],
    ] {
        let (code, said) = ferry(folder.path(), words, Stdio::null());
        assert_eq!(code, 2, "{words:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
}

/// A disk of 1 MiB in memory, mounted in a user namespace of its own: `None` where the machine allows none.
fn on_a_full_disk(script: &str, folder: &Path) -> Option<i32> {
    let mount = format!("mkdir -p small && mount -t tmpfs -o size=1m none small && {script}");
    let unshare = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        unshare.current_dir(folder).env("FERRY", env!("CARGO_BIN_EXE_ferry")).status()
    };
    unshare("mkdir -p small && mount -t tmpfs -o size=1m none small")
        .ok()
        .filter(std::process::ExitStatus::success)?;
    unshare(&mount).ok()?.code()
}

#[test]
fn a_full_disk_under_a_written_file_ends_with_code_1() {
    let folder = folder();
    let report = "cp -r run small/run && (cat /dev/zero > small/fill || true) && $FERRY report small/run";
    let synth = "$FERRY data synth small/pack --train 900 --validation 6 --test 6 --size 32";
    for script in [report, synth] {
        match on_a_full_disk(script, folder.path()) {
            Some(code) => assert_eq!(code, 1, "{script}"),
            None => return println!("skipped: no small disk can be mounted here"),
        }
    }
}

/// The table in `--help` is the one that programs end by.
#[test]
fn the_exit_codes_are_in_the_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_ferry")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain(&help).contains(&plain(shared::exit::TABLE)), "{help}");
}
