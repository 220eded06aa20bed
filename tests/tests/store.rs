//! The store stays small: deleted checkpoints leave nothing on the disk, and blobs that nothing refers to are collected. A
//! store that reaches its limit is reported.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use orchestrator::service::{Ages, Collected, collect_garbage};
use serde_json::Value;
use shared::bus::Bucket;
use tests::processes::{Owned, signal};
use tests::programs::{Workdir, expect, root};
use tests::run::Run;
use tests::server::Server;

const LIMIT: Duration = Duration::from_mins(4);

/// Bytes that a store may use on the disk in addition to its contents: books, indices, and blocks that are still in use.
const OVERHEAD: u64 = 40 << 20;

#[tokio::test]
async fn deleted_checkpoints_leave_nothing_on_the_disk() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let mut names: Vec<String> = Vec::new();
    for n in 0..120_u32 {
        let bytes: Vec<u8> = (0..2 << 20).map(|i: u32| (i.wrapping_mul(31) ^ n) as u8).collect();
        names.push(bus.put_blob(Bucket::Checkpoints, &format!("job.{n}"), bytes.into()).await?.name);
        if names.len() > 2 {
            bus.delete_blob(Bucket::Checkpoints, &names.remove(0)).await?;
        }
    }
    let stored = server.stored_bytes()?;
    assert!(stored < OVERHEAD, "{} MB on the disk for two checkpoints of 2 MB", stored >> 20);
    Ok(())
}

/// Stores bytes without a description, as they remain if an uploader dies.
fn orphan(server: &Server) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("nats://"))?;
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $O.ferry_checkpoints.C.orphan answer 4\r\nlost\r\n"
    )?;
    let mut lines = BufReader::new(stream).lines();
    anyhow::ensure!(lines.any(|line| line.is_ok_and(|line| line.starts_with("MSG answer"))), "no answer");
    Ok(())
}

/// Case 33: leftovers of interrupted uploads.
#[tokio::test]
async fn an_upload_that_died_is_collected_and_what_is_young_stays() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let blob = bus.put_blob(Bucket::Checkpoints, "unnamed", vec![1; 100].into()).await?;
    orphan(&server)?;
    assert_eq!(collect_garbage(&bus, Ages::default()).await?, Collected::default(), "they are young");
    let inventory = bus.inventory(Bucket::Checkpoints).await?;
    assert_eq!(inventory.objects.len(), 1);
    let uploads: Vec<_> = inventory.uploads.iter().map(|upload| (upload.id.as_str(), upload.size)).collect();
    assert_eq!(uploads, [("orphan", 4)]);
    let collected = collect_garbage(&bus, Ages { uploads: Duration::ZERO, ..Ages::default() }).await?;
    assert_eq!(collected, Collected { blobs: 0, uploads: 1, bytes: 4 });
    assert_eq!(bus.inventory(Bucket::Checkpoints).await?.uploads, []);
    assert_eq!(bus.get_blob(Bucket::Checkpoints, &blob).await?.len(), 100);
    Ok(())
}

fn json(workdir: &Workdir, args: &[&str]) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&expect(&mut workdir.ferry(args), 0)?.stdout)?)
}

