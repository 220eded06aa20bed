//! The file of a sweep is edited between two runs and while one runs: what is done stays done, and the outcome is that of
//! the last file.

use std::time::Duration;

use serde_json::Value;
use tests::processes::signal;
use tests::programs::{Workdir, expect};
use tests::pseudo_terminal::PseudoTerminal;
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(4);

/// A sweep of jobs that take `epoch_ms` for each of 6 epochs.
fn sweep(seeds: &str, epoch_ms: u32, ensembles: &str) -> String {
    lasting(6, seeds, epoch_ms, ensembles)
}

fn lasting(epochs: u32, seeds: &str, epoch_ms: u32, ensembles: &str) -> String {
    format!(
        "name: edited\ntrainer: empty\ndefaults: {{epochs: {epochs}, epoch_ms: {epoch_ms}, classes: 3}}\ngroups:\n  \
         all: {{matrix: {{seed: {seeds}}}}}\nensembles: {ensembles}\n"
    )
}

const ALL: &str = "{All: {members: [{where: {group: all}}]}}";
const BEST: &str = "{Best: {members: [{where: {group: all}, top: 1}]}}";

/// The folder of somebody who runs the sweep.
struct Desk(Workdir);

impl Desk {
    fn new(text: &str) -> anyhow::Result<Self> {
        let desk = Self(Workdir::new()?);
        desk.save(text)?;
        Ok(desk)
    }

    fn save(&self, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.0.path().join("edited.yaml"), text)?)
    }

    fn results(&self) -> anyhow::Result<Value> {
        comparable(&self.0.path().join("runs/edited/results.json"))
    }

    /// A run on somebody's server, without workers of its own.
    fn run_on(&self, server: &Server, options: &[&str]) -> anyhow::Result<Run> {
        let url = server.url();
        let words = ["run", "edited.yaml", "--json", "--workers", "0", "--nats", &url];
        Run::start(self.0.ferry(&[&words, options].concat()))
    }
}

/// What a sweep gives that has never been edited.
fn unedited(text: &str) -> anyhow::Result<Value> {
    let desk = Desk::new(text)?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.results()
}

/// Waits for the end of a run, and returns what it said last.
fn finished(mut run: Run) -> anyhow::Result<Value> {
    let finished = run.wait_for("finished", LIMIT)?;
    assert!(run.end(LIMIT)?.success());
    Ok(finished)
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The attempts of each job, in the order of the report.
fn attempts(desk: &Desk) -> anyhow::Result<Vec<u64>> {
    let results: Value =
        serde_json::from_slice(&std::fs::read(desk.0.path().join("runs/edited/results.json"))?)?;
    let jobs = results["jobs"].as_array().cloned().unwrap_or_default();
    Ok(jobs.iter().filter_map(|job| job["attempts"].as_u64()).collect())
}

/// Two people with a file of the same sweep. The first one's run conducts it, and has no workers yet.
fn a_run_and_an_edited_file(before: &str, after: &str) -> anyhow::Result<(Server, [Desk; 2], Run)> {
    let (server, desks) = (Server::start()?, [Desk::new(before)?, Desk::new(after)?]);
    let mut run = desks[0].run_on(&server, &[])?;
    run.wait_for("progress", LIMIT)?;
    Ok((server, desks, run))
}

#[test]
fn between_two_runs() -> anyhow::Result<()> {
    let desk = Desk::new(&sweep("[0, 1, 2]", 20, ALL))?;
    let first = expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    assert!(
        !stderr(&first).contains("left to do"),
        "a new sweep is compared with nothing: {}",
        stderr(&first)
    );
    let edited = sweep("[0, 2, 3, 4]", 20, BEST);
    desk.save(&edited)?;
    let planned = expect(&mut desk.0.ferry(&["plan", "edited.yaml"]), 0)?;
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    let (_, told) = planned.split_once("In the books\n").unwrap_or_default();
    let shown: Vec<&str> = told.lines().map(|line| line.split("  ").last().unwrap_or_default()).collect();
    assert_eq!(
        shown[..6],
        [
            "edited: 4 jobs: 2 done, 2 new",
            "not begun",
            "not begun",
            "done",
            "+ ensemble `Best`",
            "- ensemble `All`"
        ],
        "{told}"
    );
    assert!(told.contains("left to do: 2 jobs, 12 epochs, about "), "{told}");
    // Nobody can say yes.
    let refused = expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 2)?;
    assert!(
        stderr(&refused).contains("nothing was changed") && stderr(&refused).contains("--yes"),
        "{}",
        stderr(&refused)
    );
    expect(&mut desk.0.ferry(&["run", "edited.yaml", "--yes"]), 0)?;
    assert_eq!(desk.results()?, unedited(&edited)?);
    assert_eq!(attempts(&desk)?, [1, 1, 1, 1]);
    // What was dropped is still in the books.
    desk.save(&sweep("[0, 1, 2, 3, 4]", 20, ALL))?;
    let again = expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    assert!(
        stderr(&again).contains("5 jobs: 5 done") && stderr(&again).contains("left to do: nothing"),
        "{}",
        stderr(&again)
    );
    assert_eq!(attempts(&desk)?, [1, 1, 1, 1, 1]);
    Ok(())
}

