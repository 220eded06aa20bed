//! Blobs in JetStream's object store (ADR-20), written in pipelined chunks and read by direct requests.
//!
//! The client's own reader makes a consumer for every object, and a consumer can deliver to any subject: a right that
//! no worker should have. Direct requests need no consumer, and fail on a missing chunk instead of waiting.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::{StreamExt, stream};
use nats::HeaderMap;
use nats::jetstream::context::PublishAckFuture;
use nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use serde_json::json;

use super::super::server::{Blobs, Flow, Inventory, Reply, ServerError};
use super::inventory::messages_below;
use super::{CHUNK, Nats};
use crate::blob::BlobRef;
use crate::protocol::subjects;

const IN_FLIGHT: usize = 16;
/// How many chunks one request asks for.
const BATCH: usize = 16;
/// After this time an answer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(10);

impl Blobs for Nats {
    fn holds<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, bool> {
        Box::pin(async move { Ok(self.description(bucket, name).await?.is_some()) })
    }

    fn store<'a>(&'a self, bucket: &'a str, blob: &'a BlobRef, bytes: &'a Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            let nuid = uuid::Uuid::new_v4().simple().to_string();
            let subject = self.subject(subjects::object_chunks(bucket, &nuid));
            let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
            let mut last = None;
            for start in (0..bytes.len()).step_by(CHUNK) {
                if in_flight.len() == IN_FLIGHT
                    && let Some(oldest) = in_flight.pop_front()
                {
                    last = Some(confirmed(oldest).await?);
                }
                let chunk = bytes.slice(start..bytes.len().min(start + CHUNK));
                let ack = self.jetstream.publish(subject.clone(), chunk).await.map_err(ServerError::doubt)?;
                in_flight.push_back(ack);
            }
            for ack in in_flight {
                last = Some(confirmed(ack).await?);
            }
            self.describe(bucket, blob, nuid, Chunks { count: bytes.len().div_ceil(CHUNK), last }).await
        })
    }

    fn open<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, Flow<Bytes>> {
        Box::pin(async move {
            let info = self.description(bucket, name).await?.ok_or(ServerError::Missing)?;
            let reading = Reading {
                client: self.client.clone(),
                subject: format!("{}.DIRECT.GET.{}", self.api, subjects::object_stream(bucket)),
                chunks: subjects::object_chunks(bucket, &info.nuid),
                left: info.chunks,
                next: 1,
                batch: None,
            };
            Ok(stream::try_unfold(reading, Reading::piece).boxed())
        })
    }

    /// Removes the description first: without it the bytes are invisible. It is purged, because the marker that the
    /// client's own deletion leaves would keep a whole block of dead bytes on the server's disk.
    fn remove<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            let info = self.description(bucket, name).await?.ok_or(ServerError::Missing)?;
            self.purge(bucket, &description_of(bucket, name)).await?;
            self.purge(bucket, &subjects::object_chunks(bucket, &info.nuid)).await
        })
    }

    fn inventory<'a>(&'a self, bucket: &'a str) -> Reply<'a, Inventory> {
        Box::pin(self.take_inventory(bucket))
    }

    fn discard<'a>(&'a self, bucket: &'a str, upload: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            // A message after the last chunk, so that a description of these chunks can no longer be written.
            let chunks = subjects::object_chunks(bucket, upload);
            let published = self.jetstream.publish(self.subject(chunks.clone()), Bytes::new()).await;
            let mark = confirmed(published.map_err(ServerError::doubt)?).await?;
            if self.take_inventory(bucket).await?.uploads.iter().any(|found| found.id == upload) {
                return self.purge(bucket, &chunks).await;
            }
            // It has become an object in the meantime.
            self.object_store(bucket).await?.delete_message(mark).await.map_err(ServerError::doubt)?;
            Ok(())
        })
    }
}

impl Nats {
    async fn object_store(&self, bucket: &str) -> Result<Stream<()>, ServerError> {
        self.jetstream.get_stream_no_info(subjects::object_stream(bucket)).await.map_err(ServerError::doubt)
    }

    /// Removes every message of `subject` without a trace.
    async fn purge(&self, bucket: &str, subject: &str) -> Result<(), ServerError> {
        let stream = self.object_store(bucket).await?;
        stream.purge().filter(subject).await.map_err(ServerError::doubt)?;
        Ok(())
    }

