//! `ferry serve`: becomes the nats-server of a folder that `ferry init --cluster` made.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow};
use clap::Args;
use rustix::io::{FdFlags, fcntl_setfd};

use super::failure::Failure;
use crate::broker::binary;

/// Starts the server of a folder and stays with it; SIGTERM or Ctrl-C ends it in good order.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry serve cluster/server-1")]
pub struct ServeArgs {
    /// Folder of the server: cluster/server-1.
    pub folder: PathBuf,
}

/// Returns only when it fails: the process becomes the server.
pub fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let folder = args.folder.display();
    if !args.folder.join("server.conf").is_file() {
        let text = anyhow!("{folder} is no server's folder: name one that `ferry init --cluster` made");
        return Err(Failure::Input(text));
    }
    let program = binary::find().map_err(|error| Failure::Input(error.into()))?;
    let lock = args.folder.join("lock");
    let held = File::create(&lock).with_context(|| lock.display().to_string())?;
    // nats-server itself would start a second time on the same store and damage it.
    if held.try_lock().is_err() {
        return Err(Failure::Input(anyhow!("a server runs on {folder} already")));
    }
    // The lock is handed on with the file.
    fcntl_setfd(&held, FdFlags::empty()).context("the lock cannot be handed on")?;
    eprintln!("nats-server runs on {folder}; it writes to server.log there");
    let mut command = Command::new(&program);
    let error = command.args(["-c", "server.conf"]).current_dir(&args.folder).exec();
    Err(Failure::Work(anyhow::Error::new(error).context(format!("{} cannot be started", program.display()))))
}
