//! What the server itself refuses to each role, tried with a plain client that does not know Ferry's rules.

use std::time::Duration;

use anyhow::Context;
use nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use shared::books::{Standing, WorkerRecord};
use shared::bus::{Bucket, Bus, Role};
use shared::protocol::{Drain, EnsembleState, Scoreboard, ScoredEnsemble};
use tests::cluster::Cluster;
use tests::programs::{Workdir, expect};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const LIMIT: Duration = Duration::from_secs(20);
const JOB: &str = "00000000-0000-0000-0000-000000000001";

/// A plain connection with a role's key, and the errors that the server sends.
struct Plain {
    client: Client,
    complaints: UnboundedReceiver<String>,
}

impl Plain {
    async fn connect(cluster: &Cluster, role: Role) -> anyhow::Result<Self> {
        let path = cluster.credential(role);
        let text = std::fs::read_to_string(&path)?;
        let seed = text.lines().find_map(|line| line.strip_prefix("seed: ")).context("a seed")?.to_owned();
        let (sender, complaints) = unbounded_channel();
        let client = ConnectOptions::with_nkey(seed)
            .custom_inbox_prefix(role.inbox())
            .require_tls(true)
            .add_root_certificates(path)
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    if let Event::ServerError(ServerError::Other(text)) = event {
                        let _listener_gone = sender.send(text);
                    }
                }
            })
            .connect(cluster.url())
            .await?;
        Ok(Self { client, complaints })
    }

    async fn complaint(&mut self, about: &str) -> anyhow::Result<()> {
        self.client.flush().await?;
        let heard = tokio::time::timeout(LIMIT, self.complaints.recv()).await;
        let heard = heard.with_context(|| format!("{about} was not refused"))?.context("closed")?;
        anyhow::ensure!(heard.contains(about), "{heard} instead of a complaint about {about}");
        Ok(())
    }

    async fn may_not_publish(&mut self, subjects: &[String]) -> anyhow::Result<()> {
        for subject in subjects {
            self.client.publish(subject.clone(), "{}".into()).await?;
            self.complaint(subject).await?;
        }
        Ok(())
    }

    async fn may_not_hear(&mut self, subjects: &[&str]) -> anyhow::Result<()> {
        for subject in subjects {
            let _subscription = self.client.subscribe((*subject).to_owned()).await?;
            self.complaint(subject).await?;
        }
        Ok(())
    }
}

/// Subjects that only the coordinator may use, as the coordinator itself names them and with the prefix of other roles.
fn coordinators_own() -> Vec<String> {
    let streams = ["KV_ferry_books", "FERRY_JOBS", "OBJ_ferry_packs", "OBJ_ferry_results"];
    let mut api = vec!["STREAM.CREATE.MINE".to_owned(), "STREAM.LIST".to_owned(), "INFO".to_owned()];
    for stream in streams {
        for verb in ["DELETE", "PURGE", "UPDATE", "SNAPSHOT", "RESTORE", "MSG.DELETE"] {
            api.push(format!("STREAM.{verb}.{stream}"));
        }
        api.push(format!("CONSUMER.CREATE.{stream}"));
        api.push(format!("CONSUMER.CREATE.{stream}.mine"));
    }
    api.push("CONSUMER.DELETE.FERRY_JOBS.workers".to_owned());
    let mut own =
        vec![format!("ferry.job.{JOB}"), "_INBOX_coordinator.x".into(), "$SYS.REQ.SERVER.PING".into()];
    own.extend(api.iter().map(|request| format!("$JS.API.{request}")));
    let mut plain: Vec<String> = ["order", "sweep", "request", "ensembles", "pack", "weights"]
        .map(|kind| format!("$KV.ferry_books.{kind}.{JOB}"))
        .into();
    plain.extend(["ferry_packs", "ferry_weights"].map(|bucket| format!("$O.{bucket}.C.x")));
    plain.extend(["ferry_packs", "ferry_weights"].map(|bucket| format!("$O.{bucket}.M.x")));
    plain.extend(["timing", "priorities", "drains"].map(|key| format!("$KV.ferry_books.{key}")));
    plain.push(format!("ferry.job.{JOB}"));
    own.extend(plain.clone());
    own.extend(plain.iter().chain(&api).map(|subject| format!("ferry.api.{subject}")));
    own
}

