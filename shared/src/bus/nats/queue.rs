//! The work queue as a stream with one message per subject and one durable consumer.

use std::time::Duration;

use futures::StreamExt;
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

    fn purge(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let stream =
                self.jetstream.get_stream(subjects::QUEUE_STREAM).await.map_err(ServerError::doubt)?;
            stream.purge().await.map_err(ServerError::doubt)?;
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