/// Whoever is asked whether to drop work may stop the run instead of answering.
#[test]
fn a_request_to_stop_ends_the_question() -> anyhow::Result<()> {
    let desk = Desk::new(&sweep("[0, 1]", 20, ALL))?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.save(&sweep("[1, 2]", 20, ALL))?;
    for request in ["INT", "TERM"] {
        let terminal = PseudoTerminal::start(&desk.0, &desk.0.ferry(&["run", "edited.yaml"]))?;
        terminal.wait_for("[y/N]", LIMIT)?;
        signal(terminal.process("ferry", LIMIT)?, request)?;
        assert_eq!(terminal.left(LIMIT)?, 130, "{request}");
    }
    Ok(())
}

/// Folders that were deleted in the run folder are made again, and what was in them is fetched again.
#[test]
fn a_run_folder_that_lost_its_folders_is_mended() -> anyhow::Result<()> {
    let text = sweep("[0, 1]", 20, ALL);
    let desk = Desk::new(&text)?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    let results = desk.results()?;
    for folder in ["results", "probabilities", "failures", "workers"] {
        std::fs::remove_dir_all(desk.0.path().join("runs/edited").join(folder))?;
    }
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    assert_eq!(desk.results()?, results);
    assert_eq!(attempts(&desk)?, [1, 1]);
    Ok(())
}

/// The run that conducts the sweep is handed the edit; it and the run that brought the edit end alike.
#[test]
fn while_another_run_conducts_the_sweep() -> anyhow::Result<()> {
    let (before, after) = (sweep("[0, 1, 2]", 500, ALL), sweep("[0, 2, 3]", 500, BEST));
    let (server, [first, second], one) = a_run_and_an_edited_file(&before, &after)?;
    let refused = ["run", "edited.yaml", "--workers", "0", "--nats", &server.url()];
    let refused = expect(&mut second.0.ferry(&refused), 2)?;
    assert!(stderr(&refused).contains("--yes"), "{}", stderr(&refused));
    let mut two = second.run_on(&server, &["--yes"])?;
    two.wait_until("the answer", LIMIT, |event| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.contains("follows the edited file: 1 job added, 1 job withdrawn"))
    })?;
    let _worker = Worker::start(&first.0, &server.url(), "only")?;
    let expected = unedited(&after)?;
    for (desk, mut run) in [(&first, one), (&second, two)] {
        let finished = run.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["cancelled"]), (&3.into(), &0.into()), "{finished}");
        assert!(run.end(LIMIT)?.success());
        assert_eq!(desk.results()?, expected);
    }
    Ok(())
}

/// Ensembles choose by groups, so a file that only renames one asks for something else. No job is lost, and nothing is
/// asked.
#[test]
fn a_renamed_group_while_another_run_conducts_the_sweep() -> anyhow::Result<()> {
    let before = sweep("[0, 1, 2]", 20, ALL);
    let after = before.replace("all", "each");
    let (server, [first, second], one) = a_run_and_an_edited_file(&before, &after)?;
    let mut two = second.run_on(&server, &[])?;
    two.wait_until("the answer", LIMIT, |event| {
        event["text"].as_str().is_some_and(|text| {
            text.contains("follows the edited file: 1 ensemble changed, 3 jobs in other groups")
        })
    })?;
    let _worker = Worker::start(&first.0, &server.url(), "only")?;
    let expected = unedited(&after)?;
    for (desk, mut run) in [(&first, one), (&second, two)] {
        assert_eq!(run.wait_for("finished", LIMIT)?["done"], 3);
        assert!(run.end(LIMIT)?.success());
        assert_eq!(desk.results()?, expected);
    }
    Ok(())
}

