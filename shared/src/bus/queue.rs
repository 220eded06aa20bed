//! The work queue: hints about which job to claim next. Its acknowledgements decide nothing.

use std::time::Duration;

use futures::StreamExt;

use super::server::{Ack, Flow, Message, Queued};
use super::{Bus, BusError};
use crate::ids::JobId;
use crate::protocol::subjects;

impl Bus {
    /// Queues a job, unless it is already queued.
    ///
    /// # Errors
    /// When the server does not answer. The job may have been queued all the same.
    pub async fn enqueue(&self, job: JobId) -> Result<Queued, BusError> {
        let published = self.server.publish(&subjects::queue(job)).await;
        published.map_err(|e| BusError::failed("queue a job", e))
    }

    /// Queues new jobs at once, at most 1,000. False if none was queued: one of them is queued already, or the server
    /// does not do that. Then each must be queued by itself.
    ///
    /// # Errors
    /// When the server does not answer. The jobs may have been queued all the same.
    pub async fn enqueue_all(&self, jobs: &[JobId]) -> Result<bool, BusError> {
        let subjects: Vec<String> = jobs.iter().map(|&job| subjects::queue(job)).collect();
        self.server.publish_all(&subjects).await.map_err(|e| BusError::failed("queue jobs", e))
    }

    /// Takes a job out of the queue, also if it is handed out. Only the coordinator may.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn dequeue(&self, job: JobId) -> Result<(), BusError> {
        let withdrawn = self.server.withdraw(&subjects::queue(job)).await;
        withdrawn.map_err(|e| BusError::failed("take a job out of the queue", e))
    }

    /// Empties the queue: for a server with a single coordinator, before it queues its own jobs.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn clear_queue(&self) -> Result<(), BusError> {
        self.server.purge().await.map_err(|e| BusError::failed("clear the queue", e))
    }

    /// Jobs for this worker, one at a time: none is taken from the server before it is needed.
    ///
    /// # Errors
    /// When the server does not answer, or has no queue yet.
    pub async fn jobs(&self) -> Result<Jobs, BusError> {
        let inner = self.server.pull().await.map_err(|e| BusError::failed("ask for jobs", e))?;
        Ok(Jobs { inner })
    }
}

/// The worker's side of the queue.
pub struct Jobs {
    inner: Flow<Box<dyn Message>>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// Waits for the next job. `None` when the subscription has ended and must be opened again.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            match self.inner.next().await? {
                Ok(message) => {
                    if let Some(job) = subjects::job_of_queue_subject(message.subject()) {
                        return Some(Delivery { job, message });
                    }
                    tracing::warn!(subject = %message.subject(), "a message in the queue names no job");
                }
                Err(error) => tracing::debug!(%error, "the queue reported an error and continues"),
            }
        }
    }
}

/// One job handed out by the queue.
pub struct Delivery {
    pub job: JobId,
    message: Box<dyn Message>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Delivery {
    /// Extends the time before the queue gives the job to another worker. Call this only after the record was written
    /// under the fencing token, because the server accepts it from anybody who ever held the message.
    pub async fn extend(&self) {
        self.tell(Ack::Working).await;
    }

    /// Hands the job back, to be handed out again after `delay`.
    pub async fn hand_back(&self, delay: Duration) {
        self.tell(Ack::Back(delay)).await;
    }

    /// Takes the job out of the queue, once its record is final. If this is lost, the next worker that receives the job
    /// does it.
    pub async fn finish(&self) {
        self.tell(Ack::Done).await;
    }

    async fn tell(&self, ack: Ack) {
        if let Err(error) = self.message.answer(ack).await {
            tracing::debug!(job = %self.job, %error, "cannot answer the queue");
        }
    }
}
