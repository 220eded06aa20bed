//! `ferry completions` and `ferry man`: what a shell and `man` need to know of the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use shared::stdio;

use super::error::CommandError;

/// Options of `ferry completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferry completions bash > ~/.local/share/bash-completion/completions/ferry\n  \
    ferry completions zsh > ~/.zfunc/_ferry          # in a folder of $fpath\n  \
    ferry completions fish > ~/.config/fish/completions/ferry.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Options of `ferry man`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry man ~/.local/share/man/man1 && man ferry-run")]
pub(crate) struct ManArgs {
    /// Folder for the pages: ferry.1, and one for each command. It is created if it does not exist.
    folder: PathBuf,
}

/// Prints the completions of `ferry`.
pub(crate) fn completions(args: &CompletionsArgs, ferry: &mut Command) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, ferry, "ferry", &mut script);
    stdio::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages of `ferry`.
pub(crate) fn man(args: &ManArgs, ferry: Command) -> Result<ExitCode, CommandError> {
    let folder = &args.folder;
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(ferry, folder));
    written.with_context(|| format!("the pages cannot be written to {}", folder.display()))?;
    stdio::print(&format!("wrote the pages of `ferry` and its commands to {}\n", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
