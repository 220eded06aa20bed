//! The store stays small: deleted checkpoints leave nothing on the disk, and what nothing refers to is collected. A store
//! that reaches its limit is reported.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use coordinator::service::collect_garbage;
use shared::bus::Bucket;
use tests::processes::Owned;
use tests::programs::{Desk, root};
use tests::run::Run;
use tests::server::Server;

const LIMIT: Duration = Duration::from_mins(4);

/// Bytes on the disk that a store may take beside what it holds: books, indices, and blocks that are still in use.
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

/// Bytes without a description, as an uploader that died leaves them.
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

#[tokio::test]
async fn an_upload_that_died_is_seen_and_what_is_young_stays() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let blob = bus.put_blob(Bucket::Checkpoints, "unnamed", vec![1; 100].into()).await?;
    orphan(&server)?;
    assert_eq!(collect_garbage(&bus).await?, 0, "an hour has not passed");
    let inventory = bus.inventory(Bucket::Checkpoints).await?;
    assert_eq!(inventory.objects.len(), 1);
    assert_eq!(inventory.uploads.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), ["orphan"]);
    bus.discard_upload(Bucket::Checkpoints, "orphan").await?;
    assert_eq!(bus.inventory(Bucket::Checkpoints).await?.uploads, []);
    assert_eq!(bus.get_blob(Bucket::Checkpoints, &blob).await?.len(), 100);
    Ok(())
}

/// Stores blobs until no more is taken.
async fn fill(server: &Server) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    for n in 0..u32::MAX {
        let bytes: Vec<u8> = (0..200_000).map(|i: u32| (i.wrapping_mul(31) ^ n) as u8).collect();
        // Storing is tried again for ever: what takes so long is refused.
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
    let desk = Desk::new()?;
    let mut run =
        Run::start(desk.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;
    fill(&server).await?;
    run.wait_until("word of the limit", LIMIT, remark("refuses writes"))?;
    server.lift_limit()?;
    run.wait_until("word of its end", LIMIT, remark("takes writes again"))?;
    let url = server.url();
    let args = ["--nats", &url, "--name", "w", "--cache", "cache", "--device", "cpu"];
    let _worker = Owned(desk.worker(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    Ok(())
}