/// The edit is in the books; the run that should carry it out is suspended, and then killed.
fn survives_the_run_that_conducts_the_sweep(before: &str, after: &str, jobs: usize) -> anyhow::Result<()> {
    let (server, [first, second], mut one) = a_run_and_an_edited_file(before, after)?;
    let _worker = Worker::start(&first.0, &server.url(), "only")?;
    one.wait_for("epoch", LIMIT)?;
    signal(one.pid(), "STOP")?;
    let mut two = second.run_on(&server, &["--yes"])?;
    two.wait_for("compared", LIMIT)?;
    one.kill()?;
    let finished = two.wait_for("finished", LIMIT)?;
    assert_eq!(finished["done"], jobs, "{finished}");
    assert!(two.end(LIMIT)?.success());
    assert_eq!(second.results()?, unedited(after)?);
    Ok(())
}

#[test]
fn while_the_run_that_conducts_the_sweep_dies() -> anyhow::Result<()> {
    let (before, after) = (sweep("[0, 1, 2]", 500, ALL), sweep("[0, 2, 3]", 500, BEST));
    survives_the_run_that_conducts_the_sweep(&before, &after, 3)
}

#[test]
fn more_epochs_while_the_run_that_conducts_the_sweep_dies() -> anyhow::Result<()> {
    let (before, after) = (lasting(6, "[0, 1]", 500, ALL), lasting(8, "[0, 1]", 500, ALL));
    survives_the_run_that_conducts_the_sweep(&before, &after, 2)
}

/// What was trained with a setting is still in the books when the setting is changed back.
#[test]
fn a_setting_is_changed_and_changed_back() -> anyhow::Result<()> {
    let (before, after) = (sweep("[0, 1]", 20, ALL), sweep("[0, 1]", 30, ALL));
    let desk = Desk::new(&before)?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.save(&after)?;
    let changed = stderr(&expect(&mut desk.0.ferry(&["run", "edited.yaml", "--yes"]), 0)?);
    assert!(changed.contains("~ epoch_ms 30 instead of 20: 2 jobs, trained from the start"), "{changed}");
    desk.save(&before)?;
    let back = stderr(&expect(&mut desk.0.ferry(&["run", "edited.yaml", "--yes"]), 0)?);
    assert!(back.contains("~ epoch_ms 20 instead of 30: 2 jobs, done already"), "{back}");
    assert!(back.contains("left to do: nothing"), "{back}");
    assert_eq!(desk.results()?, unedited(&before)?);
    Ok(())
}

/// Another dataset or trainer cannot be handed over: the run that conducts the sweep has neither.
#[test]
fn with_another_trainer_while_a_run_conducts_the_sweep() -> anyhow::Result<()> {
    let faces = "name: edited\ndataset: {synthetic: {train: 60, validation: 12, test: 12, image_size: 32}}\ndefaults: \
                 {width: 8, image_size: 32, epochs: 1}\ngroups:\n  all: {matrix: {subset_seed: [0, 1]}}\n";
    let (server, [_first, second], one) = a_run_and_an_edited_file(&sweep("[0, 1, 2]", 500, ALL), faces)?;
    let refused = ["run", "edited.yaml", "--workers", "0", "--yes", "--nats", &server.url()];
    let refused = expect(&mut second.0.ferry(&refused), 2)?;
    assert!(stderr(&refused).contains("running with trainer empty"), "{}", stderr(&refused));
    one.kill()
}

/// Finished jobs go on for the epochs that were added, and nothing is asked, because nothing is lost.
#[test]
fn more_epochs_go_on_where_the_jobs_ended() -> anyhow::Result<()> {
    let desk = Desk::new(&lasting(3, "[0, 1]", 20, ALL))?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    let longer = lasting(5, "[0, 1, 2]", 20, ALL);
    desk.save(&longer)?;
    let output = expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    let told = stderr(&output);
    assert!(told.contains("~ epochs 5 instead of 3: 2 jobs, trained on after epoch 3"), "{told}");
    assert!(told.contains("left to do: 3 jobs, 9 epochs"), "{told}");
    assert_eq!(desk.results()?, unedited(&longer)?);
    // What a follower sees: only the new epochs were trained, except of the new job.
    let watched = expect(&mut desk.0.ferry(&["watch", "--json"]), 0)?;
    let events: Vec<Value> = String::from_utf8_lossy(&watched.stdout)
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let noted = events.iter().filter(|event| event.to_string().contains("goes on from epoch 3 of job"));
    assert_eq!(noted.count(), 2, "{events:#?}");
    // Fewer epochs than were trained would throw work away.
    desk.save(&lasting(4, "[0, 1, 2]", 20, ALL))?;
    for words in [&["plan", "edited.yaml"][..], &["run", "edited.yaml", "--yes"]] {
        let refused = stderr(&expect(&mut desk.0.ferry(words), 2)?);
        assert!(
            refused.contains("`epochs: 4` would throw away what 3 jobs have been trained for"),
            "{refused}"
        );
        assert!(refused.contains("edited.yaml:3:"), "{refused}");
    }
    Ok(())
}

