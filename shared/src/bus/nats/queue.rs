//! The work queue: hints about which job to claim next. Its acknowledgements decide nothing.

use std::time::Duration;

use futures::StreamExt;
use nats::jetstream::AckKind;
use nats::jetstream::consumer::pull;

use super::super::BusError;
use super::Bus;
use crate::ids::JobId;
use crate::protocol::subjects;

/// Outcome of queueing a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    Now,
    /// It is queued or in flight already.
    Already,
}

/// The server's code for "this subject holds its one message".
const ALREADY_QUEUED: &str = "10077";

impl Bus {
    /// Queues a job, unless it is queued already.
    pub async fn enqueue(&self, job: JobId) -> Result<Queued, BusError> {
        let fail = |e: nats::jetstream::context::PublishError| BusError::transport("queue a job", e);
        let ack = self.jetstream.publish(subjects::queue(job), "".into()).await.map_err(fail)?;
        match ack.await {
            Ok(_) => Ok(Queued::Now),
            Err(error) if format!("{error:?}").contains(ALREADY_QUEUED) => Ok(Queued::Already),
            Err(error) => Err(fail(error)),
        }
    }

    /// Takes every job out of the queue: for a server that only one coordinator uses, before it queues its own.
    pub async fn clear_queue(&self) -> Result<(), BusError> {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| BusError::transport("clear the queue", e);
        let stream = self.jetstream.get_stream(subjects::QUEUE_STREAM).await.map_err(|e| fail(e.into()))?;
        stream.purge().await.map_err(|e| fail(e.into()))?;
        Ok(())
    }

    /// Jobs for this worker, one at a time: nothing is taken from the server ahead of need.
    pub async fn jobs(&self) -> Result<Jobs, BusError> {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| BusError::transport("ask for jobs", e);
        let stream = self.jetstream.get_stream(subjects::QUEUE_STREAM).await.map_err(|e| fail(e.into()))?;
        let consumer: nats::jetstream::consumer::Consumer<pull::Config> =
            stream.get_consumer(subjects::QUEUE_CONSUMER).await.map_err(fail)?;
        let inner = consumer
            .stream()
            .max_messages_per_batch(1)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await
            .map_err(|e| fail(e.into()))?;
        Ok(Jobs { inner })
    }
}

/// The worker's side of the queue.
pub struct Jobs {
    inner: pull::Stream,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// Waits for the next job. `None` when the stream has ended and must be asked for anew.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            match self.inner.next().await? {
                Ok(message) => {
                    if let Some(job) = subjects::job_of_queue_subject(&message.subject) {
                        return Some(Delivery { job, message });
                    }
                    tracing::warn!(subject = %message.subject, "a queue message names no job");
                }
                Err(error) => tracing::debug!(%error, "the queue stumbled and goes on"),
            }
        }
    }
}

/// One job handed out by the queue.
pub struct Delivery {
    pub job: JobId,
    message: nats::jetstream::Message,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Delivery {
    /// Extends the time before the queue hands the job to somebody else. Only after the fence was proven: the server
    /// takes this from anybody who ever held the message.
    pub async fn extend(&self) {
        self.tell(AckKind::Progress).await;
    }

    /// Hands the job back, to be given out again after `delay`.
    pub async fn hand_back(&self, delay: Duration) {
        self.tell(AckKind::Nak(Some(delay).filter(|d| !d.is_zero()))).await;
    }

    /// Takes the job out of the queue. Only after its record is final.
    pub async fn finish(&self) {
        if let Err(error) = self.message.double_ack().await {
            tracing::debug!(job = %self.job, %error, "the queue was not told; the next worker will see it done");
        }
    }

    async fn tell(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::debug!(job = %self.job, %error, "the queue was not told");
        }
    }
}
