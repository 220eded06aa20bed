//! The books as a key-value bucket, whose stream also takes atomic batches.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use nats::HeaderMap;
use nats::jetstream::consumer::{DeliverPolicy, push};
use nats::jetstream::context::{PublishError, PublishErrorKind};
use nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use nats::jetstream::stream::LastRawMessageErrorKind;
use nats::jetstream::{self, message::StreamMessage};

use super::super::server::{Books, Entry, Flow, Reply, ServerError, Write};
use super::Nats;
use crate::protocol::subjects;

/// How often a role that cannot be sent changes asks for them.
const ASK_AGAIN: Duration = Duration::from_millis(250);

impl Books for Nats {
    fn entry<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Entry>> {
        Box::pin(async move {
            let entry = self.books.entry(key).await.map_err(ServerError::doubt)?;
            Ok(entry.filter(|entry| entry.operation == Operation::Put).map(plain))
        })
    }

    fn update<'a>(&'a self, key: &'a str, value: Bytes, expected: u64) -> Reply<'a, u64> {
        Box::pin(async move {
            self.books.update(key, value, expected).await.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => ServerError::Revision,
                _ if is_too_large(&error) => ServerError::TooLarge,
                _ => ServerError::doubt(error),
            })
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            self.books.put(key, value).await.map_err(not_put)?;
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            let subject = subjects::books_subject(key);
            self.books.stream.purge().filter(subject).await.map_err(ServerError::doubt)?;
            Ok(())
        })
    }

    /// An atomic batch of JetStream (ADR-50): only the last message, which commits, is answered.
    fn batch<'a>(&'a self, writes: &'a [Write]) -> Reply<'a, u64> {
        Box::pin(async move {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let mut committed = Err(ServerError::doubt("a batch of nothing"));
            for (index, write) in writes.iter().enumerate() {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Batch-Id", id.as_str());
                headers.insert("Nats-Batch-Sequence", (index + 1).to_string().as_str());
                if let Some(expected) = write.expected {
                    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
                }
                let subject = self.subject(subjects::books_subject(&write.key));
                let value = write.value.clone();
                if index + 1 < writes.len() {
                    let sent = self.client.publish_with_headers(subject, headers, value).await;
                    sent.map_err(unsent)?;
                } else {
                    headers.insert("Nats-Batch-Commit", "1");
                    let reply = self.client.request_with_headers(subject, headers, value).await;
                    committed = written(&reply.map_err(unsent)?.payload, writes.len());
                }
            }
            committed
        })
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Reply<'a, Vec<String>> {
        Box::pin(async move { keys(&self.books, prefix).await })
    }

    fn newest<'a>(&'a self, keys: &'a str) -> Reply<'a, u64> {
        Box::pin(async move {
            let subject = format!("{}{keys}", self.books.prefix);
            match self.books.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(message.sequence),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
                Err(error) => Err(ServerError::doubt(error)),
            }
        })
    }

    /// Workers and observers have no right to make consumers, which can deliver anywhere: they ask again and again.
    fn watch(&self, keys: &'static [&'static str], after: u64) -> Reply<'_, Flow<Entry>> {
        Box::pin(async move {
            if self.api == subjects::API { self.sent(keys, after).await } else { Ok(self.asked(keys, after)) }
        })
    }
}

impl Nats {
    /// Changes as the server sends them. Under several keys all changes are sent, and those under others left out here: a
    /// server with many keys takes longer to find what matches one of several patterns than to send everything.
    async fn sent(&self, keys: &'static [&'static str], after: u64) -> Result<Flow<Entry>, ServerError> {
        let prefix = self.books.prefix.clone();
        let pattern = match keys {
            [only] => only,
            _ => ">",
        };
        let config = push::OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            filter_subject: format!("{prefix}{pattern}"),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) },
            ..push::OrderedConfig::default()
        };
        let consumer = self.books.stream.create_consumer(config).await.map_err(ServerError::doubt)?;
        let messages = consumer.messages().await.map_err(ServerError::doubt)?;
        let entries = messages.map(move |message| sent_entry(&message.map_err(ServerError::doubt)?, &prefix));
        let wanted = move |entry: &Result<Entry, ServerError>| {
            std::future::ready(entry.as_ref().map_or(true, |entry| is_under(&entry.key, keys)))
        };
        Ok(entries.filter(wanted).boxed())
    }

    /// Changes as this connection asks for them, one by one: a request for many costs the server as much as it has keys.
    fn asked(&self, keys: &'static [&'static str], after: u64) -> Flow<Entry> {
        let (books, prefix) = (self.books.stream.clone(), self.books.prefix.clone());
        let everything = format!("{prefix}>");
        let changes = stream::unfold(after.saturating_add(1), move |mut next| {
            let (books, prefix, everything) = (books.clone(), prefix.clone(), everything.clone());
            async move {
                loop {
                    match books.get_first_raw_message_by_subject(&everything, next).await {
                        Ok(message) => {
                            next = message.sequence + 1;
                            let Some(key) = message.subject.strip_prefix(&prefix) else { continue };
                            if is_under(key, keys) {
                                return Some((Ok(asked_entry(key.to_owned(), message)), next));
                            }
                        }
                        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                            tokio::time::sleep(ASK_AGAIN).await;
                        }
                        Err(error) => {
                            tokio::time::sleep(ASK_AGAIN).await;
                            return Some((Err(ServerError::doubt(error)), next));
                        }
                    }
                }
            }
        });
        changes.boxed()
    }
}

