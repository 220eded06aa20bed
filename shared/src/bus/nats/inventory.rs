//! What an object store holds: whole objects, and uploads that never became one.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use nats::jetstream::object_store::ObjectInfo;
use nats::jetstream::stream::{LastRawMessageErrorKind, Stream};

use super::super::server::{Inventory, ServerError, Stored, Upload};
use super::{CHUNK, Nats};
use crate::protocol::subjects;

/// How many descriptions are requested at a time.
const AT_A_TIME: usize = 16;

impl Nats {
    pub(super) async fn take_inventory(&self, bucket: &str) -> Result<Inventory, ServerError> {
        let stream = self.jetstream.get_stream(subjects::object_stream(bucket)).await;
        let stream = stream.map_err(ServerError::doubt)?;
        let bytes = stream.cached_info().state.bytes;
        let described =
            messages_below(&stream, &subjects::object_description(bucket, ">")).await?.into_keys();
        let of = &stream;
        let found: Vec<Option<(Vec<u8>, i128)>> = stream::iter(described)
            .map(|subject| async move { last(of, &subject).await })
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await?;
        let mut objects = Vec::new();
        let mut known = BTreeSet::new();
        for (description, written_nanos) in found.into_iter().flatten() {
            let info: ObjectInfo = serde_json::from_slice(&description).map_err(ServerError::doubt)?;
            // Stores of earlier versions may hold markers of deleted objects.
            if !info.deleted {
                known.insert(info.nuid);
                objects.push(Stored { name: info.name, size: info.size as u64, written_nanos });
            }
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        let prefix = subjects::object_chunks(bucket, "");
        let mut uploads = Vec::new();
        for (subject, chunks) in messages_below(&stream, &subjects::object_chunks(bucket, ">")).await? {
            let Some(id) = subject.strip_prefix(&prefix).filter(|id| !known.contains(*id)) else { continue };
            if let Some((bytes, written_nanos)) = last(&stream, &subject).await? {
                let size = (chunks.saturating_sub(1) * CHUNK + bytes.len()) as u64;
                uploads.push(Upload { id: id.to_owned(), size, written_nanos });
            }
        }
        Ok(Inventory { bytes, objects, uploads })
    }
}

/// The subjects under `filter` that hold messages, with the number of messages.
pub(super) async fn messages_below<I>(
    stream: &Stream<I>,
    filter: &str,
) -> Result<BTreeMap<String, usize>, ServerError> {
    let info = stream.info_with_subjects(filter).await.map_err(ServerError::doubt)?;
    info.try_collect().await.map_err(ServerError::doubt)
}

/// The last message of a subject, and when it was written; `None` if it no longer exists.
async fn last(stream: &Stream, subject: &str) -> Result<Option<(Vec<u8>, i128)>, ServerError> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some((message.payload.to_vec(), message.time.unix_timestamp_nanos()))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(ServerError::doubt(error)),
    }
}
