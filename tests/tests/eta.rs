//! The end of a sweep is foretold: before it begins, while it runs, from the books alone, and in its report.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tests::programs::{Workdir, expect};
use tests::run::Run;

const LIMIT: Duration = Duration::from_mins(2);
/// Twelve jobs of 6 epochs, 2.8 s of epochs for each seed on one worker.
const SWEEP: &str = include_str!("../sweeps/eta.yaml");

fn json(workdir: &Workdir, words: &[&str]) -> anyhow::Result<Value> {
    let output = expect(&mut workdir.ferry(&[words, &["--json"]].concat()), 0)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn the_end_of_a_sweep_is_foretold_and_compared_with_what_came() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    std::fs::write(workdir.path().join("eta.yaml"), SWEEP)?;
    let nothing = expect(&mut workdir.ferry(&["plan", "eta.yaml"]), 0)?;
    let nothing = String::from_utf8_lossy(&nothing.stdout).into_owned();
    assert!(nothing.contains("Time: not known yet"), "{nothing}");

    let mut run = Run::start(workdir.ferry(&["run", "eta.yaml", "--json", "--workers", "1"]))?;
    run.wait_until("two finished jobs", LIMIT, |event| event["done"].as_u64() >= Some(2))?;
    let told = json(&workdir, &["eta", "eta"])?;
    let seconds = |told: &Value, name: &str| told[name].as_f64().context(format!("{name} in {told}"));
    let left = &told["left"];
    let (low, likely, high) =
        (seconds(left, "low_seconds")?, seconds(left, "seconds")?, seconds(left, "high_seconds")?);
    assert!(0.0 < low && low < likely && likely < high, "{told}");
    assert_eq!((&told["is_conducted"], &told["present"]), (&true.into(), &1.into()), "{told}");
    let more = json(&workdir, &["eta", "--add", "3xcpu0"])?;
    assert_eq!(more["with"]["left"]["workers"], 4, "{more}");
    assert!(seconds(&more["with"]["left"], "seconds")? < seconds(&more["left"], "seconds")?, "{more}");
    let refused = expect(&mut workdir.ferry(&["eta", "eta", "--add", "2xabacus"]), 2)?;
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("`abacus`") && refused.contains("the devices are"), "{refused}");
    assert_eq!(run.wait_for("finished", LIMIT)?["done"], 12);
    assert!(run.end(LIMIT)?.success());

    let over = expect(&mut workdir.ferry(&["eta"]), 0)?;
    assert_eq!(String::from_utf8_lossy(&over.stdout), "eta: nothing is left to do\n");
    let folder = workdir.path().join("runs/eta");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("forecasts.json"))?)?;
    assert_eq!((&kept["is_over"], &kept["jobs"]), (&true.into(), &12.into()), "{kept}");
    assert!(kept["forecasts"].as_array().is_some_and(|told| (1..=4).contains(&told.len())), "{kept}");
    for name in ["report.md", "report.html"] {
        let report = std::fs::read_to_string(folder.join(name))?;
        assert!(report.contains("Foretold and real time"), "{name}");
    }
    // A run with nothing to do keeps what was compared.
    let mut again = Run::start(workdir.ferry(&["run", "eta.yaml", "--json", "--workers", "1"]))?;
    again.wait_for("finished", LIMIT)?;
    assert!(again.end(LIMIT)?.success());
    let unchanged: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("forecasts.json"))?)?;
    assert_eq!(unchanged, kept);

    // Another sweep of such jobs: these tell how long it takes, on the server or from the run folder.
    std::fs::write(
        workdir.path().join("more.yaml"),
        SWEEP.replace("name: eta", "name: next").replace("[0,", "[7,"),
    )?;
    for home in [".ferry", "elsewhere"] {
        let planned = json(&workdir, &["plan", "more.yaml", "--home", home])?;
        let seconds = seconds(&planned["work"], "seconds")?;
        assert!((16.8..40.0).contains(&seconds), "{}", planned["work"]);
    }
    Ok(())
}
