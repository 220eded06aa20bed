//! `ferry verify`: a job is trained again beside its result, which is graded and stays as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shared::bus::{Bucket, Bus};
use tests::programs::{Workdir, expect};
use tests::run::Run;
use tests::server::Server;

const LIMIT: Duration = Duration::from_mins(4);

/// Two short jobs with predictions.
const SHORT: &str = "name: short\ntrainer: empty\n\
    defaults: {epochs: 3, epoch_ms: 10, classes: 3, gain: 0.5}\ngroups:\n  all: {matrix: {seed: [0, 1]}}\n";
/// One job that does not end by itself while a test runs.
const LONG: &str = "name: long\ntrainer: empty\n\
    defaults: {epochs: 2000, epoch_ms: 300}\ngroups:\n  all: {matrix: {seed: [0]}}\n";
/// One small network.
const NETWORK: &str = "name: network\n\
    dataset: {synthetic: {seed: 1, train: 120, validation: 60, test: 60, image_size: 32}}\n\
    defaults:\n  {backbone: resnet18, emotion_backbone: resnet18, width: 4, blocks: [1, 1, 1, 1], image_size: 32,\n   \
    batch_size: 32, epochs: 2}\ngroups:\n  all: {matrix: {seed: [0]}}\n";

/// `ferry run` of this sweep to its end.
fn run(workdir: &Workdir, name: &str, sweep: &str, place: &[&str]) -> anyhow::Result<()> {
    let file = format!("{name}.yaml");
    std::fs::write(workdir.path().join(&file), sweep)?;
    expect(workdir.ferry(&["run", &file, "--workers", "1"]).args(place), 0)?;
    Ok(())
}

/// What `ferry verify` says of a job of `runs/<name>`, and ends with `code`.
fn verified(workdir: &Workdir, name: &str, job: &str, options: &[&str], code: i32) -> anyhow::Result<Value> {
    let folder = format!("runs/{name}");
    let mut command = workdir.ferry(&["verify", &folder, job, "--json", "--cache", "cache"]);
    let output = expect(command.args(options), code)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The id of the first job with a result in a run folder.
fn a_job(workdir: &Workdir, name: &str) -> anyhow::Result<String> {
    let results = workdir.path().join("runs").join(name).join("results");
    let mut ids: Vec<String> = std::fs::read_dir(results)?
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    ids.sort_unstable();
    ids.into_iter().next().context("a result")
}

/// Every file below `folder` with its content.
fn files(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path)?);
        }
    }
    Ok(found)
}

/// The newest revision of the books, and the names of all objects.
async fn store(bus: &Bus) -> anyhow::Result<(u64, Vec<String>)> {
    let mut objects = Vec::new();
    for bucket in Bucket::ALL {
        let held = bus.inventory(bucket).await?;
        objects.extend(held.objects.into_iter().map(|object| object.name));
        objects.extend(held.uploads.iter().map(|_| "an upload".to_owned()));
    }
    objects.sort_unstable();
    Ok((bus.newest(&[">"]).await?, objects))
}

#[tokio::test]
async fn a_finished_job_is_reproduced_bit_for_bit_and_nothing_is_changed() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let url = server.url();
    let place = ["--nats", url.as_str()];
    run(&workdir, "short", SHORT, &place)?;
    let bus = server.bus().await?;
    let folder = workdir.path().join("runs/short");
    let before = (files(&folder)?, store(&bus).await?);
    let job = a_job(&workdir, "short")?;

    let first = verified(&workdir, "short", &job[..13], &place, 0)?;
    assert_eq!((&first["grade"], &first["job"]), (&json!("bit_exact"), &json!(job)), "{first:#}");
    assert_eq!((&first["from"], &first["until"], &first["numbers"]), (&Value::Null, &json!(1), &json!(1)));
    assert_eq!(first["changes"], json!([]), "the same machine and programs");
    let whole = verified(&workdir, "short", &job, &[&place[..], &["--epochs", "99"]].concat(), 0)?;
    assert_eq!((&whole["grade"], &whole["to_the_end"]), (&json!("bit_exact"), &json!(true)), "{whole:#}");
    // A score for each epoch and at the end, and two splits of 8 samples and 3 classes.
    assert_eq!(whole["numbers"], 3 + 1 + 2 * 8 * 3);
    assert_eq!((files(&folder)?, store(&bus).await?), before);
    Ok(())
}

