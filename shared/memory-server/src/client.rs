//! A client of the server in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::queue::{Handed, PULL_LIFE, Pull};
use super::{Event, Inner, Link};
use shared::blob::BlobRef;
use shared::bus::server::{
    Ack, Blobs, Books, Entry, Flow, Inventory, Live, Message, Queue, Queued, Reply, ServerError, Write,
};

/// After this time a watch notices that the server was away.
const MISSED_HEARTBEATS: Duration = Duration::from_secs(9);

pub(super) struct Client {
    inner: Arc<Inner>,
    link: Link,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.link.fmt(f)
    }
}

impl Client {
    pub(super) fn new(inner: Arc<Inner>, link: Link) -> Self {
        Self { inner, link }
    }
}

impl Books for Client {
    fn entry<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Entry>> {
        let key = key.to_owned();
        Box::pin(self.link.request(move |state, _| Ok(state.entry(&key))))
    }

    fn update<'a>(&'a self, key: &'a str, value: Bytes, expected: u64) -> Reply<'a, u64> {
        let (by, write) =
            (self.link.name.clone(), Write { key: key.to_owned(), expected: Some(expected), value });
        Box::pin(self.link.request(move |state, now| state.update(now, &by, write)))
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Reply<'a, ()> {
        let (by, key) = (self.link.name.clone(), key.to_owned());
        Box::pin(self.link.request(move |state, now| {
            state.put(now, &by, key, value);
            Ok(())
        }))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        let key = key.to_owned();
        Box::pin(self.link.request(move |state, _| {
            state.delete(&key);
            Ok(())
        }))
    }

    fn batch<'a>(&'a self, writes: &'a [Write]) -> Reply<'a, u64> {
        let (by, writes) = (self.link.name.clone(), writes.to_vec());
        Box::pin(self.link.request(move |state, now| state.batch(now, &by, writes)))
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Reply<'a, Vec<String>> {
        let prefix = prefix.to_owned();
        Box::pin(self.link.request(move |state, _| Ok(state.keys(&prefix))))
    }

    fn newest<'a>(&'a self, keys: &'a str) -> Reply<'a, u64> {
        let prefix = keys.trim_end_matches('*').to_owned();
        Box::pin(self.link.request(move |state, _| Ok(state.newest(&prefix))))
    }

    fn watch(&self, keys: &'static [&'static str], after: u64) -> Reply<'_, Flow<Entry>> {
        Box::pin(async move {
            let life = self.link.request(|state, _| Ok(state.life)).await?;
            let watch = ServerWatch { link: self.link.clone(), keys, seen: after, life, deaf: false };
            Ok(stream::unfold(watch, ServerWatch::next).boxed())
        })
    }
}

/// What the server keeps of a watch.
struct ServerWatch {
    link: Link,
    keys: &'static [&'static str],
    seen: u64,
    life: u64,
    /// Nothing is delivered any more, without any error.
    deaf: bool,
}

impl ServerWatch {
    /// After the server was away, the watch reports one error and continues without loss. Sometimes it ends instead, or
    /// goes deaf.
    async fn next(mut self) -> Option<(Result<Entry, ServerError>, Self)> {
        let inner = self.link.inner.clone();
        loop {
            if self.deaf {
                std::future::pending::<()>().await;
            }
            self.link.passable().await;
            let changed = inner.changed.notified();
            let life = inner.state().life;
            if life != self.life {
                tokio::time::sleep(MISSED_HEARTBEATS).await;
                self.life = life;
                match inner.state().chance.below(4) {
                    0 => return None,
                    1 => self.deaf = true,
                    _ => return Some((Err(ServerError::doubt("missed idle heartbeat")), self)),
                }
            }
            let change = inner.state().change_after(self.keys, self.seen);
            if let Some(entry) = change {
                tokio::time::sleep(inner.latency()).await;
                self.seen = entry.revision;
                return Some((Ok(entry), self));
            }
            changed.await;
        }
    }
}

impl Queue for Client {
    fn publish<'a>(&'a self, subject: &'a str) -> Reply<'a, Queued> {
        let (by, subject) = (self.link.name.clone(), subject.to_owned());
        Box::pin(self.link.request(move |state, now| Ok(state.publish(now, &by, &subject))))
    }

    fn publish_all<'a>(&'a self, subjects: &'a [String]) -> Reply<'a, bool> {
        let (by, subjects) = (self.link.name.clone(), subjects.to_vec());
        Box::pin(self.link.request(move |state, now| Ok(state.publish_all(now, &by, &subjects))))
    }

    fn purge(&self) -> Reply<'_, ()> {
        let by = self.link.name.clone();
        Box::pin(self.link.request(move |state, now| {
            state.queue.purge();
            state.tell(now, &by, &Event::Purged);
            Ok(())
        }))
    }

    fn withdraw<'a>(&'a self, subject: &'a str) -> Reply<'a, ()> {
        let subject = subject.to_owned();
        Box::pin(self.link.request(move |state, _| {
            state.queue.withdraw(&subject);
            Ok(())
        }))
    }

    fn set_deadline(&self, deadline: Duration) -> Reply<'_, ()> {
        Box::pin(self.link.request(move |state, _| {
            state.queue.set_deadline(deadline);
            Ok(())
        }))
    }

    fn pull(&self) -> Reply<'_, Flow<Box<dyn Message>>> {
        Box::pin(async move {
            let life = self.link.request(|state, _| Ok(state.life)).await?;
            let (sender, mailbox) = mpsc::unbounded_channel();
            let link = self.link.clone();
            let pulling = Pulling { link, life, sender, mailbox, until: Instant::now() };
            Ok(stream::unfold(pulling, Pulling::next).boxed())
        })
    }
}