    /// The object's description. The leader is asked, because a follower may not know yet what was just stored.
    async fn description(&self, bucket: &str, name: &str) -> Result<Option<ObjectInfo>, ServerError> {
        let stream = self.object_store(bucket).await?;
        match stream.get_last_raw_message_by_subject(&description_of(bucket, name)).await {
            Ok(message) => {
                let info: ObjectInfo =
                    serde_json::from_slice(&message.payload).map_err(ServerError::doubt)?;
                Ok(Some(info).filter(|info| !info.deleted))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(ServerError::doubt(error)),
        }
    }

    /// Writes the object's description, which makes it visible. It is written last, and only if the subject of the
    /// chunks holds them and nothing else: a collector that took this upload for an abandoned one has put its mark there,
    /// between the chunks or after them, and may have removed those before it. A mark that comes after they were counted
    /// follows the last chunk, and then the server refuses the description.
    async fn describe(
        &self,
        bucket: &str,
        blob: &BlobRef,
        nuid: String,
        chunks: Chunks,
    ) -> Result<(), ServerError> {
        let mut headers = HeaderMap::new();
        if let Some(last) = chunks.last {
            let subject = subjects::object_chunks(bucket, &nuid);
            let stored = messages_below(&self.object_store(bucket).await?, &subject).await?;
            if stored.get(&subject) != Some(&chunks.count) {
                return Err(ServerError::doubt("the upload was discarded"));
            }
            headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string().as_str());
            headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", subject.as_str());
        }
        let digest = hex::decode(&blob.sha256).map_err(ServerError::doubt)?;
        let info = ObjectInfo {
            name: blob.name.clone(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK) }),
            bucket: bucket.to_owned(),
            nuid,
            size: usize::try_from(blob.size).map_err(ServerError::doubt)?,
            chunks: chunks.count,
            modified: None,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(digest))),
            deleted: false,
        };
        let subject = self.subject(description_of(bucket, &blob.name));
        let payload = serde_json::to_vec(&info).map_err(ServerError::doubt)?;
        let published = self.jetstream.publish_with_headers(subject, headers, payload.into()).await;
        confirmed(published.map_err(ServerError::doubt)?).await?;
        Ok(())
    }
}

fn description_of(bucket: &str, name: &str) -> String {
    subjects::object_description(bucket, &URL_SAFE.encode(name))
}

/// Waits until the server has stored a message; returns its sequence number.
async fn confirmed(ack: PublishAckFuture) -> Result<u64, ServerError> {
    Ok(ack.await.map_err(ServerError::doubt)?.sequence)
}

/// The stored chunks of an object: how many, and the sequence number of the last one.
struct Chunks {
    count: usize,
    last: Option<u64>,
}

/// An object that is being read.
struct Reading {
    client: nats::Client,
    /// The subject on which chunks are requested.
    subject: String,
    /// Subject of the object's chunks.
    chunks: String,
    /// Chunks that have not arrived yet.
    left: usize,
    /// Sequence number from which the next batch is requested.
    next: u64,
    /// Answers to the last request, and how many are still missing.
    batch: Option<(nats::Subscriber, usize)>,
}

impl Reading {
    /// The next chunk. One that the server has lost is `Missing`.
    async fn piece(mut self) -> Result<Option<(Bytes, Self)>, ServerError> {
        if self.left == 0 {
            return Ok(None);
        }
        let (mut answers, expected) = match self.batch.take() {
            Some(batch) => batch,
            None => self.ask().await?,
        };
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.map_err(ServerError::doubt)?;
        let answer = answer.ok_or_else(|| ServerError::doubt("the connection was closed"))?;
        // A status instead of a chunk: there are no more chunks, or the stream is not available.
        match answer.status {
            None => {}
            Some(status) if status.as_u16() == 503 => {
                return Err(ServerError::doubt("nobody answers for the object store"));
            }
            Some(_) => return Err(ServerError::Missing),
        }
        self.next = sequence(&answer).ok_or_else(|| ServerError::doubt("a chunk without its sequence"))? + 1;
        self.left -= 1;
        if expected > 1 {
            self.batch = Some((answers, expected - 1));
        }
        Ok(Some((answer.payload, self)))
    }

    async fn ask(&self) -> Result<(nats::Subscriber, usize), ServerError> {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await.map_err(ServerError::doubt)?;
        let batch = self.left.min(BATCH);
        let request = json!({ "seq": self.next, "next_by_subj": self.chunks, "batch": batch });
        let payload = request.to_string().into();
        let asked = self.client.publish_with_reply(self.subject.clone(), inbox, payload).await;
        asked.map_err(ServerError::doubt)?;
        Ok((answers, batch))
    }
}

fn sequence(answer: &nats::Message) -> Option<u64> {
    answer.headers.as_ref()?.get("Nats-Sequence")?.as_str().parse().ok()
}
