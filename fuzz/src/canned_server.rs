//! A server that answers every request with the input, as if a broken or hostile peer had written it.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use shared::blob::BlobRef;
use shared::bus::Bus;
use shared::bus::server::{
    Blobs, Books, Entry, ServerError, Flow, Inventory, Live, Message, Queue, Queued, Reply, Stored, Upload, Write,
};
use shared::ids::JobId;
use shared::protocol::subjects;

/// A server with fixed answers.
#[derive(Debug, Clone)]
pub struct CannedServer {
    /// The job that its watch reports.
    watched: JobId,
    value: Bytes,
    blob: Bytes,
}

impl CannedServer {
    /// A bus whose records, presence and hints are all `value`, and whose blobs are all `blob`.
    pub fn bus(watched: JobId, value: &[u8], blob: &[u8]) -> Bus {
        Bus::over(Self { watched, value: Bytes::copy_from_slice(value), blob: Bytes::copy_from_slice(blob) })
    }
}

fn answer<T: Send + 'static>(answer: Result<T, ServerError>) -> Reply<'static, T> {
    Box::pin(std::future::ready(answer))
}

fn once<T: Send + 'static>(item: T) -> Reply<'static, Flow<T>> {
    answer(Ok(stream::iter([Ok(item)]).boxed()))
}

impl Books for CannedServer {
    fn entry<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Entry>> {
        let entry = Entry { key: key.to_owned(), value: self.value.clone(), revision: 1, written_nanos: 0 };
        answer(Ok(Some(entry)))
    }

    fn update<'a>(&'a self, _: &'a str, _: Bytes, _: u64) -> Reply<'a, u64> {
        answer(Ok(2))
    }

    fn put<'a>(&'a self, _: &'a str, _: Bytes) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn delete<'a>(&'a self, _: &'a str) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn batch<'a>(&'a self, writes: &'a [Write]) -> Reply<'a, u64> {
        answer(Ok(writes.len() as u64))
    }

    fn keys<'a>(&'a self, _: &'a str) -> Reply<'a, Vec<String>> {
        answer(Ok(vec!["sweep.fuzz".to_owned()]))
    }

    fn newest<'a>(&'a self, _: &'a str) -> Reply<'a, u64> {
        answer(Ok(1))
    }

    fn watch(&self, keys: &'static [&'static str], _: u64) -> Reply<'_, Flow<Entry>> {
        let key = match keys {
            [subjects::STANDING_KEYS] => subjects::standing_key("x"),
            [subjects::SCOREBOARD_KEYS] => subjects::scoreboard_key("x"),
            _ => subjects::record_key(self.watched),
        };
        once(Entry { key, value: self.value.clone(), revision: 1, written_nanos: 0 })
    }
}

impl Queue for CannedServer {
    fn publish<'a>(&'a self, _: &'a str) -> Reply<'a, Queued> {
        answer(Ok(Queued::Now))
    }

    fn publish_all<'a>(&'a self, _: &'a [String]) -> Reply<'a, bool> {
        answer(Ok(true))
    }

    fn purge(&self) -> Reply<'_, ()> {
        answer(Ok(()))
    }

    fn withdraw<'a>(&'a self, _: &'a str) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn set_deadline(&self, _: Duration) -> Reply<'_, ()> {
        answer(Ok(()))
    }

    fn pull(&self) -> Reply<'_, Flow<Box<dyn Message>>> {
        answer(Err(ServerError::Missing))
    }
}

impl Blobs for CannedServer {
    fn holds<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, bool> {
        answer(Ok(true))
    }

    fn store<'a>(&'a self, _: &'a str, _: &'a BlobRef, _: &'a Bytes) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn open<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, Flow<Bytes>> {
        once(self.blob.clone())
    }

    fn remove<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn inventory<'a>(&'a self, _: &'a str) -> Reply<'a, Inventory> {
        let (size, written_nanos) = (self.blob.len() as u64, 0);
        let objects = vec![Stored { name: "x".to_owned(), size, written_nanos }];
        let uploads = vec![Upload { id: "x".to_owned(), size: 1, written_nanos }];
        answer(Ok(Inventory { bytes: size, objects, uploads }))
    }

    fn discard<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, ()> {
        answer(Ok(()))
    }
}

impl Live for CannedServer {
    fn appear<'a>(&'a self, _: &'a str, _: Bytes) -> Reply<'a, i128> {
        answer(Ok(0))
    }

    fn present(&self) -> Reply<'_, Vec<Bytes>> {
        answer(Ok(vec![self.value.clone()]))
    }

    fn disappear<'a>(&'a self, _: &'a str) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn hint<'a>(&'a self, _: &'a str, _: Bytes) -> Reply<'a, ()> {
        answer(Ok(()))
    }

    fn hints<'a>(&'a self, _: &'a str) -> Reply<'a, Flow<Bytes>> {
        once(self.value.clone())
    }
}
