//! What `ferry chaos --help` says.

use std::process::Command;

#[test]
fn the_help_of_chaos() -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_ferry")).args(["chaos", "--help"]).output()?;
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    Kill processes at random during a small sweep, then check that nothing was lost or changed.

    Real processes train a small sweep while faults are injected: workers, nats-server and the
    coordinator (`ferry run`) are killed, workers are suspended for longer than their lease, connections
    are cut and delayed, checkpoints are damaged, the server's disk is filled, jobs are delivered twice.
    In the end every job must be done exactly once, with the same bits as in a run without faults. That
    run comes first; it is kept in the folder and used again for other seeds.

    Usage: ferry chaos [OPTIONS]

    Options:
          --workers <WORKERS>
              Number of worker processes

              [default: 4]

          --minutes <MINUTES>
              Minutes over which the faults are spread; after them the sweep runs to its end undisturbed

              [default: 5]

          --seed <SEED>
              Seed of the schedule: the same seed injects the same faults at the same times

              [default: 0]

          --jobs <JOBS>
              Number of jobs, each a few seconds of training [default: enough for the time given, at
              least 60]

          --faults <FAULTS>
              Number of faults to inject

              [default: 100]

      -o, --out <FOLDER>
              Folder for logs, the run without faults, and the outcome; an earlier run of the same seed
              in it is removed

              [default: chaos]

          --json
              Print one JSON object per event on standard output, the outcome last

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      ferry chaos --seed 1
      ferry chaos --workers 2 --jobs 8 --faults 10 --minutes 1 --seed 7 --json

    Exit codes: 0 nothing was lost or changed, 1 something was, or the sweep did not end, 2 bad input,
    130 interrupted.
    ");
    Ok(())
}
