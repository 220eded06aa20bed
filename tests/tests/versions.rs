//! A store or state directory of another version is refused in one sentence, or upgraded. It is never misread or
//! overwritten.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use shared::bus::{Bus, BusError};
use shared::protocol::SCHEMA;
use tests::programs::{Workdir, expect, root};
use tests::server::Server;

/// Sends one request of JetStream's API without a client, because `shared::bus` cannot create stores of other versions.
fn request(server: &Server, subject: &str, body: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("nats://"))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{body}\r\n",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        anyhow::ensure!(reader.read_line(&mut line)? > 0, "the server hung up");
        if let Some(head) = line.strip_prefix("MSG answer 1 ") {
            let mut payload = vec![0; head.trim().parse()?];
            reader.read_exact(&mut payload)?;
            return Ok(serde_json::from_slice(&payload)?);
        }
    }
}

/// Changes the version of the store; `None` makes it a store from before there were versions.
fn set_version(server: &Server, version: Option<u32>) -> anyhow::Result<()> {
    let info = request(server, "$JS.API.STREAM.INFO.KV_ferry_books", "")?;
    let mut config = info["config"].clone();
    match (version, config["metadata"].as_object_mut()) {
        (Some(version), _) => config["metadata"]["ferry.schema"] = version.to_string().into(),
        (None, Some(metadata)) => drop(metadata.remove("ferry.schema")),
        (None, None) => {}
    }
    let updated = request(server, "$JS.API.STREAM.UPDATE.KV_ferry_books", &config.to_string())?;
    anyhow::ensure!(updated["error"].is_null(), "{updated}");
    Ok(())
}

#[tokio::test]
async fn a_newer_store_is_refused_by_all_and_an_older_one_raised_by_the_coordinator_alone()
-> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    bus.write("kept", &"value").await?;
    let workdir = Workdir::new()?;
    let worker = || workdir.worker(&["--nats", &server.url(), "--device", "cpu"]);

    set_version(&server, Some(SCHEMA + 1))?;
    let refused = Bus::connect_and_lay_out(&server.endpoint()?, "test").await;
    assert!(matches!(refused, Err(BusError::Version { .. })), "{refused:?}");
    let said = expect(&mut worker(), 2)?.stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(&format!("has version {}", SCHEMA + 1)) && said.lines().count() == 1, "{said}");
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    expect(&mut workdir.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0"]), 2)?;

    for (earlier, version) in [(None, 1), (Some(SCHEMA - 1), SCHEMA - 1)] {
        set_version(&server, earlier)?;
        let said = expect(&mut worker(), 2)?.stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(&format!("has version {version}")) && said.contains("ferry run"), "{said}");
        drop(server.bus().await?);
        Bus::connect(&server.endpoint()?, "test").await?;
    }
    let kept = server.bus().await?.keys("").await?;
    assert!(kept.contains(&"kept".to_owned()), "nothing was made again: {kept:?}");
    Ok(())
}

#[test]
fn a_newer_state_directory_is_refused() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    std::fs::create_dir(workdir.path().join(".ferry"))?;
    std::fs::write(workdir.path().join(".ferry/version"), "99\n")?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let said = expect(&mut workdir.ferry(&["run", &sweep]), 2)?.stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("has version 99") && said.contains("update Ferry"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(workdir.path().join(".ferry"))?.flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["version"], "nothing was touched");
    Ok(())
}
