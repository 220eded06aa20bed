//! `ferry watch` on a terminal: what it shows while the sweep, the server and the coordinator come and go, and that it
//! leaves the terminal as it was.

use std::time::Duration;

use tests::processes::signal;
use tests::programs::{Workdir, expect};
use tests::pseudo_terminal::PseudoTerminal;
use tests::run::Run;
use tests::server::Server;
use tests::wait;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(3);

/// Four jobs of 60 epochs, which take 30 s each.
const SWEEP: &str = "name: watched\ntrainer: empty\ndefaults: {epochs: 60, epoch_ms: 500}\ngroups:\n  all: {matrix: {seed: [0, 1, 2, 3]}}\nensembles:\n  All: {members: [{where: {group: all}}]}\n";
/// One job, which is done at once.
const SHORT: &str = "name: short\ntrainer: empty\ngroups:\n  all: {matrix: {seed: [0]}}\n";

fn watch(workdir: &Workdir, options: &[&str]) -> anyhow::Result<(PseudoTerminal, u32)> {
    let terminal = PseudoTerminal::start(workdir, &workdir.ferry(&[&["watch"], options].concat()))?;
    let pid = terminal.process("ferry", LIMIT)?;
    Ok((terminal, pid))
}

fn run(workdir: &Workdir, server: &Server) -> anyhow::Result<Run> {
    let url = server.url();
    let options = ["--nats", &url, "--workers", "0", "--lease", "6", "--heartbeat", "1", "--json"];
    Run::start(workdir.ferry(&[&["run", "watched.yaml"], options.as_slice()].concat()))
}

#[test]
fn a_sweep_is_watched_and_steered_through_everything_that_happens() -> anyhow::Result<()> {
    let (mut server, workdir) = (Server::start()?, Workdir::new()?);
    std::fs::write(workdir.path().join("watched.yaml"), SWEEP)?;
    let mut conductor = run(&workdir, &server)?;
    conductor.wait_for("progress", LIMIT)?;
    let (mut terminal, pid) = watch(&workdir, &["--nats", &server.url()])?;
    terminal.wait_for("no worker is connected", LIMIT)?;
    terminal.wait_for("0/4 jobs done · 4 pending", LIMIT)?;
    let _worker = Worker::start(&workdir, &server.url(), "far")?;
    terminal.wait_for("Workers 1", LIMIT)?;
    terminal.wait_for("0/4 jobs done · 1 running · 3 pending", LIMIT)?;
    terminal.wait_until("an epoch", LIMIT, |text| text.contains("ETA 1:") || text.contains("ETA 2:"))?;

    terminal.resize(pid, 50, 200)?;
    let is_wide = |text: &str| text.lines().any(|line| line.trim_end().chars().count() > 150);
    terminal.wait_until("a wide screen", LIMIT, is_wide)?;
    terminal.resize(pid, 9, 39)?;
    terminal.wait_for("is too small", LIMIT)?;
    terminal.resize(pid, 24, 80)?;
    terminal.wait_for("Ensembles 1", LIMIT)?;

    server.crash()?;
    terminal.wait_for("SERVER AWAY for 0:0", LIMIT)?;
    server.restart()?;
    terminal.wait_for("server reachable", LIMIT)?;

    conductor.kill()?;
    terminal.press("/state=pending\r")?;
    terminal.wait_for("Jobs 3 of 4", LIMIT)?;
    terminal.press("P")?;
    terminal.wait_for("pause 3 jobs?", LIMIT)?;
    terminal.press("y")?;
    terminal.wait_for("pause (3 jobs): done", LIMIT)?;
    terminal.press("\u{1b}")?;
    terminal.wait_for("0/4 jobs done · 1 running · 3 paused", LIMIT)?;
    // Another terminal undoes it.
    expect(&mut workdir.ferry(&["resume", "state=paused", "--yes", "--nats", &server.url()]), 0)?;
    terminal.wait_for("0/4 jobs done · 1 running · 3 pending", LIMIT)?;

    assert!(terminal.is_full_screen());
    terminal.press("q")?;
    assert_eq!(terminal.left(LIMIT)?, 0);
    Ok(())
}

#[test]
fn the_terminal_is_left_as_it_was_whatever_ends_the_screen() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    std::fs::write(workdir.path().join("watched.yaml"), SWEEP)?;
    let mut conductor = run(&workdir, &server)?;
    conductor.wait_for("progress", LIMIT)?;
    for ending in ["TERM", "HUP", "INT"] {
        let (terminal, pid) = watch(&workdir, &["--nats", &server.url()])?;
        terminal.wait_for("4 pending", LIMIT)?;
        signal(pid, ending)?;
        assert_eq!(terminal.left(LIMIT)?, 0, "{ending}");
    }
    let (mut terminal, pid) = watch(&workdir, &["--nats", &server.url()])?;
    terminal.wait_for("4 pending", LIMIT)?;
    terminal.press("\u{1a}")?;
    wait::until(LIMIT, "the suspended process", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.contains("State:\tT").then_some(())
    })?;
    assert!(!terminal.is_full_screen());
    signal(pid, "CONT")?;
    wait::until(LIMIT, "the full screen", || terminal.is_full_screen().then_some(()))?;
    terminal.wait_for("4 pending", LIMIT)?;
    terminal.press("\u{3}")?;
    assert_eq!(terminal.left(LIMIT)?, 0);
    Ok(())
}

/// The screen shows what was read, and its home is free for a run.
#[test]
fn a_home_where_nothing_runs_is_shown_and_not_held() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    std::fs::write(workdir.path().join("short.yaml"), SHORT)?;
    let run = || expect(&mut workdir.ferry(&["run", "short.yaml", "--workers", "1"]), 0);
    run()?;
    let (mut terminal, _) = watch(&workdir, &[])?;
    terminal.wait_for("1/1 jobs done", LIMIT)?;
    terminal.wait_for("nothing runs in .ferry", LIMIT)?;
    run()?;
    terminal.press("pq")?;
    assert_eq!(terminal.left(LIMIT)?, 0);
    Ok(())
}

#[test]
fn without_a_capable_terminal_there_are_lines() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    std::fs::write(workdir.path().join("short.yaml"), SHORT)?;
    expect(&mut workdir.ferry(&["run", "short.yaml", "--workers", "1"]), 0)?;
    let mut dumb = workdir.ferry(&["watch"]);
    dumb.env("TERM", "dumb");
    for command in [dumb, workdir.ferry(&["watch", "--lines"]), workdir.ferry(&["watch", "--json"])] {
        let terminal = PseudoTerminal::start(&workdir, &command)?;
        assert_eq!(terminal.left(LIMIT)?, 0);
        assert!(terminal.text().contains("done"), "{}", terminal.text());
    }
    Ok(())
}
