//! Signals that are ignored when a program starts stay ignored in every process of a run.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tests::processes::{Owned, children, is_alive, signal};
use tests::programs::{DEFAULT_SIGNALS, Workdir, root};
use tests::run::Run;
use tests::server::Server;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);

/// The command, started by a shell that ignores these signals first, as `nohup` does.
fn ignoring(signals: &str, command: &Command) -> Command {
    // Neither the signals that these tests ignore nor the `env` at the start of the command may have an effect.
    let mut shell = Command::new("env");
    shell.args([DEFAULT_SIGNALS, "sh", "-c", &format!("trap '' {signals}; exec \"$@\""), "sh"]);
    shell.args(command.get_args().filter(|arg| *arg != DEFAULT_SIGNALS)).stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Whether a process ignores signal `number`.
fn ignores(pid: u32, number: u32) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("SigIgn")?;
    Ok(u64::from_str_radix(mask.trim(), 16)? >> (number - 1) & 1 == 1)
}

const HUP: u32 = 1;
const INT: u32 = 2;

/// Case 1: `nohup ferry run sweep.yaml &` in a script, which gets a Ctrl-C and whose terminal is closed.
#[test]
fn a_sweep_under_nohup_survives_its_terminal() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let mut run =
        Run::start(ignoring("HUP INT", &workdir.ferry(&["run", &sweep, "--workers", "1", "--json"])))?;
    run.wait_for("started", LIMIT)?;
    let one = |name| wait::until(LIMIT, name, || children(run.pid(), name).first().copied());
    let (worker, server) = (one("ferry-worker")?, one("nats-server")?);
    for pid in [run.pid(), worker] {
        assert!(ignores(pid, HUP)? && ignores(pid, INT)?, "process {pid} has handlers over ignored signals");
    }
    for pid in [run.pid(), worker, server] {
        signal(pid, "HUP")?;
    }
    for pid in [run.pid(), worker] {
        signal(pid, "INT")?;
    }
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!(finished["failed"], 0);
    assert!(run.end(LIMIT)?.success());
    Ok(())
}

/// Case 1: signals that are not ignored still end a run gracefully, including that of a closed terminal.
#[test]
fn a_closed_terminal_ends_a_run_gracefully_unless_it_is_ignored() -> anyhow::Result<()> {
    let sweep = undisturbed::faults().display().to_string();
    for (ignored, ending) in [("HUP", "TERM"), ("INT", "HUP")] {
        let workdir = Workdir::new()?;
        let command = workdir.ferry(&["run", &sweep, "--workers", "1", "--json"]);
        let mut run = Run::start(ignoring(ignored, &command))?;
        run.wait_for("started", LIMIT)?;
        signal(run.pid(), ignored)?;
        signal(run.pid(), ending)?;
        run.wait_for("interrupted", LIMIT)?;
        assert_eq!(run.end(LIMIT)?.code(), Some(130));
    }
    Ok(())
}

/// Case 1: a worker that was started by hand.
#[test]
fn a_worker_under_nohup_survives_its_terminal_and_ends_when_asked() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let url = server.url();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bus = runtime.block_on(server.bus())?;
    let args = ["--nats", &url, "--name", "w", "--cache", "cache", "--device", "cpu"];
    let mut command = ignoring("HUP INT", &workdir.worker(&args));
    let mut worker = Owned(command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let pid = worker.0.id();
    wait::until(LIMIT, "the worker", || {
        let present = runtime.block_on(bus.workers()).ok()?;
        (!present.is_empty()).then_some(())
    })?;
    for ignored in ["HUP", "INT"] {
        signal(pid, ignored)?;
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(is_alive(pid), "it ended by a signal that was ignored when it started");
    signal(pid, "TERM")?;
    let status = wait::until(LIMIT, "its end", || worker.0.try_wait().ok().flatten())?;
    assert!(status.success(), "{status}");
    Ok(())
}
