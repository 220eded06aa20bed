//! The work queue as a stream with one message per subject and one durable consumer.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use nats::HeaderMap;
use nats::jetstream::AckKind;
use nats::jetstream::consumer::{Consumer, pull};

use super::super::server::{Ack, Flow, Message, Queue, Queued, Reply, ServerError};
use super::{Nats, layout};
use crate::protocol::subjects;

/// The server's code for "this subject holds its one message".
const ALREADY_QUEUED: &str = "10077";

impl Queue for Nats {
    fn publish<'a>(&'a self, subject: &'a str) -> Reply<'a, Queued> {
        Box::pin(async move {
            let ack =
                self.jetstream.publish(subject.to_owned(), "".into()).await.map_err(ServerError::doubt)?;
            match ack.await {
                Ok(_) => Ok(Queued::Now),
                Err(error) if format!("{error:?}").contains(ALREADY_QUEUED) => Ok(Queued::Already),
                Err(error) => Err(ServerError::doubt(error)),
            }
        })
    }

    /// An atomic batch of JetStream (ADR-50): only the last message, which commits, is answered.
    fn publish_all<'a>(&'a self, subjects: &'a [String]) -> Reply<'a, bool> {
        Box::pin(async move {
            let Some((last, others)) = subjects.split_last() else { return Ok(true) };
            let id = uuid::Uuid::new_v4().simple().to_string();
            let headers = |sequence: usize| {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Batch-Id", id.as_str());
                headers.insert("Nats-Batch-Sequence", sequence.to_string().as_str());
                headers
            };
            for (index, subject) in others.iter().enumerate() {
                let sent =
                    self.client.publish_with_headers(subject.clone(), headers(index + 1), Bytes::new());
                sent.await.map_err(ServerError::doubt)?;
            }
            let mut commit = headers(subjects.len());
            commit.insert("Nats-Batch-Commit", "1");
            let reply = self.client.request_with_headers(last.clone(), commit, Bytes::new()).await;
            all_queued(&reply.map_err(ServerError::doubt)?.payload, subjects.len())
        })
    }

    fn purge(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let stream =
                self.jetstream.get_stream(subjects::QUEUE_STREAM).await.map_err(ServerError::doubt)?;
            stream.purge().await.map_err(ServerError::doubt)?;
            Ok(())
        })
    }

    fn withdraw<'a>(&'a self, subject: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            let stream = self.jetstream.get_stream_no_info(subjects::QUEUE_STREAM).await;
            let stream = stream.map_err(ServerError::doubt)?;
            stream.purge().filter(subject).await.map_err(ServerError::doubt)?;
            Ok(())
        })
    }

    fn set_deadline(&self, deadline: Duration) -> Reply<'_, ()> {
        Box::pin(async move {
            let stream =
                self.jetstream.get_stream(subjects::QUEUE_STREAM).await.map_err(ServerError::doubt)?;
            stream.update_consumer(layout::workers(deadline)).await.map_err(ServerError::doubt)?;
            Ok(())
        })
    }

    fn pull(&self) -> Reply<'_, Flow<Box<dyn Message>>> {
        Box::pin(async move {
            let stream =
                self.jetstream.get_stream(subjects::QUEUE_STREAM).await.map_err(ServerError::doubt)?;
            let consumer: Consumer<pull::Config> =
                stream.get_consumer(subjects::QUEUE_CONSUMER).await.map_err(ServerError::doubt)?;
            let messages = consumer
                .stream()
                .max_messages_per_batch(1)
                .expires(Duration::from_secs(30))
                .heartbeat(Duration::from_secs(5))
                .messages()
                .await
                .map_err(ServerError::doubt)?;
            let boxed = |message| Box::new(Handed { message }) as Box<dyn Message>;
            Ok(messages.map(move |message| message.map(boxed).map_err(ServerError::doubt)).boxed())
        })
    }
}

/// Whether a batch of `count` messages was accepted, as the server's reply says. One that is refused left nothing.
fn all_queued(reply: &[u8], count: usize) -> Result<bool, ServerError> {
    let Ok(reply) = serde_json::from_slice::<serde_json::Value>(reply) else {
        return Err(ServerError::doubt("the server's reply is not JSON"));
    };
    if let Some(error) = reply.get("error") {
        tracing::debug!(%error, "jobs are queued one by one");
        return Ok(false);
    }
    // A server that knows no batches takes each message by itself, or refuses it, and says nothing of a batch.
    Ok(reply["count"].as_u64() == Some(count as u64))
}

struct Handed {
    message: nats::jetstream::Message,
}

impl Message for Handed {
    fn subject(&self) -> &str {
        &self.message.subject
    }

    fn answer(&self, ack: Ack) -> Reply<'_, ()> {
        Box::pin(async move {
            match ack {
                Ack::Done => self.message.double_ack().await,
                Ack::Back(delay) => {
                    self.message.ack_with(AckKind::Nak(Some(delay).filter(|d| !d.is_zero()))).await
                }
                Ack::Working => self.message.ack_with(AckKind::Progress).await,
            }
            .map_err(ServerError::Doubt)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_queued_as_a_whole_or_not_at_all() {
        assert!(all_queued(br#"{"stream":"FERRY_JOBS","seq":4,"batch":"a","count":2}"#, 2).unwrap());
        let queued_already = br#"{"error":{"code":503,"err_code":10077}}"#;
        assert!(!all_queued(queued_already, 2).unwrap());
        let knows_no_batches = br#"{"stream":"FERRY_JOBS","seq":4}"#;
        assert!(!all_queued(knows_no_batches, 2).unwrap());
        assert!(all_queued(b"", 2).is_err());
    }
}