/// Whether a key matches one of these patterns (such as `job.*`).
fn is_under(key: &str, keys: &[&str]) -> bool {
    keys.iter().any(|keys| key.starts_with(keys.trim_end_matches('*')))
}

fn sent_entry(message: &jetstream::Message, prefix: &str) -> Result<Entry, ServerError> {
    let info = message.info().map_err(ServerError::doubt)?;
    let (revision, written_nanos) = (info.stream_sequence, info.published.unix_timestamp_nanos());
    let key = message.subject.strip_prefix(prefix).unwrap_or(&message.subject).to_owned();
    Ok(Entry { key, value: message.payload.clone(), revision, written_nanos })
}

fn asked_entry(key: String, message: StreamMessage) -> Entry {
    let written_nanos = message.time.unix_timestamp_nanos();
    Entry { key, value: message.payload, revision: message.sequence, written_nanos }
}

/// Every key below `prefix` that was written and not purged, once. The stream itself is asked, because the client's own
/// way needs the right to make consumers, which can deliver anywhere.
pub(super) async fn keys(store: &kv::Store, prefix: &str) -> Result<Vec<String>, ServerError> {
    let subjects = format!("{}{prefix}>", store.prefix);
    let subjects = store.stream.info_with_subjects(subjects).await.map_err(ServerError::doubt)?;
    let key = |(subject, _): (String, usize)| subject.strip_prefix(&store.prefix).map(str::to_owned);
    // A set, because the client asks for the keys from a position on until there are none: a key that is written
    // meanwhile shifts the others, and one of them comes twice.
    let keys: BTreeSet<String> = subjects
        .try_filter_map(|subject| std::future::ready(Ok(key(subject))))
        .try_collect()
        .await
        .map_err(ServerError::doubt)?;
    Ok(keys.into_iter().collect())
}

fn plain(entry: kv::Entry) -> Entry {
    let written_nanos = entry.created.unix_timestamp_nanos();
    Entry { key: entry.key, value: entry.value, revision: entry.revision, written_nanos }
}

/// Tells a server that refuses (its store is full or switched off) from one that does not answer.
fn not_put(error: kv::PutError) -> ServerError {
    let publish = error.source().and_then(|source| source.downcast_ref::<PublishError>());
    match publish.map(PublishError::kind) {
        Some(PublishErrorKind::Other | PublishErrorKind::StreamNotFound) => {
            let mut cause: &dyn Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            ServerError::Refused(cause.to_string())
        }
        _ => unsent(error),
    }
}

/// Why something may not have reached the server.
fn unsent(error: impl Error + Send + Sync + 'static) -> ServerError {
    if is_too_large(&error) { ServerError::TooLarge } else { ServerError::doubt(error) }
}

/// Whether the client has sent nothing, because the server takes no message that large.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        let stored = error.downcast_ref::<PublishError>().map(PublishError::kind);
        let sent = error.downcast_ref::<nats::PublishError>().map(nats::PublishError::kind);
        let asked = error.downcast_ref::<nats::RequestError>().map(nats::RequestError::kind);
        stored == Some(PublishErrorKind::MaxPayloadExceeded)
            || sent == Some(nats::PublishErrorKind::MaxPayloadExceeded)
            || asked == Some(nats::RequestErrorKind::MaxPayloadExceeded)
    })
}

/// The server's code for a key that has another revision.
const WRONG_REVISION: u64 = 10071;

/// The last revision of a batch of `count` writes, as the server's reply says.
fn written(reply: &[u8], count: usize) -> Result<u64, ServerError> {
    let Ok(reply) = serde_json::from_slice::<serde_json::Value>(reply) else {
        return Err(ServerError::doubt("the server's reply is not JSON"));
    };
    match (reply.get("error"), reply["seq"].as_u64(), reply["count"].as_u64()) {
        (Some(error), _, _) if error["err_code"] == WRONG_REVISION => Err(ServerError::Revision),
        (Some(error), _, _) => Err(ServerError::Refused(error.to_string())),
        (None, Some(last), Some(written)) if written == count as u64 && last >= written => Ok(last),
        (None, _, _) => Err(ServerError::doubt(format!("an answer to {count} writes that is none: {reply}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart() {
        let committed = br#"{"stream":"KV","seq":4,"batch":"a","count":2}"#;
        assert!(matches!(written(committed, 2), Ok(4)));
        assert!(matches!(written(committed, 3), Err(ServerError::Doubt(_))), "one is missing");
        let stale = written(br#"{"error":{"code":400,"err_code":10071}}"#, 2);
        assert!(matches!(stale, Err(ServerError::Revision)));
        let other = written(br#"{"error":{"code":503,"err_code":10077}}"#, 2);
        assert!(matches!(other, Err(ServerError::Refused(why)) if why.contains("10077")));
        assert!(written(b"", 1).is_err() && written(b"garbage", 1).is_err());
    }

    #[test]
    fn what_is_too_large_is_known_however_it_was_sent() {
        let stored = || PublishError::new(PublishErrorKind::MaxPayloadExceeded);
        assert!(is_too_large(&kv::UpdateError::from(stored())));
        assert!(matches!(unsent(stored()), ServerError::TooLarge));
        let asked = nats::RequestError::new(nats::RequestErrorKind::MaxPayloadExceeded);
        assert!(matches!(unsent(asked), ServerError::TooLarge));
        let late = kv::UpdateError::from(PublishError::new(PublishErrorKind::BrokenPipe));
        assert!(matches!(unsent(late), ServerError::Doubt(_)));
    }
}
