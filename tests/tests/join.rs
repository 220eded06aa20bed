//! A worker that has only an address joins a sweep: the dataset and everything else come over the bus.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use tests::processes::{Owned, children};
use tests::programs::{Workdir, expect, root};
use tests::run::Run;
use tests::server::Server;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn a_worker_with_only_an_address_does_the_whole_sweep() -> anyhow::Result<()> {
    let server = Server::start()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let workdir = Workdir::new()?;
    let mut run =
        Run::start(workdir.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;

    let elsewhere = Workdir::new()?;
    let mut command = elsewhere.worker(&["--nats", &server.url(), "--name", "far-away", "--cache", "cache"]);
    let _worker = Owned(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    assert_eq!(
        std::fs::read_dir(elsewhere.path().join("cache/packs"))?.count(),
        1,
        "the dataset was fetched"
    );

    let status = expect(&mut workdir.ferry(&["status", "--nats", &server.url(), "--json"]), 0)?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let jobs = status["sweeps"][0]["jobs"].as_array().cloned().unwrap_or_default();
    assert_eq!(jobs.len(), 4);
    assert!(jobs.iter().all(|job| job["state"] == "done" && job["worker"] == "far-away"), "{status:#}");
    Ok(())
}

#[test]
fn a_worker_without_the_token_is_refused_in_one_sentence() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let (run, endpoint) = running(&workdir)?;
    let url = endpoint["url"].as_str().unwrap_or_default();
    let refused = expect(&mut workdir.worker(&["--nats", url]), 2)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("refused") && said.contains("FERRY_TOKEN"), "{said}");
    run.kill()
}

#[test]
fn a_server_of_our_own_is_on_loopback_and_asks_for_its_token() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let (run, endpoint) = running(&workdir)?;
    let url = endpoint["url"].as_str().unwrap_or_default();
    let port: u16 = url.strip_prefix("nats://127.0.0.1:").unwrap_or_default().parse()?;
    let server = children(run.pid(), "nats-server").first().copied().unwrap_or_default();
    let mut ports = listening(server)?;
    ports.retain(|listening| *listening != (std::net::Ipv4Addr::LOCALHOST, port));
    let [(std::net::Ipv4Addr::LOCALHOST, report)] = ports[..] else { panic!("listens on {ports:?}, too") };
    assert!(asked(report, "/varz")?.starts_with("HTTP/1.0 404"), "its health report asks for the token, too");
    let token = endpoint["token"].as_str().unwrap_or_default();
    assert!(asked(report, &format!("/{token}/healthz"))?.starts_with("HTTP/1.0 200"));
    let refused = expect(&mut workdir.ferry(&["status", "--nats", url]), 2)?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"));
    run.kill()
}

/// Case 19: this matters because failures are counted by name.
#[test]
fn workers_of_one_host_that_were_given_no_name_have_different_ones() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let mut run =
        Run::start(workdir.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;
    let worker = || -> anyhow::Result<Owned> {
        let args = ["--nats", &server.url(), "--cache", "cache", "--device", "cpu"];
        Ok(Owned(workdir.worker(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    };
    let _workers = [worker()?, worker()?];
    let names = wait::until(LIMIT, "two workers with a name each", || {
        let status = expect(&mut workdir.ferry(&["status", "--nats", &server.url(), "--json"]), 0).ok()?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
        let ids = status["workers"].as_array()?.iter().filter_map(|worker| worker["worker"].as_str());
        let names: Vec<String> = ids.filter_map(|id| Some(id.rsplit_once('-')?.0.to_owned())).collect();
        (names.len() == 2).then_some(names)
    })?;
    assert_ne!(names[0], names[1]);
    run.kill()
}

/// A sweep whose training has started, and the event that names its server.
fn running(workdir: &Workdir) -> anyhow::Result<(Run, serde_json::Value)> {
    let sweep = undisturbed::faults().display().to_string();
    let mut run = Run::start(workdir.ferry(&["run", &sweep, "--json"]))?;
    run.wait_for("started", LIMIT)?;
    let endpoint = std::fs::read_to_string(workdir.path().join(".ferry/endpoint.json"))?;
    Ok((run, serde_json::from_str(&endpoint)?))
}

/// The answer of the server's monitoring port for a path.
fn asked(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(1 << 16).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The addresses on which a process listens, found through its sockets in the kernel's tables.
fn listening(pid: u32) -> anyhow::Result<Vec<(std::net::Ipv4Addr, u16)>> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let sockets: Vec<String> = links
        .filter_map(|fd| {
            let link = std::fs::read_link(fd.path()).ok()?;
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        let (address, port) = local.split_once(':')?;
        if state != LISTEN || !sockets.iter().any(|socket| socket == inode) {
            return None;
        }
        // An IPv6 address is longer and is read as 0 here, so the test fails, as it should: Ferry listens on none.
        let address = u32::from_str_radix(address, 16).unwrap_or(0).swap_bytes();
        Some((address.into(), u16::from_str_radix(port, 16).ok()?))
    };
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let tables = tables.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(of).collect())
}

/// The kernel's state of a listening socket.
const LISTEN: &str = "0A";
