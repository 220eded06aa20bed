//! Blobs in JetStream's object store (ADR-20), written in pipelined chunks.

use std::collections::{HashMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::{StreamExt, stream};
use nats::HeaderMap;
use nats::jetstream::context::PublishAckFuture;
use nats::jetstream::object_store::{
    DeleteErrorKind, GetErrorKind, InfoErrorKind, Object, ObjectInfo, ObjectOptions, ObjectStore,
};
use tokio::io::AsyncReadExt;

use super::super::server::{Blobs, Failure, Flow, Reply};
use super::Nats;
use crate::result::BlobRef;

const CHUNK: usize = 512 * 1024;
const IN_FLIGHT: usize = 16;

impl Blobs for Nats {
    fn holds<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, bool> {
        Box::pin(async move {
            match self.object_store(bucket).await?.info(name).await {
                Ok(info) => Ok(!info.deleted),
                Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
                Err(error) => Err(Failure::doubt(error)),
            }
        })
    }

    fn store<'a>(&'a self, bucket: &'a str, blob: &'a BlobRef, bytes: &'a Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            let nuid = uuid::Uuid::new_v4().simple().to_string();
            let subject = format!("$O.{bucket}.C.{nuid}");
            let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
            for start in (0..bytes.len()).step_by(CHUNK) {
                if in_flight.len() == IN_FLIGHT
                    && let Some(oldest) = in_flight.pop_front()
                {
                    confirmed(oldest).await?;
                }
                let chunk = bytes.slice(start..bytes.len().min(start + CHUNK));
                let ack = self.jetstream.publish(subject.clone(), chunk).await.map_err(Failure::doubt)?;
                in_flight.push_back(ack);
            }
            for ack in in_flight {
                confirmed(ack).await?;
            }
            self.describe(bucket, blob, nuid, bytes.len().div_ceil(CHUNK)).await
        })
    }

    fn open<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, Flow<Bytes>> {
        Box::pin(async move {
            match self.object_store(bucket).await?.get(name).await {
                Ok(object) => Ok(stream::try_unfold(object, piece).boxed()),
                Err(error) if error.kind() == GetErrorKind::NotFound => Err(Failure::Missing),
                Err(error) => Err(Failure::doubt(error)),
            }
        })
    }

    fn remove<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            match self.object_store(bucket).await?.delete(name).await {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == DeleteErrorKind::NotFound => Err(Failure::Missing),
                Err(error) => Err(Failure::doubt(error)),
            }
        })
    }
}

impl Nats {
    async fn object_store(&self, bucket: &str) -> Result<ObjectStore, Failure> {
        self.jetstream.get_object_store(bucket).await.map_err(Failure::doubt)
    }

    /// The object's description makes it visible: written last.
    async fn describe(
        &self,
        bucket: &str,
        blob: &BlobRef,
        nuid: String,
        chunks: usize,
    ) -> Result<(), Failure> {
        let digest = hex::decode(&blob.sha256).map_err(Failure::doubt)?;
        let info = ObjectInfo {
            name: blob.name.clone(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK) }),
            bucket: bucket.to_owned(),
            nuid,
            size: usize::try_from(blob.size).map_err(Failure::doubt)?,
            chunks,
            modified: None,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(digest))),
            deleted: false,
        };
        let subject = format!("$O.{bucket}.M.{}", URL_SAFE.encode(&blob.name));
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let payload = serde_json::to_vec(&info).map_err(Failure::doubt)?;
        let ack = self.jetstream.publish_with_headers(subject, headers, payload.into()).await;
        confirmed(ack.map_err(Failure::doubt)?).await
    }
}

async fn confirmed(ack: PublishAckFuture) -> Result<(), Failure> {
    ack.await.map_err(Failure::doubt)?;
    Ok(())
}

/// The next bytes of an object, at most a chunk of them.
async fn piece(mut object: Object) -> Result<Option<(Bytes, Object)>, Failure> {
    let mut buffer = vec![0; CHUNK];
    match object.read(&mut buffer).await {
        Ok(0) => Ok(None),
        Ok(read) => {
            buffer.truncate(read);
            Ok(Some((buffer.into(), object)))
        }
        // The client reports a wrong digest as a read error of kind `InvalidData`.
        Err(error)
            if error.kind() == std::io::ErrorKind::InvalidData || error.to_string().contains("digest") =>
        {
            Err(Failure::Damaged)
        }
        Err(error) => Err(Failure::doubt(error)),
    }
}
