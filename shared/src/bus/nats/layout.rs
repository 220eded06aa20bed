//! The streams, buckets and the consumer that a sweep needs. Nothing is ever deleted to make an existing server fit.

use std::time::Duration;

use nats::jetstream::consumer::{AckPolicy, pull};
use nats::jetstream::context::AccountErrorKind;
use nats::jetstream::kv::Store;
use nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use nats::jetstream::{Context, ErrorCode};

use super::super::BusError;
use super::schema;
use crate::protocol::{Timing, subjects};

const WHAT: &str = "prepare the server's streams";

/// Tells a server without JetStream from one whose streams do not exist yet, and from a cluster that has no leader yet.
pub(super) async fn require_jetstream(jetstream: &Context, url: &str) -> Result<(), BusError> {
    let Err(error) = jetstream.query_account().await else { return Ok(()) };
    let off = match error.kind() {
        AccountErrorKind::JetStreamUnavailable => true,
        AccountErrorKind::JetStream(error) => {
            [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT]
                .contains(&error.error_code())
        }
        AccountErrorKind::TimedOut | AccountErrorKind::Other => false,
    };
    if off {
        tracing::debug!(%error, "account query failed");
        return Err(BusError::NoJetStream { url: url.to_owned() });
    }
    Err(BusError::transport("ask the server for its JetStream", error))
}

/// Creates what is missing; leaves alone what exists.
pub(super) async fn ensure(jetstream: &Context, replicas: usize) -> Result<(), BusError> {
    let stores = subjects::OBJECT_STORES.map(|bucket| objects(bucket, replicas));
    for config in [books(replicas), presence(replicas)].into_iter().chain(stores) {
        jetstream.get_or_create_stream(config).await.map_err(|e| BusError::transport(WHAT, e))?;
    }
    let queue = jetstream.get_or_create_stream(queue(replicas)).await;
    let queue = queue.map_err(|e| BusError::transport(WHAT, e))?;
    allow_batches(jetstream, &queue.cached_info().config).await;
    queue
        .get_or_create_consumer(subjects::QUEUE_CONSUMER, workers(Timing::default().lease()))
        .await
        .map_err(|e| BusError::transport(WHAT, e))?;
    Ok(())
}

/// Lets the queue of an earlier version take batches. Without them, jobs are queued one by one.
async fn allow_batches(jetstream: &Context, queue: &Config) {
    if queue.allow_atomic_publish {
        return;
    }
    let config = Config { allow_atomic_publish: true, ..queue.clone() };
    if let Err(error) = jetstream.update_stream(config).await {
        tracing::debug!(%error, "the queue takes no batches");
    }
}

/// Opens a bucket that [`ensure`] made.
pub(super) async fn bucket(jetstream: &Context, name: &str) -> Result<Store, BusError> {
    jetstream.get_key_value(name).await.map_err(|error| match error.kind() {
        nats::jetstream::context::KeyValueErrorKind::GetBucket if !is_timeout(&error) => {
            BusError::Missing { what: format!("bucket {name}: run a sweep on it with `ferry run` first") }
        }
        _ => BusError::transport(format!("open bucket {name}"), error),
    })
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(error.source(), |e| e.source()).any(|e| e.to_string().contains("timed out"))
}

/// A key-value bucket (ADR-8), configured by hand because the client's own settings cannot switch on atomic batches.
///
/// Roll-up is off, because with it a single message of a worker could wipe the whole stream. With several copies there
/// is no direct access: the leader is asked, because a follower may not know yet what was just written.
fn values(stream: &str, bucket: &str, replicas: usize) -> Config {
    Config {
        name: stream.to_owned(),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_rollup: false,
        deny_delete: true,
        allow_direct: replicas == 1,
        ..Config::default()
    }
}

fn books(replicas: usize) -> Config {
    let values = values(subjects::BOOKS_STREAM, subjects::BOOKS, replicas);
    let mut config = Config { allow_atomic_publish: true, ..values };
    schema::mark(&mut config);
    config
}

/// On disk, although its entries are short-lived. After a crash of the server a bucket in memory would itself be gone,
/// and workers, which read the server's time from it, could never claim a job again.
fn presence(replicas: usize) -> Config {
    let values = values(subjects::PRESENCE_STREAM, subjects::PRESENCE, replicas);
    Config { max_age: Duration::from_secs(45), ..values }
}

/// One message per job at most: publishing a queued job again is refused, so re-publishing is harmless.
fn queue(replicas: usize) -> Config {
    Config {
        name: subjects::QUEUE_STREAM.to_owned(),
        subjects: vec![subjects::QUEUE_SUBJECTS.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: 1,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_atomic_publish: true,
        ..Config::default()
    }
}

/// An object store (ADR-20), configured by hand to switch off roll-up, as for [`values`].
fn objects(bucket: &str, replicas: usize) -> Config {
    Config {
        name: subjects::object_stream(bucket),
        subjects: vec![subjects::object_chunks(bucket, ">"), subjects::object_description(bucket, ">")],
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_rollup: false,
        allow_direct: true,
        ..Config::default()
    }
}

pub(super) fn workers(deadline: Duration) -> pull::Config {
    pull::Config {
        durable_name: Some(subjects::QUEUE_CONSUMER.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: deadline,
        max_deliver: -1, // The books count attempts; delivery counts do not survive a crash.
        max_waiting: 4096,
        max_ack_pending: 4096,
        ..pull::Config::default()
    }
}