/// The number of messages in each of the coordinator's streams.
async fn stored(coordinator: &Plain) -> anyhow::Result<Vec<u64>> {
    let jetstream = nats::jetstream::new(coordinator.client.clone());
    let mut counts = Vec::new();
    for stream in ["KV_ferry_books", "FERRY_JOBS", "OBJ_ferry_packs", "OBJ_ferry_results"] {
        counts.push(jetstream.get_stream(stream).await?.cached_info().state.last_sequence);
    }
    Ok(counts)
}

/// The server checks no permission for the reply subject of a request, so an answer must not be stored under it.
async fn answers_cannot_be_smuggled_in(guest: &Plain, coordinator: &Plain) -> anyhow::Result<()> {
    let before = stored(coordinator).await?;
    let requests = [
        "ferry.api.STREAM.INFO.KV_ferry_books".to_owned(),
        "ferry.api.STREAM.MSG.GET.KV_ferry_books".to_owned(),
        "ferry.api.DIRECT.GET.KV_ferry_books.$KV.ferry_books.sweep.s".to_owned(),
        "ferry.api.CONSUMER.INFO.FERRY_JOBS.workers".to_owned(),
    ];
    for reply in
        [format!("ferry.job.{JOB}"), format!("$KV.ferry_books.order.{JOB}"), "$O.ferry_packs.M.x".into()]
    {
        for request in &requests {
            guest.client.publish_with_reply(request.clone(), reply.clone(), "".into()).await?;
        }
    }
    // This answer comes after those above have been processed.
    let known = guest.client.request(requests[0].clone(), "".into());
    anyhow::ensure!(!tokio::time::timeout(LIMIT, known).await??.payload.is_empty());
    assert_eq!(stored(coordinator).await?, before, "an answer was stored");
    Ok(())
}

#[tokio::test]
async fn a_worker_can_neither_publish_a_job_nor_change_what_is_not_its_own() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let _bus = cluster.coordinator().await?;
    let mut worker = Plain::connect(&cluster, Role::Worker).await?;
    worker.may_not_publish(&coordinators_own()).await?;
    worker
        .may_not_hear(&[">", "_INBOX_coordinator.>", "_INBOX_observer.>", "ferry.job.*", "$JS.ACK.>"])
        .await?;
    let coordinator = Plain::connect(&cluster, Role::Coordinator).await?;
    answers_cannot_be_smuggled_in(&worker, &coordinator).await
}

#[tokio::test]
async fn an_observer_reads_and_does_nothing_else() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let _bus = cluster.coordinator().await?;
    let mut observer = Plain::connect(&cluster, Role::Observer).await?;
    let mut own = coordinators_own();
    let workers = [
        "ferry.api.CONSUMER.MSG.NEXT.FERRY_JOBS.workers",
        "$JS.ACK.FERRY_JOBS.workers.1.1.1.1.0",
        "ferry.api.$KV.ferry_books.job.x",
        "ferry.api.$KV.ferry_books.result.x",
        "ferry.api.$KV.ferry_books.worker.x",
        "ferry.api.$KV.ferry_presence.x",
        "ferry.api.$O.ferry_checkpoints.C.x",
        "ferry.api.$O.ferry_results.M.x",
        "ferry.api.ferry.live.x",
    ];
    own.extend(workers.map(str::to_owned));
    observer.may_not_publish(&own).await?;
    observer.may_not_hear(&[">", "_INBOX_coordinator.>", "_INBOX_worker.>", "ferry.job.*"]).await?;
    let coordinator = Plain::connect(&cluster, Role::Coordinator).await?;
    answers_cannot_be_smuggled_in(&observer, &coordinator).await?;
    let bus = Bus::connect(&cluster.endpoint(Role::Observer)?, "observer").await?;
    assert_eq!(bus.workers().await?, []);
    Ok(())
}

