//! The two programs under test, built once per test run, and a working folder to run them in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::Context;

/// The folder with `ferry` and `ferry-worker`, built in the profile of this test.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match build() {
        Ok(folder) => folder,
        Err(error) => panic!("the programs under test cannot be built: {error:#}"),
    })
}

/// Builds the programs. A test's executable is in `<target>/<profile>/deps`, the programs are in `<target>/<profile>`.
fn build() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("a test lies in target/<profile>/deps")?;
    // The same command as `cargo test --workspace`: another choice of packages has other features, for which all
    // libraries would be compiled again.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--workspace", "--no-run", "--quiet"]).current_dir(root());
    // Cargo sets variables about a test's package. Build scripts read them, and would build their libraries again.
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("CARGO_PKG_") || shown.starts_with("CARGO_MANIFEST_") || shown == "OUT_DIR" {
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

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// An option of `env` that starts a program with the signal handling of a terminal.
pub const DEFAULT_SIGNALS: &str = "--default-signal=HUP,INT,TERM";

/// A working folder with its own state directory.
#[derive(Debug)]
pub struct Workdir {
    dir: tempfile::TempDir,
}

impl Workdir {
    /// Creates a temporary folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
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
        // The tests may run under `nohup` or in the background, and ignored signals would stay ignored.
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

/// Runs a command until it ends.
///
/// # Errors
///
/// It does not exit with `code`; the error shows its whole output.
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
