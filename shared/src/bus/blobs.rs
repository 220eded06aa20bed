//! Blobs: immutable bytes named by their digest, and verified when they are read.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::server::{Inventory, ServerError};
use super::{BACKOFF, Bus, BusError};
use crate::blob::BlobRef;
use crate::protocol::subjects;

/// An object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    Checkpoints,
    Results,
    Packs,
    Weights,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Checkpoints, Self::Results, Self::Packs, Self::Weights];

    /// Its name on the server.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoints => subjects::CHECKPOINTS,
            Self::Results => subjects::RESULTS,
            Self::Packs => subjects::PACKS,
            Self::Weights => subjects::WEIGHTS,
        }
    }

    /// The most bytes a blob may have; a reference to a larger one is refused.
    pub const fn largest(self) -> u64 {
        match self {
            // A training's weights, Adam's two moments and the best weights: 1 GB for full-size networks.
            Self::Checkpoints => 8 << 30,
            // Files are stored in parts; earlier versions stored them in one piece of up to 2 GiB.
            Self::Results | Self::Packs | Self::Weights => 4 << 30,
        }
    }
}

/// How much memory is reserved before the first byte arrives; the rest follows as bytes arrive.
const FIRST_ROOM: u64 = 1 << 20;

/// A server may never answer for a piece that it has lost, so every read has a time-out.
const IDLE: Duration = Duration::from_secs(15);

impl Bus {
    /// Stores `bytes` under a name that ends in their digest, and retries until they are stored. The same bytes are
    /// stored only once. A name is never overwritten, because readers of a replaced object hang.
    ///
    /// # Errors
    /// None: it retries until the bytes are stored.
    pub async fn put_blob(&self, bucket: Bucket, stem: &str, bytes: Bytes) -> Result<BlobRef, BusError> {
        let blob = BlobRef::of(stem, &bytes);
        self.store_blob(bucket, &blob, bytes).await;
        Ok(blob)
    }

    /// Stores `bytes`, which `blob` describes, and retries until they are stored.
    pub async fn store_blob(&self, bucket: Bucket, blob: &BlobRef, bytes: Bytes) {
        let tell =
            |error: &ServerError| tracing::warn!(blob = %blob.name, "storing a blob: {error}; trying again");
        BACKOFF.until_done(|| self.try_put(bucket, blob, &bytes), tell).await;
    }

    async fn try_put(&self, bucket: Bucket, blob: &BlobRef, bytes: &Bytes) -> Result<(), ServerError> {
        if self.server.holds(bucket.name(), &blob.name).await? {
            return Ok(());
        }
        self.server.store(bucket.name(), blob, bytes).await
    }

    /// Fetches a blob and checks its digest.
    ///
    /// # Errors
    /// As [`Self::read_blob`].
    pub async fn get_blob(&self, bucket: Bucket, blob: &BlobRef) -> Result<Bytes, BusError> {
        let mut bytes = Vec::with_capacity(blob.size.min(FIRST_ROOM) as usize);
        self.read_blob(bucket, blob, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        Ok(bytes.into())
    }

    /// Streams a blob through `sink` and checks its digest at the end; until then its bytes may be wrong.
    ///
    /// # Errors
    /// When the blob is missing, too large or damaged, the server stops sending it, or `sink` fails.
    pub async fn read_blob(
        &self,
        bucket: Bucket,
        blob: &BlobRef,
        mut sink: impl FnMut(&[u8]) -> Result<(), BusError>,
    ) -> Result<(), BusError> {
        blob.check(bucket.largest())
            .map_err(|reason| BusError::Untrue { what: "a reference to a blob".into(), reason })?;
        let failed = |failure| match failure {
            ServerError::Missing => BusError::Missing { what: format!("blob {}", blob.name) },
            ServerError::Damaged => damaged(blob, "other bytes"),
            other @ (ServerError::Revision
            | ServerError::TooLarge
            | ServerError::Refused(_)
            | ServerError::Doubt(_)) => BusError::failed(format!("fetch blob {}", blob.name), other),
        };
        let open = tokio::time::timeout(IDLE, self.server.open(bucket.name(), &blob.name));
        let mut pieces = open.await.map_err(|late| failed(ServerError::doubt(late)))?.map_err(failed)?;
        let stalled = |_| BusError::Stalled { name: blob.name.clone() };
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(piece) = tokio::time::timeout(IDLE, pieces.next()).await.map_err(stalled)? {
            let piece = match piece {
                Err(ServerError::Missing) => return Err(BusError::Stalled { name: blob.name.clone() }),
                piece => piece.map_err(failed)?,
            };
            hash.update(&piece);
            size += piece.len() as u64;
            if size > blob.size {
                return Err(damaged(blob, "more bytes"));
            }
            sink(&piece)?;
        }
        let found = hex::encode(hash.finalize());
        if found != blob.sha256 || size != blob.size {
            return Err(damaged(blob, &found));
        }
        Ok(())
    }

    /// Replaces a blob's bytes, as a failing disk would: for fault tests.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn damage_blob(&self, bucket: Bucket, name: &str, bytes: Bytes) -> Result<(), BusError> {
        self.delete_blob(bucket, name).await?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let blob = BlobRef { name: name.to_owned(), sha256, size: bytes.len() as u64 };
        let stored = self.server.store(bucket.name(), &blob, &bytes).await;
        stored.map_err(|error| BusError::failed(format!("damage {name}"), error))
    }

    /// What a bucket holds: whole blobs and unfinished uploads.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn inventory(&self, bucket: Bucket) -> Result<Inventory, BusError> {
        let listed = self.server.inventory(bucket.name()).await;
        listed.map_err(|e| BusError::failed(format!("list bucket {}", bucket.name()), e))
    }

    /// Deletes the bytes of an unfinished upload.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn discard_upload(&self, bucket: Bucket, upload: &str) -> Result<(), BusError> {
        let discarded = self.server.discard(bucket.name(), upload).await;
        discarded.map_err(|e| BusError::failed(format!("delete the unfinished upload {upload}"), e))
    }

    /// Deletes a blob that nothing refers to any more, if it exists.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn delete_blob(&self, bucket: Bucket, name: &str) -> Result<(), BusError> {
        match self.server.remove(bucket.name(), name).await {
            Ok(()) | Err(ServerError::Missing) => Ok(()),
            Err(error) => Err(BusError::failed(format!("delete {name}"), error)),
        }
    }
}

fn damaged(blob: &BlobRef, found: &str) -> BusError {
    let (name, expected) = (blob.name.clone(), blob.sha256.clone());
    BusError::Damaged { name, expected, found: found.to_owned() }
}
