//! Two hosts on one machine: a worker joins across them, and the cable is unplugged for longer than a lease.

use std::process::Stdio;
use std::time::Duration;

use shared::bus::Role;
use tests::cluster::Cluster;
use tests::namespaces::{HEAD, Hosts, within};
use tests::processes::{Owned, is_alive};
use tests::programs::Workdir;
use tests::results::comparable;
use tests::run::Run;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn a_host_that_is_cut_off_for_longer_than_a_lease_changes_no_result() -> anyhow::Result<()> {
    let hosts = match Hosts::new() {
        Ok(hosts) => hosts,
        Err(why) => {
            // Only root may create namespaces. Other tests cover everything else about joining without them.
            eprintln!("SKIPPED: this machine allows no network namespaces ({why:#})");
            return Ok(());
        }
    };
    let sweep = undisturbed::faults();
    let undisturbed = undisturbed::results(&sweep)?;
    let sweep = sweep.display().to_string();

    let cluster = Cluster::start_in(&hosts.head, HEAD)?;
    let (workdir, elsewhere) = (Workdir::new()?, Workdir::new()?);
    let creds = cluster.credential(Role::Coordinator).display().to_string();
    let run = ["run", &sweep, "--nats", cluster.url(), "--creds", &creds, "--workers", "0", "--json"];
    let mut run = Run::start(within(&hosts.head, &workdir.ferry(&run)))?;

    std::fs::copy(cluster.credential(Role::Worker), elsewhere.path().join("worker.creds"))?;
    let worker = |name: &str, host: &str| -> anyhow::Result<Owned> {
        let args = ["--nats", cluster.url(), "--creds", "worker.creds", "--name", name];
        let mut command = elsewhere.worker(&args);
        command.env("HOME", elsewhere.path().join(name)).env_remove("XDG_CACHE_HOME");
        let log = std::fs::File::create(elsewhere.path().join(format!("{name}.log")))?;
        Ok(Owned(within(host, &command).stdout(Stdio::null()).stderr(log).spawn()?))
    };
    let far = worker("far", &hosts.far)?;
    run.wait_for("epoch", LIMIT)?;
    hosts.unplug()?;
    let _near = worker("near", &hosts.head)?;
    run.wait_until("the take-over by the other host", LIMIT, |event| {
        event["event"] == "taken_over"
            && event["worker"].as_str().is_some_and(|name| name.starts_with("near"))
    })?;
    hosts.plug()?;
    let log = elsewhere.path().join("far.log");
    let refused =
        || std::fs::read_to_string(&log).ok()?.contains("this worker goes on with other jobs").then_some(());
    wait::until(LIMIT, "the worker that was cut off to say why it was refused", refused)?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!(finished["failed"], 0);
    assert!(run.end(LIMIT)?.success() && is_alive(far.0.id()));
    assert_eq!(comparable(&workdir.path().join("runs/faults/results.json"))?, undisturbed);
    Ok(())
}
