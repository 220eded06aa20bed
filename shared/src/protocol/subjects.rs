//! The names of all streams, buckets, keys and subjects. No other file spells one out.

use crate::ids::{JobId, RequestId, WorkerId};

/// JetStream's own requests.
pub const API: &str = "$JS.API";
/// Prefix of the same requests, and of everything else that workers and observers may use, in their accounts.
pub const GUEST_API: &str = "ferry.api";

/// Work queue of jobs that can be claimed; its messages are hints only.
pub const QUEUE_STREAM: &str = "FERRY_JOBS";
/// The one durable consumer that all workers pull from.
pub const QUEUE_CONSUMER: &str = "workers";
/// Subjects of the queue.
pub const QUEUE_SUBJECTS: &str = "ferry.job.*";

/// Bucket of the books: orders, records, results.
pub const BOOKS: &str = "ferry_books";
/// Stream behind [`BOOKS`].
pub const BOOKS_STREAM: &str = "KV_ferry_books";
/// Bucket of worker presence, whose entries expire.
pub const PRESENCE: &str = "ferry_presence";

/// Stream behind [`PRESENCE`].
pub const PRESENCE_STREAM: &str = "KV_ferry_presence";

/// Object store of checkpoints of unfinished jobs.
pub const CHECKPOINTS: &str = "ferry_checkpoints";
/// Object store of finished jobs' files: probabilities and trained weights.
pub const RESULTS: &str = "ferry_results";
/// Object store of dataset packs.
pub const PACKS: &str = "ferry_packs";
/// Object store of weights that jobs start from.
pub const WEIGHTS: &str = "ferry_weights";

/// All object stores.
pub const OBJECT_STORES: [&str; 4] = [CHECKPOINTS, RESULTS, PACKS, WEIGHTS];

/// Keys of the books that workers may write; the coordinator alone writes the others.
pub const WORKERS_OWN: [&str; 3] = [RECORD_KEYS, RESULT_KEYS, STANDING_KEYS];

/// Progress reports of all workers.
pub const LIVE_ALL: &str = "ferry.live.*";

/// Queue subject of one job: with one message per subject, a job is queued at most once.
pub fn queue(job: JobId) -> String {
    format!("ferry.job.{job}")
}

/// The job named by a queue subject, if it is one.
pub fn job_of_queue_subject(subject: &str) -> Option<JobId> {
    subject.strip_prefix("ferry.job.")?.parse().ok()
}

/// Progress reports of one worker.
pub fn live(worker: &WorkerId) -> String {
    format!("ferry.live.{worker}")
}

/// Key of the lease and heartbeat of all jobs.
pub const TIMING_KEY: &str = "timing";

/// Key of a job's order in the books.
pub fn order_key(job: JobId) -> String {
    format!("order.{job}")
}

/// Keys of all orders.
pub const ORDER_KEYS: &str = "order.*";

/// Key of a job's record in the books.
pub fn record_key(job: JobId) -> String {
    format!("job.{job}")
}

/// Keys of all records.
pub const RECORD_KEYS: &str = "job.*";

/// Key of a job's result in the books.
pub fn result_key(job: JobId) -> String {
    format!("result.{job}")
}

/// Keys of all results.
pub const RESULT_KEYS: &str = "result.*";

/// The job named by a result's key, if it is one.
pub fn job_of_result_key(key: &str) -> Option<JobId> {
    key.strip_prefix("result.")?.parse().ok()
}

/// The keys whose changes a coordinator acts on.
pub const CONDUCTED_KEYS: &[&str] = &[RECORD_KEYS, STANDING_KEYS, REQUEST_KEYS];

/// The same, and those whose changes it shows.
pub const COORDINATED_KEYS: &[&str] = &[RECORD_KEYS, STANDING_KEYS, REQUEST_KEYS, SCOREBOARD_KEYS];

/// The keys whose changes tell everything that happens to sweeps.
pub const FOLLOWED_KEYS: &[&str] =
    &[RECORD_KEYS, RESULT_KEYS, STANDING_KEYS, REQUEST_KEYS, SWEEP_KEYS, SCOREBOARD_KEYS];

/// Key of a pack's manifest in the books.
pub fn pack_key(digest: &str) -> String {
    format!("pack.{digest}")
}