/// The longer jobs have not begun yet, and need the checkpoints of the shorter ones, which no sweep lists any more.
#[test]
fn more_epochs_go_on_after_unlisted_jobs_were_removed() -> anyhow::Result<()> {
    let (server, desk) = (Server::start()?, Desk::new(&lasting(3, "[0, 1]", 20, ALL))?);
    let url = server.url();
    let worker = Worker::start(&desk.0, &url, "first")?;
    finished(desk.run_on(&server, &[])?)?;
    drop(worker);
    desk.save(&lasting(5, "[0, 1]", 20, ALL))?;
    let mut run = desk.run_on(&server, &[])?;
    run.wait_for("progress", LIMIT)?;
    signal(run.pid(), "INT")?;
    run.end(LIMIT)?;
    expect(&mut desk.0.ferry(&["remove", "--unlisted", "--yes", "--nats", &url]), 0)?;
    let _worker = Worker::start(&desk.0, &url, "second")?;
    let mut run = desk.run_on(&server, &[])?;
    run.wait_for("finished", LIMIT)?;
    let started = run.seen().iter().filter(|event| event["event"] == "started");
    assert_eq!(started.map(|event| event["epoch"].as_u64()).collect::<Vec<_>>(), [Some(3), Some(3)]);
    assert!(run.end(LIMIT)?.success());
    Ok(())
}

/// What was requested of a job holds for the one that takes its place.
#[test]
fn more_epochs_for_paused_and_cancelled_jobs() -> anyhow::Result<()> {
    let (server, desk) = (Server::start()?, Desk::new(&lasting(4, "[0, 1, 2]", 20, ALL))?);
    let ask = |words: &[&str]| expect(&mut desk.0.ferry(&[words, &["--nats", &server.url()]].concat()), 0);
    let mut run = desk.run_on(&server, &[])?;
    run.wait_for("progress", LIMIT)?;
    ask(&["pause", "edited", "seed=0"])?;
    ask(&["cancel", "edited", "seed=1", "--yes"])?;
    signal(run.pid(), "INT")?;
    run.end(LIMIT)?;
    desk.save(&lasting(6, "[0, 1, 2]", 20, ALL))?;
    let mut run = desk.run_on(&server, &[])?;
    run.wait_until("what was requested", LIMIT, |event| event["paused"] == 1 && event["cancelled"] == 1)?;
    let _worker = Worker::start(&desk.0, &server.url(), "only")?;
    ask(&["resume", "edited", "state=paused", "--yes"])?;
    let end = finished(run)?;
    assert_eq!((&end["done"], &end["cancelled"]), (&2.into(), &1.into()), "{end}");
    Ok(())
}

/// The raise was a mistake. What was trained for it stays in the books, and so does the shorter result.
#[test]
fn more_epochs_are_taken_back() -> anyhow::Result<()> {
    let shorter = lasting(3, "[0, 1]", 20, ALL);
    let desk = Desk::new(&shorter)?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.save(&lasting(5, "[0, 1]", 20, ALL))?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.save(&shorter)?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml", "--yes"]), 0)?;
    assert_eq!(desk.results()?, unedited(&shorter)?);
    assert_eq!(attempts(&desk)?, [1, 1]);
    Ok(())
}

/// All reports of this job together would be too large for a record.
#[test]
fn more_epochs_after_a_long_history() -> anyhow::Result<()> {
    let desk = Desk::new(&lasting(15_000, "[0]", 0, ALL))?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.save(&lasting(15_001, "[0]", 0, ALL))?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    assert_eq!(attempts(&desk)?, [1]);
    let watched = expect(&mut desk.0.ferry(&["watch", "--json"]), 0)?;
    let watched = String::from_utf8_lossy(&watched.stdout).into_owned();
    assert!(watched.lines().any(|line| line.contains("goes on from epoch 1")), "from the last epochs");
    Ok(())
}

#[test]
fn more_epochs_begin_at_the_start_where_no_checkpoint_was_kept() -> anyhow::Result<()> {
    let lean = |epochs| format!("keep_checkpoints: false\n{}", lasting(epochs, "[0, 1]", 20, ALL));
    let desk = Desk::new(&lean(2))?;
    expect(&mut desk.0.ferry(&["run", "edited.yaml"]), 0)?;
    desk.save(&lean(3))?;
    let output = expect(&mut desk.0.ferry(&["run", "edited.yaml", "--yes"]), 0)?;
    assert!(stderr(&output).contains("2 jobs, trained from the start"), "{}", stderr(&output));
    assert_eq!(desk.results()?, unedited(&lean(3))?);
    Ok(())
}