#[test]
fn what_does_not_come_out_the_same_is_named_and_graded() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    run(&workdir, "short", SHORT, &[])?;
    let job = a_job(&workdir, "short")?;
    let path = workdir.path().join(format!("runs/short/results/{job}.json"));
    let result: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    assert!(result["software"]["libtorch"].is_string(), "{result:#}");
    let provenance: Value =
        serde_json::from_slice(&std::fs::read(workdir.path().join("runs/short/provenance.json"))?)?;
    let [only] = provenance["runs"].as_array().context("runs")?.as_slice() else {
        anyhow::bail!("{provenance:#}")
    };
    assert_eq!((&only["file"], &only["git"]), (&json!("short.yaml"), &Value::Null), "{only:#}");
    assert!(only["begun"].is_string() && only["ended"].is_string(), "{only:#}");
    let with_score = |score: f64| -> anyhow::Result<()> {
        let mut other = result.clone();
        other["history"][0]["metrics"]["score"] = json!(score);
        other["software"]["libtorch"] = json!("1.0.0");
        Ok(std::fs::write(&path, serde_json::to_vec(&other)?)?)
    };
    with_score(0.501)?;
    let near = verified(&workdir, "short", &job, &[], 0)?;
    assert_eq!(near["grade"], "within_epsilon", "{near:#}");
    assert_eq!(near["changes"][0]["what"], "libtorch");
    assert_eq!(verified(&workdir, "short", &job, &["--epsilon", "0"], 3)?["grade"], "not_reproduced");
    with_score(0.75)?;
    let far = verified(&workdir, "short", &job, &[], 3)?;
    let difference = &far["differences"][0];
    assert_eq!((&far["grade"], &far["unequal"]), (&json!("not_reproduced"), &json!(1)), "{far:#}");
    assert_eq!((&difference["epoch"], &difference["metric"]), (&json!(1), &json!("score")));
    assert_eq!((&difference["then"], &difference["now"]), (&json!(0.75), &json!(0.5)));

    // As text, and for jobs that nobody knows.
    let told = expect(&mut workdir.ferry(&["verify", "runs/short", &job]), 3)?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("NOT REPRODUCED: 1 of 1 number") && told.contains("libtorch: 1.0.0 then"),
        "{told}"
    );
    let refused = expect(&mut workdir.ferry(&["verify", "runs/short", "ffffffffffff"]), 2)?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no job of short has an id"));
    expect(&mut workdir.ferry(&["verify", "runs/none", &job]), 2)?;
    expect(&mut workdir.ferry(&["verify", "runs/short", &job, "--device", "abacus"]), 2)?;
    Ok(())
}

#[test]
fn a_copied_run_folder_is_enough_where_the_inputs_are_there() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    run(&workdir, "network", NETWORK, &[])?;
    let job = a_job(&workdir, "network")?;
    let options = ["--epochs", "2", "--device", "cpu"];
    let whole = verified(&workdir, "network", &job, &options, 0)?;
    assert_eq!((&whole["grade"], &whole["to_the_end"]), (&json!("bit_exact"), &json!(true)), "{whole:#}");
    // Without the state directory, the dataset is missing until it is named.
    std::fs::rename(workdir.path().join(".ferry"), workdir.path().join("away"))?;
    let mut alone = workdir.ferry(&["verify", "runs/network", &job, "--cache", "other", "--device", "cpu"]);
    let refused = expect(&mut alone, 2)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is not on this machine") && said.contains("--data"), "{said}");
    assert!(!workdir.path().join(".ferry").exists(), "no state directory is made");
    let data = ["--data", "away/data", "--device", "cpu"];
    assert_eq!(verified(&workdir, "network", &job, &data, 0)?["grade"], "bit_exact");
    Ok(())
}

#[tokio::test]
async fn a_running_job_is_verified_from_its_checkpoint() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let url = server.url();
    let place = ["--nats", url.as_str()];
    std::fs::write(workdir.path().join("long.yaml"), LONG)?;
    let mut command = workdir.ferry(&["run", "long.yaml", "--workers", "1", "--json"]);
    command.args(["--lease", "6", "--heartbeat", "1"]).args(place);
    let mut sweep = Run::start(command)?;
    let epoch = sweep.wait_until("three epochs", LIMIT, |event| {
        event["event"] == "epoch" && event["epoch"].as_u64() >= Some(3)
    })?;
    let job = epoch["job"].as_str().context("a job")?.to_owned();
    // Its checkpoints are replaced while it runs.
    expect(workdir.ferry(&["pause", "long", "--yes"]).args(place), 0)?;
    sweep.wait_until("a paused job", LIMIT, |event| event["paused"] == 1)?;
    let told = verified(&workdir, "long", &job, &place, 0)?;
    assert_eq!((&told["grade"], &told["to_the_end"]), (&json!("bit_exact"), &json!(false)), "{told:#}");
    let (from, until) = (told["from"]["epoch"].as_u64(), told["until"].as_u64());
    assert!(from >= Some(1) && until == from.map(|epoch| epoch + 1), "{told:#}");
    let unknown: Vec<&Value> = told["changes"].as_array().context("changes")?.iter().collect();
    assert!(unknown.iter().all(|changed| changed["then"] == Value::Null) && !unknown.is_empty(), "{told:#}");
    let start = verified(&workdir, "long", &job, &[&place[..], &["--from-start"]].concat(), 0)?;
    assert_eq!((&start["from"], &start["until"]), (&Value::Null, &json!(1)), "{start:#}");
    Ok(())
}