/// Key of the manifest of a file of weights in the books.
pub fn weights_key(digest: &str) -> String {
    format!("weights.{digest}")
}

/// Key of the note about the last garbage collection.
pub const COLLECTION_KEY: &str = "collection";

/// Key that is written to test whether the store accepts writes.
pub const TRIAL_KEY: &str = "trial";

/// Key of a worker's standing in the books, by its name.
pub fn standing_key(name: &str) -> String {
    format!("worker.{name}")
}

/// Keys of all workers' standings.
pub const STANDING_KEYS: &str = "worker.*";

/// The worker whose standing a key holds, if it is one.
pub fn worker_of_standing_key(key: &str) -> Option<&str> {
    key.strip_prefix("worker.")
}

/// Key of a sweep in the books: the jobs that it asks for.
pub fn sweep_key(name: &str) -> String {
    format!("sweep.{name}")
}

/// Key of a request to change a sweep.
pub fn request_key(request: RequestId) -> String {
    format!("request.{request}")
}

/// Keys of all requests.
pub const REQUEST_KEYS: &str = "request.*";

/// The request that a key holds, if it is one.
pub fn request_of_key(key: &str) -> Option<RequestId> {
    key.strip_prefix("request.")?.parse().ok()
}

/// Key of the jobs that workers take out of the queue's order.
pub const PRIORITIES_KEY: &str = "priorities";

/// Key of the workers that users have drained.
pub const DRAINS_KEY: &str = "drains";

/// Key of how a sweep's ensembles stand.
pub fn scoreboard_key(sweep: &str) -> String {
    format!("ensembles.{sweep}")
}

/// Keys of how the ensembles of all sweeps stand.
pub const SCOREBOARD_KEYS: &str = "ensembles.*";

/// The sweep whose ensembles a key is about, if it is such a key.
pub fn sweep_of_scoreboard_key(key: &str) -> Option<&str> {
    key.strip_prefix("ensembles.")
}

/// Keys of all sweeps.
pub const SWEEP_KEYS: &str = "sweep.*";

/// The sweep that a key holds, if it is one.
pub fn sweep_of_key(key: &str) -> Option<&str> {
    key.strip_prefix("sweep.")
}

/// Key that the coordinator of a sweep renews for as long as it runs.
pub fn conductor_key(sweep: &str) -> String {
    format!("conductor.{sweep}")
}

/// Keys of all coordinators that run a sweep.
pub const CONDUCTOR_KEYS: &str = "conductor.*";

/// The sweep whose coordinator renews a key, if it is one.
pub fn sweep_of_conductor_key(key: &str) -> Option<&str> {
    key.strip_prefix("conductor.")
}

/// The digest of the pack that a key holds, if it is one.
pub fn pack_of_key(key: &str) -> Option<&str> {
    key.strip_prefix("pack.")
}

/// The digest of the file of weights that a key holds, if it is one.
pub fn weights_of_key(key: &str) -> Option<&str> {
    key.strip_prefix("weights.")
}

/// The subject behind a key of the books.
pub fn books_subject(key: &str) -> String {
    format!("$KV.{BOOKS}.{key}")
}

/// Stream behind an object store.
pub fn object_stream(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

/// Subject of the bytes of one object, in pieces; `nuid` names the upload.
pub fn object_chunks(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

/// Subject of an object's description; `name` is encoded.
pub fn object_description(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{name}")
}

/// The subject behind a key of the presence bucket.
pub fn presence_subject(key: &str) -> String {
    format!("$KV.{PRESENCE}.{key}")
}

/// The job named by an order's key, if it is one.
pub fn job_of_order_key(key: &str) -> Option<JobId> {
    key.strip_prefix("order.")?.parse().ok()
}

/// The job named by a record key, if it is one.
pub fn job_of_record_key(key: &str) -> Option<JobId> {
    key.strip_prefix("job.")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn record_keys_name_their_job() {
        let job = JobId::new(Uuid::from_u128(9));
        assert_eq!(job_of_record_key(&record_key(job)), Some(job));
        assert_eq!(job_of_record_key(&result_key(job)), None);
        assert_eq!(job_of_record_key("job.x"), None);
        assert_eq!(job_of_queue_subject(&queue(job)), Some(job));
    }
}
