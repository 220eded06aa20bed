//! Presence as a key-value bucket whose entries expire; hints as plain messages.

use bytes::Bytes;
use futures::StreamExt;

use super::super::server::{Flow, Live, Reply, ServerError};
use super::Nats;
use super::books::keys;

impl Live for Nats {
    fn appear<'a>(&'a self, key: &'a str, value: Bytes) -> Reply<'a, i128> {
        Box::pin(async move {
            self.presence.put(key, value).await.map_err(ServerError::doubt)?;
            let entry =
                self.presence.entry(key).await.map_err(ServerError::doubt)?.ok_or(ServerError::Missing)?;
            Ok(entry.created.unix_timestamp_nanos())
        })
    }

    fn present(&self) -> Reply<'_, Vec<Bytes>> {
        Box::pin(async move {
            let keys = keys(&self.presence, "").await?;
            let mut values = Vec::new();
            for key in keys {
                values.extend(self.presence.get(key).await.map_err(ServerError::doubt)?);
            }
            Ok(values)
        })
    }

    fn disappear<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            self.presence.delete(key).await.map_err(ServerError::doubt)?;
            self.client.flush().await.map_err(ServerError::doubt)
        })
    }

    fn hint<'a>(&'a self, subject: &'a str, payload: Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            self.client.publish(self.subject(subject.to_owned()), payload).await.map_err(ServerError::doubt)
        })
    }

    fn hints<'a>(&'a self, subjects: &'a str) -> Reply<'a, Flow<Bytes>> {
        Box::pin(async move {
            let hints = self.client.subscribe(subjects.to_owned()).await.map_err(ServerError::doubt)?;
            Ok(hints.map(|message| Ok(message.payload)).boxed())
        })
    }
}