/// The message of `ferry remove ARGS` when it refuses.
fn refused(workdir: &Workdir, args: &[&str]) -> anyhow::Result<String> {
    let output = expect(&mut workdir.ferry(&[&["remove"], args].concat()), 2)?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sweeps(workdir: &Workdir) -> anyhow::Result<Vec<String>> {
    let status = json(workdir, &["status", "--json"])?;
    let names = status["sweeps"].as_array().into_iter().flatten();
    Ok(names.filter_map(|sweep| sweep["name"].as_str().map(str::to_owned)).collect())
}

/// Case 33: an old sweep is removed with everything that only it uses. What another sweep lists stays.
#[test]
fn a_sweep_is_removed_and_what_others_use_stays() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let text = std::fs::read_to_string(root().join("experiments/smoke.yaml"))?;
    let text = text.replace("name: smoke", "name: NAME");
    for name in ["first", "second"] {
        std::fs::write(workdir.path().join(format!("{name}.yaml")), text.replace("NAME", name))?;
    }
    let mut run = Run::start(workdir.ferry(&["run", "first.yaml", "--json"]))?;
    run.wait_for("started", LIMIT)?;
    insta::assert_snapshot!(refused(&workdir, &["first", "--yes"])?, @"error: `ferry run` is running the sweep `first`: stop it first, or wait until it ends");
    run.wait_for("finished", LIMIT)?;
    assert!(run.end(LIMIT)?.success());
    expect(&mut workdir.ferry(&["run", "second.yaml"]), 0)?;

    insta::assert_snapshot!(refused(&workdir, &["third", "--yes"])?, @"error: there is no sweep `third` here; there are: first, second");
    insta::assert_snapshot!(refused(&workdir, &["first"])?, @"error: nothing was changed: there is no terminal to ask for confirmation, so add --yes");
    assert_eq!(sweeps(&workdir)?, ["first", "second"], "nothing was removed");

    let removed = json(&workdir, &["remove", "first", "--yes", "--json"])?;
    let holdings = &removed["holdings"];
    assert_eq!((&holdings["jobs"], &holdings["shared_jobs"]), (&0.into(), &4.into()), "{removed}");
    assert_eq!(holdings["packs"]["count"], 0, "{removed}");
    assert_eq!(sweeps(&workdir)?, ["second"]);
    let removed = json(&workdir, &["remove", "second", "--yes", "--json"])?;
    let holdings = &removed["holdings"];
    assert_eq!((&holdings["jobs"], &holdings["done"]), (&4.into(), &4.into()), "{removed}");
    assert_eq!(holdings["packs"]["count"], 1, "{removed}");
    let status = json(&workdir, &["status", "--json"])?;
    for bucket in status["store"].as_array().context("the store")? {
        assert_eq!((&bucket["objects"], &bucket["uploads"]), (&0.into(), &0.into()), "{status}");
    }
    assert!(workdir.path().join("runs/first/results.json").is_file(), "run folders stay");
    let nothing = json(&workdir, &["remove", "--unlisted", "--yes", "--json"])?;
    assert_eq!(nothing["holdings"]["jobs"], 0, "{nothing}");
    Ok(())
}

/// Case 33: jobs that the sweep file no longer has are found, too, and can be removed once the sweep is stopped.
#[test]
fn jobs_of_a_changed_sweep_file_can_be_removed() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let text = std::fs::read_to_string(root().join("tests/sweeps/faults.yaml"))?;
    std::fs::write(workdir.path().join("a.yaml"), &text)?;
    let mut run = Run::start(workdir.ferry(&["run", "a.yaml", "--json"]))?;
    run.wait_for("done", LIMIT)?;
    signal(run.pid(), "INT")?;
    run.end(LIMIT)?;
    std::fs::write(workdir.path().join("a.yaml"), text.replace("epochs: ", "epochs: 1"))?;
    let mut run = Run::start(workdir.ferry(&["run", "a.yaml", "--json", "--yes", "--workers", "1"]))?;
    run.wait_for("started", LIMIT)?;
    assert!(refused(&workdir, &["--unlisted", "--yes"])?.contains("is running the sweep"));
    signal(run.pid(), "INT")?;
    run.end(LIMIT)?;
    let removed = json(&workdir, &["remove", "--unlisted", "--yes", "--json"])?;
    assert_eq!(removed["holdings"]["jobs"], 6, "{removed}");
    assert_ne!(removed["holdings"]["done"], 0, "{removed}");
    Ok(())
}

/// Stores blobs until the server refuses more.
async fn fill(server: &Server) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    for n in 0..u32::MAX {
        let bytes: Vec<u8> = (0..200_000).map(|i: u32| (i.wrapping_mul(31) ^ n) as u8).collect();
        // Storing is retried without end, so a timeout means that it is refused.
        let stem = format!("filling.{n}");
        let stored = bus.put_blob(Bucket::Weights, &stem, bytes.into());
        if tokio::time::timeout(Duration::from_secs(3), stored).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn remark(words: &'static str) -> impl Fn(&serde_json::Value) -> bool {
    move |event| event["text"].as_str().is_some_and(|text| text.contains(words))
}

#[tokio::test]
async fn a_store_at_its_limit_is_told_and_the_sweep_goes_on_when_it_is_raised() -> anyhow::Result<()> {
    let mut server = Server::start_limited(8 << 20)?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let workdir = Workdir::new()?;
    let mut run =
        Run::start(workdir.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;
    fill(&server).await?;
    run.wait_until("word of the limit", LIMIT, remark("refuses writes"))?;
    server.lift_limit()?;
    run.wait_until("word of its end", LIMIT, remark("can be written again"))?;
    let url = server.url();
    let args = ["--nats", &url, "--name", "w", "--cache", "cache", "--device", "cpu"];
    let _worker = Owned(workdir.worker(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    Ok(())
}
