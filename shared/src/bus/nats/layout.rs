//! Streams, buckets and the consumer that a sweep needs. Nothing existing is ever deleted to make it fit.

use std::time::Duration;

use nats::jetstream::consumer::{AckPolicy, pull};
use nats::jetstream::kv::Store;
use nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use nats::jetstream::{Context, kv, object_store};

use super::super::{BusError, LEASE};
use crate::protocol::subjects;

const WHAT: &str = "prepare the server's streams";

/// Creates what is missing; leaves alone what is there.
pub(super) async fn ensure(jetstream: &Context, url: &str) -> Result<(), BusError> {
    if let Err(error) = jetstream.query_account().await {
        tracing::debug!(%error, "account query failed");
        return Err(BusError::NoJetStream { url: url.to_owned() });
    }
    jetstream.get_or_create_stream(books()).await.map_err(|e| BusError::transport(WHAT, e))?;
    ensure_presence(jetstream).await?;
    for bucket in [subjects::CHECKPOINTS, subjects::RESULTS, subjects::PACKS, subjects::WEIGHTS] {
        ensure_object_store(jetstream, bucket).await?;
    }
    let queue = jetstream.get_or_create_stream(queue()).await.map_err(|e| BusError::transport(WHAT, e))?;
    queue
        .get_or_create_consumer(subjects::QUEUE_CONSUMER, workers())
        .await
        .map_err(|e| BusError::transport(WHAT, e))?;
    Ok(())
}

/// Opens a bucket that [`ensure`] made.
pub(super) async fn bucket(jetstream: &Context, name: &str) -> Result<Store, BusError> {
    jetstream.get_key_value(name).await.map_err(|error| match error.kind() {
        nats::jetstream::context::KeyValueErrorKind::GetBucket if !is_timeout(&error) => {
            BusError::Missing { what: format!("bucket {name}: start `ferry run` on this server first") }
        }
        _ => BusError::transport(format!("open bucket {name}"), error),
    })
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(error.source(), |e| e.source()).any(|e| e.to_string().contains("timed out"))
}

/// The books' bucket by hand: the client's own bucket settings cannot switch on atomic batches.
fn books() -> Config {
    Config {
        name: subjects::BOOKS_STREAM.to_owned(),
        subjects: vec![subjects::BOOKS_SUBJECTS.to_owned()],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        allow_atomic_publish: true,
        ..Config::default()
    }
}

/// One message per job at most: publishing a queued job again is refused, so re-publishing is harmless.
fn queue() -> Config {
    Config {
        name: subjects::QUEUE_STREAM.to_owned(),
        subjects: vec![subjects::QUEUE_SUBJECTS.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: 1,
        storage: StorageType::File,
        num_replicas: 1,
        ..Config::default()
    }
}

fn workers() -> pull::Config {
    pull::Config {
        durable_name: Some(subjects::QUEUE_CONSUMER.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: LEASE,
        max_deliver: -1, // The books count attempts; delivery counts do not survive a crash.
        max_waiting: 4096,
        max_ack_pending: 4096,
        ..pull::Config::default()
    }
}

async fn ensure_presence(jetstream: &Context) -> Result<(), BusError> {
    if jetstream.get_key_value(subjects::PRESENCE).await.is_ok() {
        return Ok(());
    }
    // On disk, though nothing in it lasts: a bucket in memory is gone after a crash of the server, itself and not only
    // its entries, and the workers, who take the server's time from here, could never claim a job again.
    let config = kv::Config {
        bucket: subjects::PRESENCE.to_owned(),
        max_age: Duration::from_secs(45),
        storage: StorageType::File,
        ..kv::Config::default()
    };
    jetstream.create_key_value(config).await.map_err(|e| BusError::transport(WHAT, e))?;
    Ok(())
}

async fn ensure_object_store(jetstream: &Context, bucket: &str) -> Result<(), BusError> {
    if jetstream.get_object_store(bucket).await.is_ok() {
        return Ok(());
    }
    let config = object_store::Config { bucket: bucket.to_owned(), ..object_store::Config::default() };
    jetstream.create_object_store(config).await.map_err(|e| BusError::transport(WHAT, e))?;
    Ok(())
}
