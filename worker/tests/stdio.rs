//! What a subcommand does if nobody reads its output, and where it writes its files.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "common/resnet18.rs"]
mod resnet18;

const WORKER: &str = env!("CARGO_BIN_EXE_ferry-worker");

/// A folder with the file `raw.safetensors`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("raw.safetensors"), resnet18::file("", |_| 0.5)).unwrap();
    folder
}

fn worker(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(WORKER);
    command.args(words.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command
}

const ANSWERS: [&str; 7] = [
    "--help",
    "--version",
    "predict --help",
    "devices",
    "devices --json",
    "weights inspect raw.safetensors --tensors",
    "weights inspect raw.safetensors --json",
];

/// Checks the output of the subcommands of `weights`, without the digest.
#[test]
fn weights_are_described() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("raw.safetensors"), resnet18::file("_orig_mod.", |_| 0.5)).unwrap();
    fs::write(folder.path().join("nan.safetensors"), resnet18::file("", |_| f32::NAN)).unwrap();
    fs::write(folder.path().join("negative.safetensors"), resnet18::file("", |_| -0.5)).unwrap();
    let printed = |words: &str| {
        let output = worker(folder.path(), words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().map(|line| match line.split_once("sha256 ") {
            Some((before, digest)) if digest.len() == 64 => format!("{before}sha256 …"),
            Some(_) | None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(printed("weights convert raw.safetensors -o w.safetensors"), @"
    raw.safetensors: safetensors, 0.1 MB, 60 tensors (60 f32)
      sha256 …
      layout torchvision: a backbone (ResNet18)
      trained on imagenet input
      `_orig_mod.` stripped from all names
      60 tensors kept
      written to w.safetensors
    ");
    insta::assert_snapshot!(printed("weights convert nan.safetensors -o n.safetensors"), @"error: nan.safetensors: NaN or infinite values in `bn1.bias`, `bn1.running_mean`, `bn1.running_var`, `bn1.weight`, `conv1.weight`, `layer1.0.bn1.bias`, `layer1.0.bn1.running_mean`, `layer1.0.bn1.running_var` and 52 more: no training can start from them");
    insta::assert_snapshot!(printed("weights convert negative.safetensors -o n.safetensors"), @"error: negative.safetensors: negative variances in `bn1.running_var`, `layer1.0.bn1.running_var`, `layer1.0.bn2.running_var`, `layer2.0.bn1.running_var`, `layer2.0.bn2.running_var`, `layer2.0.downsample.1.running_var`, `layer3.0.bn1.running_var`, `layer3.0.bn2.running_var` and 4 more: no network can compute with them; the file is damaged");
    assert!(!folder.path().join("n.safetensors").exists());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Case 15: as with `| true`.
#[test]
fn a_reader_that_goes_away_ends_a_verb_quietly() {
    let folder = folder();
    for words in ANSWERS {
        let mut child =
            worker(folder.path(), words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take()); // Before the program has loaded its libraries.
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(141), ""), "{words}");
    }
}

/// Case 15: one sentence.
#[test]
fn a_full_standard_output_is_said_in_one_sentence() {
    let folder = folder();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for words in ANSWERS {
        let output = worker(folder.path(), words).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let sentence = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(1), sentence), "{words}");
    }
    // If even the sentence cannot be written, the exit code remains.
    let mut hopeless = worker(folder.path(), "weights inspect absent");
    assert_eq!(hopeless.stdout(full()).stderr(full()).status().unwrap().code(), Some(2));
}

/// Case 15: `>&-`.
#[test]
fn a_closed_standard_output_is_no_failure() {
    let folder = folder();
    for words in ANSWERS {
        let line = format!("exec '{WORKER}' {words} >&-");
        let output = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{words}: {}", said(&output));
    }
}

/// Case 2: what `-o` names is written to, and not replaced by a regular file.
#[test]
fn a_link_a_fifo_and_standard_output_are_written_through() {
    let folder = folder();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let convert =
        |output: &str| worker(folder.path(), &format!("weights convert raw.safetensors -o {output}"));
    assert!(convert("plain").stdout(Stdio::null()).status().unwrap().success());
    let expected = fs::read(at("plain")).unwrap();

    fs::create_dir(at("disk")).unwrap();
    symlink("disk/there", at("link")).unwrap();
    assert!(convert("link").stdout(Stdio::null()).status().unwrap().success());
    assert!(at("link").is_symlink());
    assert_eq!(fs::read(at("disk/there")).unwrap(), expected);

    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    let reader = std::thread::spawn({
        let fifo = at("fifo");
        move || fs::read(fifo).unwrap()
    });
    assert!(convert("fifo").stdout(Stdio::null()).status().unwrap().success());
    assert_eq!(reader.join().unwrap(), expected);
    assert!(!fs::metadata(at("fifo")).unwrap().is_file());

    // The existing content stays, and the printed text comes after the file.
    fs::write(at("all"), "before ").unwrap();
    let all = File::options().append(true).open(at("all")).unwrap();
    assert!(convert("/dev/stdout").stdout(all).status().unwrap().success());
    let all = fs::read(at("all")).unwrap();
    let rest =
        all.strip_prefix(b"before ".as_slice()).and_then(|rest| rest.strip_prefix(expected.as_slice()));
    assert!(rest.is_some_and(|rest| rest.ends_with(b"written to /dev/stdout\n")), "{}", all.len());
}
