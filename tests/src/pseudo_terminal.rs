//! A program on a pseudo-terminal: what it shows, and what it leaves behind. `script` of util-linux makes the terminal.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::processes::{Owned, children};
use crate::programs::Workdir;
use crate::wait;

/// What the shell says when the program has ended, before the exit code.
const LEFT: &str = "the program left with";

/// A program on a terminal of its own. It ends with the test.
pub struct PseudoTerminal {
    script: Owned,
    keys: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
    folder: PathBuf,
}

impl std::fmt::Debug for PseudoTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PseudoTerminal").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl PseudoTerminal {
    /// Starts `command`, one of `workdir`, on a terminal of 24 rows and 80 columns.
    ///
    /// # Errors
    ///
    /// `script` is missing.
    pub fn start(workdir: &Workdir, command: &Command) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(workdir.path())?.keep();
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
        let words: Vec<String> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        let shell = format!(
            "stty rows 24 cols 80\nstty -a > {0}/before\n{1}\ncode=$?\nstty -a > {0}/after\necho '{LEFT}' $code\n",
            quoted(folder.as_os_str()),
            words.join(" ")
        );
        let file = folder.join("run.sh");
        std::fs::write(&file, shell)?;
        let mut script = Command::new("script");
        script.args(["-qfc", &format!("sh {}", quoted(file.as_os_str())), "/dev/null"]);
        script.current_dir(workdir.path()).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut script = script.context("cannot start `script`, which belongs to util-linux")?;
        let keys = script.stdin.take().context("stdin is piped")?;
        let mut shown = script.stdout.take().context("stdout is piped")?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(24), cells(80), 0)));
        let parser = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut bytes) {
                parser.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..read]);
            }
        });
        Ok(Self { script: Owned(script), keys, screen, folder })
    }

    fn screen(&self) -> MutexGuard<'_, vt100::Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text on the terminal.
    pub fn text(&self) -> String {
        self.screen().screen().contents()
    }

    /// True while a program has the full screen.
    pub fn is_full_screen(&self) -> bool {
        self.screen().screen().alternate_screen()
    }

    /// Waits until the terminal shows `text`.
    ///
    /// # Errors
    ///
    /// It does not within `limit`; the error shows the terminal.
    pub fn wait_for(&self, text: &str, limit: Duration) -> anyhow::Result<()> {
        self.wait_until(text, limit, |shown| shown.contains(text))
    }

    /// Waits until the terminal shows what is `wanted`.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_for`].
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let found = wait::until(limit, what, || wanted(&self.text()).then_some(()));
        found.with_context(|| format!("the terminal shows:\n{}", self.text()))
    }

    /// Presses these keys.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    /// The process on the terminal whose program has this name.
    ///
    /// # Errors
    ///
    /// There is none within `limit`.
    pub fn process(&self, name: &str, limit: Duration) -> anyhow::Result<u32> {
        wait::until(limit, name, || {
            let shells = children(self.script.0.id(), "");
            shells.into_iter().find_map(|shell| {
                let below = children(shell, "");
                let mut all = children(shell, name);
                all.extend(below.into_iter().flat_map(|shell| children(shell, name)));
                all.first().copied()
            })
        })
    }

    /// Gives the terminal another size, of which its program is told.
    ///
    /// # Errors
    ///
    /// The process `pid` is not on it.
    pub fn resize(&self, pid: u32, rows: u16, columns: u16) -> anyhow::Result<()> {
        self.screen().screen_mut().set_size(cells(rows), cells(columns));
        let terminal = std::fs::read_link(format!("/proc/{pid}/fd/0"))?;
        let [rows, columns] = [rows, columns].map(|cells| cells.to_string());
        let mut stty = Command::new("stty");
        let status = stty.arg("-F").arg(&terminal).args(["rows", &rows, "cols", &columns]).status()?;
        anyhow::ensure!(status.success(), "stty: {status}");
        Ok(())
    }

    /// Waits until the program has left the terminal, and returns its exit code.
    ///
    /// # Errors
    ///
    /// It does not within `limit`, or it leaves the terminal in another state than it found it in.
    pub fn left(&self, limit: Duration) -> anyhow::Result<i32> {
        self.wait_until("the end of the program", limit, |text| code(text).is_some())?;
        anyhow::ensure!(!self.is_full_screen(), "the full screen was not left");
        anyhow::ensure!(!self.screen().screen().hide_cursor(), "the cursor is hidden");
        let modes = |name: &str| -> anyhow::Result<String> {
            let text = std::fs::read_to_string(self.folder.join(name))?;
            // The first line tells the size, which may have changed.
            Ok(text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()))
        };
        let (before, after) = (modes("before")?, modes("after")?);
        anyhow::ensure!(before == after && !before.is_empty(), "before:\n{before}\nafter:\n{after}");
        code(&self.text()).context("the exit code")
    }
}

fn code(text: &str) -> Option<i32> {
    text.split_once(LEFT)?.1.split_whitespace().next()?.parse().ok()
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap_or(NonZero::<u16>::MIN)
}
