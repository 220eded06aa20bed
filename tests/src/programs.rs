//! The two programs under test, built once per test run, and a working folder to run them in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::Context;

/// The folder that holds `ferry` and `ferry-worker`, built in the profile of this test.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match build() {
        Ok(folder) => folder,
        Err(error) => panic!("the programs under test cannot be built: {error:#}"),
    })
}

/// A test's executable lies in `<target>/<profile>/deps`; the programs belong in `<target>/<profile>`.
fn build() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("a test lies in target/<profile>/deps")?;
    // As `cargo test --workspace` has built them: another choice of packages has other features, for which all
    // libraries would be compiled once more.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--workspace", "--no-run", "--quiet"]).current_dir(root());
    // Cargo tells a test about its package. Build scripts look at that, and would build their libraries once more.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") || told == "OUT_DIR" {
            cargo.env_remove(&name);
        }
    }
    if folder.file_name().is_some_and(|profile| profile == "release") {
        cargo.arg("--release");
    }
    let status = cargo.stdin(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "cargo test --no-run: {status}");
    Ok(folder.to_owned())
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Makes `env` start a program as a terminal would.
pub const DEFAULT_SIGNALS: &str = "--default-signal=HUP,INT,TERM";

/// A working folder with a state directory of its own.
#[derive(Debug)]
pub struct Workdir {
    dir: tempfile::TempDir,
}

impl Workdir {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `ferry ARGS` in this folder.
    pub fn ferry(&self, args: &[&str]) -> Command {
        self.program("ferry", args)
    }

    /// `ferry-worker ARGS` in this folder.
    pub fn worker(&self, args: &[&str]) -> Command {
        self.program("ferry-worker", args)
    }

    fn program(&self, name: &str, args: &[&str]) -> Command {
        // The tests may themselves run under `nohup` or in the background, and a signal that is ignored stays ignored.
        let mut command = Command::new("env");
        command.arg(DEFAULT_SIGNALS).arg(folder().join(name));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for variable in ["FERRY_NATS", "FERRY_TOKEN", "FERRY_CREDS", "FERRY_HOME", "FERRY_LOG", "FERRY_CACHE"]
        {
            command.env_remove(variable);
        }
        command
    }
}

/// Runs a command to its end and shows all it said when it does not exit with `code`.
pub fn expect(command: &mut Command, code: i32) -> anyhow::Result<Output> {
    let output = command.output()?;
    anyhow::ensure!(
        output.status.code() == Some(code),
        "{command:?} ended with {}, not {code}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