#[tokio::test]
async fn a_worker_says_that_it_is_out_and_an_observer_sees_that_and_what_the_store_holds()
-> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let coordinator = cluster.coordinator().await?;
    coordinator.put_blob(Bucket::Results, "b", "bytes".into()).await?;
    let worker = Bus::connect(&cluster.endpoint(Role::Worker)?, "worker").await?;
    let unfit = WorkerRecord::new("w", Standing::Unfit { reason: "no device".into() });
    worker.write_standing(&unfit).await?;
    assert_eq!(worker.standing("w").await?, unfit.standing);
    let observer = Bus::connect(&cluster.endpoint(Role::Observer)?, "observer").await?;
    assert_eq!(observer.standings().await?, [unfit]);
    let drain = Drain { by: "ada".into(), now: false };
    coordinator.change_drains(|drains| drains.workers = [("w".to_owned(), drain.clone())].into()).await?;
    let scored = EnsembleState::Provisional { members: 2, val_macro_f1: 61.25 };
    let board = Scoreboard::new(vec![ScoredEnsemble {
        name: "All".into(),
        candidates: 3,
        waiting: 1,
        failed: 0,
        state: scored,
    }]);
    coordinator.write_scoreboard("demo", &board, None).await?;
    assert_eq!(observer.scoreboard("demo").await?, Some(board));
    assert!(observer.write_scoreboard("demo", &Scoreboard::default(), None).await.is_err());
    for bus in [&worker, &observer] {
        assert_eq!(bus.drains().await?.of("w"), Some(&drain));
        assert_eq!(bus.priorities().await?.0.jobs, []);
    }
    let inventory = observer.inventory(Bucket::Results).await?;
    assert_eq!((inventory.objects.len(), inventory.uploads.len()), (1, 0));
    Ok(())
}

/// Case 33: removing a sweep needs the coordinator's credential.
#[tokio::test]
async fn only_the_coordinator_removes_a_sweep() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let bus = cluster.coordinator().await?;
    let workdir = Workdir::new()?;
    let remove = |role: Role| {
        let credential = cluster.credential(role).display().to_string();
        workdir.ferry(&["remove", "demo", "--yes", "--nats", cluster.url(), "--creds", &credential])
    };
    for role in [Role::Worker, Role::Observer] {
        let said = expect(&mut remove(role), 2)?.stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("use the coordinator's here"), "{said}");
    }
    let said = expect(&mut remove(Role::Coordinator), 2)?.stderr;
    assert!(String::from_utf8_lossy(&said).contains("no sweep has run here"), "it was let in");
    // A worker that sends the request directly gets no answer.
    bus.write("order.kept", &"value").await?;
    let worker = Bus::connect(&cluster.endpoint(Role::Worker)?, "worker").await?;
    assert!(worker.delete("order.kept").await.is_err());
    assert_eq!(bus.keys("order.").await?, ["order.kept"]);
    Ok(())
}

#[tokio::test]
async fn a_message_of_a_worker_cannot_wipe_a_stream() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let bus = cluster.coordinator().await?;
    let blob = bus.put_blob(Bucket::Results, "b", "bytes".into()).await?;
    let worker = Plain::connect(&cluster, Role::Worker).await?;
    for subject in ["ferry.api.$O.ferry_results.M.x", "ferry.api.$KV.ferry_books.job.x"] {
        let mut headers = nats::HeaderMap::new();
        headers.insert("Nats-Rollup", "all");
        let answer = worker.client.request_with_headers(subject, headers, "{}".into()).await?;
        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(answer.contains("rollup not permitted"), "{answer}");
    }
    assert_eq!(bus.get_blob(Bucket::Results, &blob).await?, "bytes");
    Ok(())
}

#[tokio::test]
async fn nobody_gets_in_without_a_credential() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let authority = cluster.credential(Role::Observer);
    let nobody = ConnectOptions::new().add_root_certificates(authority.clone()).connect(cluster.url()).await;
    assert_eq!(nobody.err().map(|error| error.kind()), Some(ConnectErrorKind::AuthorizationViolation));
    let stranger = nats_user();
    let stranger = ConnectOptions::with_nkey(stranger).add_root_certificates(authority);
    let stranger = stranger.connect(cluster.url()).await;
    assert_eq!(stranger.err().map(|error| error.kind()), Some(ConnectErrorKind::AuthorizationViolation));
    Ok(())
}

/// The seed of a user whom no server knows.
fn nats_user() -> String {
    let user = shared::bus::credential::NewUser::draw();
    let text = user.credential(Role::Worker, 1, "").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("seed: ")).unwrap_or_default().to_owned()
}
