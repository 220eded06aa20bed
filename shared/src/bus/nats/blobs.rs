//! Blobs: immutable bytes in JetStream's object store (ADR-20), written in pipelined chunks, verified when read.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use nats::HeaderMap;
use nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::super::BusError;
use super::Bus;
use super::books::Pause;
use crate::protocol::subjects;
use crate::result::BlobRef;

/// Which object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    Checkpoints,
    Results,
    Packs,
    Weights,
}

impl Bucket {
    fn name(self) -> &'static str {
        match self {
            Self::Checkpoints => subjects::CHECKPOINTS,
            Self::Results => subjects::RESULTS,
            Self::Packs => subjects::PACKS,
            Self::Weights => subjects::WEIGHTS,
        }
    }
}

const CHUNK: usize = 512 * 1024;
const IN_FLIGHT: usize = 16;
const IDLE: Duration = Duration::from_secs(15);

impl Bus {
    /// Stores `bytes` under a name that ends in their digest. The same bytes are stored once; a name is never
    /// overwritten, because readers of a replaced object hang. Retries until it is there.
    pub async fn put_blob(&self, bucket: Bucket, stem: &str, bytes: Bytes) -> Result<BlobRef, BusError> {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let name = format!("{stem}.{}", &sha256[..16]);
        let blob = BlobRef { name, sha256, size: bytes.len() as u64 };
        let mut pause = Pause::new();
        loop {
            match self.try_put(bucket, &blob, &bytes).await {
                Ok(()) => return Ok(blob),
                Err(error) if error.is_transient() => tracing::warn!(%error, "storing a blob again"),
                Err(error) => return Err(error),
            }
            pause.wait().await;
        }
    }

    /// Fetches a blob and checks its digest.
    pub async fn get_blob(&self, bucket: Bucket, blob: &BlobRef) -> Result<Bytes, BusError> {
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(0));
        self.read_blob(bucket, blob, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        Ok(bytes.into())
    }

    /// Streams a blob through `sink` and checks its digest at the end: until then nothing may be trusted.
    pub async fn read_blob(
        &self,
        bucket: Bucket,
        blob: &BlobRef,
        mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), BusError> {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| {
            BusError::transport(format!("fetch blob {}", blob.name), e)
        };
        let store = self.jetstream.get_object_store(bucket.name()).await.map_err(|e| fail(e.into()))?;
        let open = tokio::time::timeout(IDLE, store.get(&blob.name)).await.map_err(|e| fail(e.into()))?;
        let mut object = open.map_err(|error| match error.kind() {
            nats::jetstream::object_store::GetErrorKind::NotFound => {
                BusError::Missing { what: format!("blob {}", blob.name) }
            }
            _ => fail(error.into()),
        })?;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
        // The client waits for ever for a chunk that is gone: every read has its own time-out.
        loop {
            let read =
                tokio::time::timeout(IDLE, object.read(&mut buffer)).await.map_err(|e| fail(e.into()))?;
            let read = read.map_err(|e| damaged_or(blob, e))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            size += read as u64;
            sink(&buffer[..read]).map_err(|e| BusError::transport("store a blob's bytes", e))?;
        }
        let found = hex::encode(hash.finalize());
        if found != blob.sha256 || size != blob.size {
            return Err(BusError::Damaged { name: blob.name.clone(), expected: blob.sha256.clone(), found });
        }
        Ok(())
    }

    /// Deletes a blob that nothing refers to any more. One that is gone already is fine.
    pub async fn delete_blob(&self, bucket: Bucket, name: &str) -> Result<(), BusError> {
        use nats::jetstream::object_store::DeleteErrorKind;
        let fail =
            |e: Box<dyn std::error::Error + Send + Sync>| BusError::transport(format!("delete {name}"), e);
        let store = self.jetstream.get_object_store(bucket.name()).await.map_err(|e| fail(e.into()))?;
        match store.delete(name).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(error) => Err(fail(error.into())),
        }
    }

    async fn try_put(&self, bucket: Bucket, blob: &BlobRef, bytes: &Bytes) -> Result<(), BusError> {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| {
            BusError::transport(format!("store blob {}", blob.name), e)
        };
        let store = self.jetstream.get_object_store(bucket.name()).await.map_err(|e| fail(e.into()))?;
        if store.info(&blob.name).await.is_ok() {
            return Ok(());
        }
        let nuid = uuid::Uuid::new_v4().simple().to_string();
        let subject = format!("$O.{}.C.{nuid}", bucket.name());
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
        for start in (0..bytes.len()).step_by(CHUNK) {
            if in_flight.len() == IN_FLIGHT
                && let Some(oldest) = in_flight.pop_front()
            {
                confirmed(oldest).await.map_err(fail)?;
            }
            let chunk = bytes.slice(start..bytes.len().min(start + CHUNK));
            let ack = self.jetstream.publish(subject.clone(), chunk).await.map_err(|e| fail(e.into()))?;
            in_flight.push_back(ack);
        }
        for ack in in_flight {
            confirmed(ack).await.map_err(fail)?;
        }
        self.put_meta(bucket, blob, nuid, bytes.len().div_ceil(CHUNK)).await.map_err(fail)
    }

    /// The object's description makes it visible: written last.
    async fn put_meta(
        &self,
        bucket: Bucket,
        blob: &BlobRef,
        nuid: String,
        chunks: usize,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let info = ObjectInfo {
            name: blob.name.clone(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK) }),
            bucket: bucket.name().to_owned(),
            nuid,
            size: usize::try_from(blob.size)?,
            chunks,
            modified: None,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(hex::decode(&blob.sha256)?))),
            deleted: false,
        };
        let subject = format!("$O.{}.M.{}", bucket.name(), URL_SAFE.encode(&blob.name));
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let payload = serde_json::to_vec(&info)?;
        self.jetstream.publish_with_headers(subject, headers, payload.into()).await?.await?;
        Ok(())
    }
}

async fn confirmed(
    ack: nats::jetstream::context::PublishAckFuture,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ack.await?;
    Ok(())
}

/// The client reports a wrong digest as a read error of kind `InvalidData`.
fn damaged_or(blob: &BlobRef, error: std::io::Error) -> BusError {
    if error.kind() == std::io::ErrorKind::InvalidData || error.to_string().contains("digest") {
        let (name, expected) = (blob.name.clone(), blob.sha256.clone());
        return BusError::Damaged { name, expected, found: "other bytes".to_owned() };
    }
    BusError::transport(format!("fetch blob {}", blob.name), error)
}