struct Pulling {
    link: Link,
    life: u64,
    sender: mpsc::UnboundedSender<Handed>,
    mailbox: mpsc::UnboundedReceiver<Handed>,
    /// The outstanding pull waits at the server until then.
    until: Instant,
}

impl Pulling {
    async fn next(mut self) -> Option<(Result<Box<dyn Message>, ServerError>, Self)> {
        let message = self.handed().await;
        self.until = Instant::now(); // The next message needs another pull.
        let message = Delivered { link: self.link.clone(), message };
        Some((Ok(Box::new(message)), self))
    }

    async fn handed(&mut self) -> Handed {
        let inner = self.link.inner.clone();
        loop {
            let changed = inner.changed.notified();
            let life = inner.state().life;
            if life != self.life {
                self.life = life;
                self.until = Instant::now(); // The server forgot the pull in its restart.
            }
            tokio::select! {
                biased;
                Some(message) = self.mailbox.recv() => {
                    self.link.passable().await;
                    return message;
                }
                () = tokio::time::sleep_until(self.until) => self.ask().await,
                () = changed => {}
            }
        }
    }

    async fn ask(&mut self) {
        self.until = Instant::now() + PULL_LIFE;
        let (client, mailbox) = (self.link.id, self.sender.clone());
        let pull = move |now| Pull { client, expires: now + PULL_LIFE, mailbox };
        self.link.send(move |state, now| state.queue.wait(pull(now))).await;
    }
}

struct Delivered {
    link: Link,
    message: Handed,
}

impl Message for Delivered {
    fn subject(&self) -> &str {
        &self.message.subject
    }

    fn answer(&self, ack: Ack) -> Reply<'_, ()> {
        let (by, message) = (self.link.name.clone(), self.message.clone());
        Box::pin(async move {
            match ack {
                Ack::Done => {
                    let done = self.link.request(move |state, now| {
                        state.answer(now, &by, &message, ack);
                        Ok(())
                    });
                    done.await
                }
                Ack::Back(_) | Ack::Working => {
                    self.link.send(move |state, now| state.answer(now, &by, &message, ack)).await;
                    Ok(())
                }
            }
        })
    }
}

impl Blobs for Client {
    fn holds<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, bool> {
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        Box::pin(self.link.request(move |state, _| Ok(state.holds(&bucket, &name))))
    }

    /// Bytes first, then the description that makes them visible. In between they are an unfinished upload.
    fn store<'a>(&'a self, bucket: &'a str, blob: &'a BlobRef, bytes: &'a Bytes) -> Reply<'a, ()> {
        let (by, bucket, blob) = (self.link.name.clone(), bucket.to_owned(), blob.clone());
        let bytes = bytes.clone();
        Box::pin(async move {
            let chunks = self.link.request(move |state, now| Ok(state.add_chunks(now, bytes))).await?;
            self.link.request(move |state, now| state.describe(now, &by, &bucket, &blob, chunks)).await
        })
    }

    fn open<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, Flow<Bytes>> {
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        Box::pin(async move {
            let found = self.link.request(move |state, _| {
                let meta = state.meta(&bucket, &name).ok_or(ServerError::Missing)?;
                let bytes = state.chunks(meta.chunks);
                Ok((meta, bytes))
            });
            let (meta, bytes) = found.await?;
            let Some(bytes) = bytes else { return Ok(stream::pending().boxed()) };
            let whole = hex::encode(Sha256::digest(&bytes)) == meta.sha256;
            let verdict = (!whole).then_some(Err(ServerError::Damaged));
            Ok(stream::iter(std::iter::once(Ok(bytes)).chain(verdict)).boxed())
        })
    }

    fn remove<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, ()> {
        let (by, bucket, name) = (self.link.name.clone(), bucket.to_owned(), name.to_owned());
        Box::pin(self.link.request(move |state, now| state.remove(now, &by, &bucket, &name)))
    }

    fn inventory<'a>(&'a self, bucket: &'a str) -> Reply<'a, Inventory> {
        let bucket = bucket.to_owned();
        Box::pin(self.link.request(move |state, _| Ok(state.inventory(&bucket))))
    }

    fn discard<'a>(&'a self, _bucket: &'a str, upload: &'a str) -> Reply<'a, ()> {
        let upload = upload.to_owned();
        Box::pin(self.link.request(move |state, _| {
            state.discard(&upload);
            Ok(())
        }))
    }
}

impl Live for Client {
    fn appear<'a>(&'a self, key: &'a str, value: Bytes) -> Reply<'a, i128> {
        let key = key.to_owned();
        Box::pin(async move {
            let kept = key.clone();
            let put = self.link.request(move |state, now| {
                state.appear(now, kept, value);
                Ok(())
            });
            put.await?;
            self.link.request(move |state, _| state.seen(&key).ok_or(ServerError::Missing)).await
        })
    }

    fn present(&self) -> Reply<'_, Vec<Bytes>> {
        Box::pin(self.link.request(|state, now| Ok(state.present(now))))
    }

    fn disappear<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        let key = key.to_owned();
        Box::pin(self.link.request(move |state, _| {
            state.disappear(&key);
            Ok(())
        }))
    }

    /// A hint is lost to those who do not listen now.
    fn hint<'a>(&'a self, _subject: &'a str, payload: Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            let _nobody_listens = self.inner.hints.send(payload);
            Ok(())
        })
    }

    fn hints<'a>(&'a self, _subjects: &'a str) -> Reply<'a, Flow<Bytes>> {
        let hints = self.inner.hints.subscribe();
        Box::pin(async move {
            let flow = stream::unfold(hints, |mut hints| async move {
                let hint = hints.recv().await.map_err(ServerError::doubt);
                Some((hint, hints))
            });
            Ok(flow.boxed())
        })
    }
}
