//! `ferry cluster start`: becomes the nats-server of a folder that `ferry cluster init` created.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow};
use clap::Args;
use rustix::io::{FdFlags, fcntl_setfd};
use shared::stdio;

use super::error::CommandError;
use orchestrator::broker::binary;

/// Runs the server of a folder until SIGTERM or Ctrl-C, which end it gracefully.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry cluster start cluster/server-1")]
pub(crate) struct StartArgs {
    /// Folder of the server, such as cluster/server-1.
    pub folder: PathBuf,
}

/// The same under its earlier name, which sounds like a page to look at.
pub(crate) fn earlier(args: &StartArgs) -> Result<ExitCode, CommandError> {
    stdio::remark("note: `ferry serve FOLDER` is now `ferry cluster start FOLDER`");
    run(args)
}

/// Returns only when it fails: the process becomes the server.
pub(crate) fn run(args: &StartArgs) -> Result<ExitCode, CommandError> {
    let folder = args.folder.display();
    if !args.folder.join("server.conf").is_file() {
        let text =
            anyhow!("{folder} is not the folder of a server: name one that `ferry cluster init` created");
        return Err(CommandError::Input(text));
    }
    let program = binary::find().map_err(|error| CommandError::Input(error.into()))?;
    let lock = args.folder.join("lock");
    let held = File::create(&lock).with_context(|| lock.display().to_string())?;
    // nats-server would not notice another server on the same store, and both would damage it.
    if held.try_lock().is_err() {
        return Err(CommandError::Input(anyhow!("a server is already running on {folder}")));
    }
    // The server inherits the open file, and with it the lock.
    fcntl_setfd(&held, FdFlags::empty()).context("the lock cannot be passed to the server")?;
    stdio::remark(&format!("nats-server is running on {folder}; its log is server.log in that folder"));
    let mut command = Command::new(&program);
    let error = command.args(["-c", "server.conf"]).current_dir(&args.folder).exec();
    Err(CommandError::Work(
        anyhow::Error::new(error).context(format!("{} cannot be started", program.display())),
    ))
}
