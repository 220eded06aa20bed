//! Workers' standings in the books, written by the workers and the coordinator. A key is only valid for the worker that
//! it names.

use super::server::Entry;
use super::values::decode;
use super::{Bus, BusError};
use crate::books::{Standing, WorkerRecord};
use crate::ids::is_plain;
use crate::protocol::subjects;

impl Bus {
    /// The standing of the worker `name`; trusted if the books have none.
    ///
    /// # Errors
    /// When the server does not answer, or the entry cannot be read or names another worker.
    pub async fn standing(&self, name: &str) -> Result<Standing, BusError> {
        let entry = self.entry(&subjects::standing_key(name)).await?;
        entry.map_or(Ok(Standing::Trusted), |entry| Ok(read(&entry)?.standing))
    }

    /// Writes a worker's standing.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn write_standing(&self, record: &WorkerRecord) -> Result<(), BusError> {
        self.write(&subjects::standing_key(&record.name), record).await
    }

    /// All standings in the books, by name. Any worker can write them, so those that cannot be right are skipped.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn standings(&self) -> Result<Vec<WorkerRecord>, BusError> {
        let mut records = Vec::new();
        for key in self.keys(subjects::STANDING_KEYS).await? {
            match self.entry(&key).await?.as_ref().map(read) {
                Some(Ok(record)) => records.push(record),
                Some(Err(error)) => tracing::warn!("{error}; this worker's standing is skipped"),
                None => {}
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }
}

pub(super) fn read(entry: &Entry) -> Result<WorkerRecord, BusError> {
    let record: WorkerRecord = decode(&entry.key, &entry.value, WorkerRecord::VERSION)?;
    let its_own = subjects::worker_of_standing_key(&entry.key) == Some(record.name.as_str());
    if !its_own || !is_plain(&record.name) {
        let reason = format!("it names the worker {:?}", record.name.chars().take(80).collect::<String>());
        return Err(BusError::Untrue { what: entry.key.clone(), reason });
    }
    Ok(record)
}
