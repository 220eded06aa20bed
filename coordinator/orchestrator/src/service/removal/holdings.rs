//! What belongs only to one sweep, and what it shares with others. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::bus::Bucket;
use shared::ids::JobId;
use shared::protocol::subjects;

/// Everything on a server that sweeps may have left there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// All keys of the books.
    pub(super) keys: BTreeSet<String>,
    pub(super) sweeps: BTreeMap<String, Listed>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// The blobs of each pack and file of weights, by digest.
    pub(super) packs: BTreeMap<String, Vec<String>>,
    pub(super) weights: BTreeMap<String, Vec<String>>,
    /// Bytes of the blobs of each bucket, by name.
    pub(super) checkpoints: BTreeMap<String, u64>,
    pub(super) results: BTreeMap<String, u64>,
    pub(super) pack_blobs: BTreeMap<String, u64>,
    pub(super) weights_blobs: BTreeMap<String, u64>,
    /// The keys of requests to change a sweep, by its name.
    pub(super) requests: BTreeMap<String, Vec<String>>,
}

/// A sweep, as its plan lists it, with the jobs that were withdrawn from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) inputs: Inputs,
}

/// A job, as the books show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) done: bool,
    /// The worker that holds it now.
    pub(super) held_by: Option<String>,
    /// Names of the checkpoints in its record. Another job may have made them.
    pub(super) checkpoints: BTreeSet<String>,
    pub(super) inputs: Inputs,
}

/// What jobs are trained on, as digests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inputs {
    pub(super) packs: BTreeSet<String>,
    pub(super) weights: BTreeSet<String>,
}

/// What to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Sweep(String),
    /// Jobs, packs and weights that no sweep lists any more, because its file has changed.
    Unlisted,
}

/// A number of items of one kind, and their size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Amount {
    pub count: usize,
    pub bytes: u64,
}

/// What belongs only to a target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Holdings {
    pub jobs: usize,
    /// Those of the jobs that have a result.
    pub done: usize,
    /// Jobs that other sweeps also list. They are not counted in `jobs`.
    pub shared_jobs: usize,
    pub checkpoints: Amount,
    /// Files of results: models, probabilities, and the sweep's plan.
    pub results: Amount,
    /// Datasets.
    pub packs: Amount,
    pub weights: Amount,
    /// Bytes of all of it.
    pub bytes: u64,
}

/// The holdings in detail, with names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Belongings {
    pub(super) holdings: Holdings,
    /// Workers that hold one of the jobs.
    pub(super) held_by: BTreeSet<String>,
    /// In the order in which they must be deleted.
    pub(super) keys: Vec<String>,
    pub(super) blobs: Vec<(Bucket, String)>,
}

impl Survey {
    /// What belongs only to `target`.
    pub(super) fn belongings(&self, target: &Target) -> Belongings {
        let others =
            self.sweeps.iter().filter(|(name, _)| !matches!(target, Target::Sweep(own) if own == *name));
        let (mut listed_elsewhere, mut inputs_elsewhere) = (BTreeSet::new(), Inputs::default());
        for (_, sweep) in others {
            listed_elsewhere.extend(sweep.jobs.iter().copied());
            inputs_elsewhere.add(&sweep.inputs);
        }
        let (candidates, candidate_inputs): (BTreeSet<JobId>, Inputs) = match target {
            Target::Sweep(name) => {
                let sweep = self.sweeps.get(name).cloned().unwrap_or_default();
                (sweep.jobs, sweep.inputs)
            }
            Target::Unlisted => (self.jobs.keys().copied().collect(), self.all_inputs()),
        };
        let own: BTreeSet<JobId> = candidates.difference(&listed_elsewhere).copied().collect();
        let mut needed_elsewhere: BTreeSet<&String> = BTreeSet::new();
        for (_, job) in self.jobs.iter().filter(|(id, _)| !own.contains(id)) {
            inputs_elsewhere.add(&job.inputs);
            needed_elsewhere.extend(&job.checkpoints);
        }
        let mut found = Belongings::default();
        found.holdings.shared_jobs = match target {
            Target::Sweep(_) => candidates.len() - own.len(),
            Target::Unlisted => 0,
        };
        match target {
            Target::Sweep(name) => self.take_sweep(name, &mut found),
            Target::Unlisted => found.keys.extend(self.unlisted_scoreboards()),
        }
        for id in &own {
            self.take_job(*id, &needed_elsewhere, &mut found);
        }
        let packs = candidate_inputs.packs.difference(&inputs_elsewhere.packs).collect();
        found.holdings.packs = self.pack_files().take(&packs, &mut found);
        let weights = candidate_inputs.weights.difference(&inputs_elsewhere.weights).collect();
        found.holdings.weights = self.weights_files().take(&weights, &mut found);
        let Holdings { checkpoints, results, packs, weights, .. } = &found.holdings;
        found.holdings.bytes = [checkpoints, results, packs, weights].iter().map(|amount| amount.bytes).sum();
        found
    }

    fn pack_files(&self) -> Files<'_> {
        let (all, sizes) = (&self.packs, &self.pack_blobs);
        Files { bucket: Bucket::Packs, key: subjects::pack_key, all, sizes }
    }

    fn weights_files(&self) -> Files<'_> {
        let (all, sizes) = (&self.weights, &self.weights_blobs);
        Files { bucket: Bucket::Weights, key: subjects::weights_key, all, sizes }
    }

    fn all_inputs(&self) -> Inputs {
        Inputs {
            packs: self.packs.keys().cloned().collect(),
            weights: self.weights.keys().cloned().collect(),
        }
    }

    /// The sweep's key comes first: once it is deleted, the sweep is no longer listed, whatever happens to the rest.
    fn take_sweep(&self, name: &str, found: &mut Belongings) {
        let keys = [subjects::sweep_key(name), subjects::conductor_key(name), subjects::scoreboard_key(name)];
        found.keys.extend(keys.into_iter().filter(|key| self.keys.contains(key)));
        found.keys.extend(self.requests.get(name).into_iter().flatten().cloned());
        let plans = self.results.iter().filter(|(blob, _)| is_plan_of(blob, name));
        for (blob, bytes) in plans {
            found.holdings.results.add(*bytes);
            found.blobs.push((Bucket::Results, blob.clone()));
        }
    }

    /// What an interrupted removal has left.
    fn unlisted_scoreboards(&self) -> impl Iterator<Item = String> {
        let is_unlisted = |key: &&String| {
            subjects::sweep_of_scoreboard_key(key).is_some_and(|name| !self.sweeps.contains_key(name))
        };
        self.keys.iter().filter(is_unlisted).cloned()
    }

    /// The record comes first: programs leave a job without a record alone. Checkpoints from which other jobs go on stay.
    fn take_job(&self, id: JobId, needed_elsewhere: &BTreeSet<&String>, found: &mut Belongings) {
        let job = self.jobs.get(&id).cloned().unwrap_or_default();
        found.holdings.jobs += 1;
        found.holdings.done += usize::from(job.done);
        found.held_by.extend(job.held_by);
        let keys = [subjects::record_key(id), subjects::order_key(id), subjects::result_key(id)];
        found.keys.extend(keys.into_iter().filter(|key| self.keys.contains(key)));
        let stores = [
            (Bucket::Checkpoints, &self.checkpoints, &mut found.holdings.checkpoints),
            (Bucket::Results, &self.results, &mut found.holdings.results),
        ];
        let start = format!("{id}.");
        for (bucket, blobs, amount) in stores {
            let own = blobs.range(start.clone()..).take_while(|(blob, _)| blob.starts_with(&start));
            for (blob, bytes) in own.filter(|(blob, _)| !needed_elsewhere.contains(blob)) {
                amount.add(*bytes);
                found.blobs.push((bucket, blob.clone()));
            }
        }
    }
}

impl Inputs {
    fn add(&mut self, other: &Self) {
        self.packs.extend(other.packs.iter().cloned());
        self.weights.extend(other.weights.iter().cloned());
    }
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Stored packs, or files of weights.
struct Files<'a> {
    bucket: Bucket,
    key: fn(&str) -> String,
    /// The blobs of each file, by digest.
    all: &'a BTreeMap<String, Vec<String>>,
    sizes: &'a BTreeMap<String, u64>,
}

impl Files<'_> {
    /// Takes the files in `own` with their blobs, except for blobs that also belong to another file.
    fn take(&self, own: &BTreeSet<&String>, found: &mut Belongings) -> Amount {
        let (own, staying): (Vec<_>, Vec<_>) = self.all.iter().partition(|(digest, _)| own.contains(digest));
        let kept: BTreeSet<&String> = staying.into_iter().flat_map(|(_, blobs)| blobs).collect();
        let mut amount = Amount::default();
        let mut taken = BTreeSet::new();
        for (digest, blobs) in own {
            amount.count += 1;
            found.keys.push((self.key)(digest));
            for blob in blobs.iter().filter(|blob| !kept.contains(blob)) {
                if taken.insert(blob) {
                    amount.bytes += self.sizes.get(blob).copied().unwrap_or(0);
                    found.blobs.push((self.bucket, blob.clone()));
                }
            }
        }
        amount
    }
}

/// A plan's blob is called `plan.`, the sweep's name, a dot and 16 digits of its digest. Names of sweeps may contain
/// dots.
fn is_plan_of(blob: &str, sweep: &str) -> bool {
    let digits = blob.strip_prefix("plan.").and_then(|rest| rest.strip_prefix(sweep)?.strip_prefix('.'));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> JobId {
        JobId::new(uuid::Uuid::from_u128(number))
    }

    fn set<T: Ord, const N: usize>(items: [T; N]) -> BTreeSet<T> {
        BTreeSet::from(items)
    }

    fn inputs(pack: &str, weights: &str) -> Inputs {
        Inputs { packs: set([pack.to_owned()]), weights: set([weights.to_owned()]) }
    }

    /// Sweep `a` has jobs 1 and 2, `b` has 2 and 3; job 4 was listed by an earlier plan. Packs `p` and `q`.
    fn survey() -> Survey {
        let listed = |jobs: [u128; 2], inputs| Listed { jobs: jobs.map(id).into(), inputs };
        let job = |done, inputs| Job { done, inputs, ..Job::default() };
        let both = |number: u128| [subjects::record_key(id(number)), subjects::order_key(id(number))];
        let mut keys: BTreeSet<String> = (1..=4).flat_map(both).collect();
        keys.extend([subjects::result_key(id(1)), "sweep.a".into(), "sweep.b".into(), "timing".into()]);
        keys.extend(["ensembles.a", "ensembles.b"].map(str::to_owned));
        Survey {
            keys,
            sweeps: [
                ("a".to_owned(), listed([1, 2], inputs("p", "w"))),
                ("b".to_owned(), listed([2, 3], inputs("q", "w"))),
            ]
            .into(),
            jobs: [
                (id(1), job(true, inputs("p", "w"))),
                (id(2), job(false, inputs("q", "w"))),
                (id(3), Job { held_by: Some("gpu0".into()), ..job(false, inputs("q", "w")) }),
                (id(4), job(false, inputs("old", "w"))),
            ]
            .into(),
            packs: ["p", "q", "old"]
                .map(|name| (name.to_owned(), vec![name.to_owned(), "same".into()]))
                .into(),
            weights: [("w".to_owned(), vec!["w.0".to_owned()])].into(),
            checkpoints: [(format!("{}.1.x", id(2)), 5), (format!("{}.1.x", id(3)), 7)].into(),
            results: [
                (format!("{}.model.x", id(1)), 100),
                ("plan.a.0123456789abcdef".to_owned(), 10),
                ("plan.a.b.0123456789abcdef".to_owned(), 20),
            ]
            .into(),
            pack_blobs: ["p", "q", "old", "same"].map(|name| (name.to_owned(), 1000)).into(),
            weights_blobs: [("w.0".to_owned(), 50)].into(),
            requests: [("a".to_owned(), vec!["request.1".to_owned()])].into(),
        }
    }

    /// Case 33: everything that belongs only to the sweep is removed; what others list or train on stays.
    #[test]
    fn what_other_sweeps_use_stays() {
        let found = survey().belongings(&Target::Sweep("a".into()));
        let Holdings { jobs, done, shared_jobs, bytes, .. } = found.holdings;
        assert_eq!((jobs, done, shared_jobs, bytes), (1, 1, 1, 100 + 10 + 1000));
        assert_eq!(found.keys[0], "sweep.a");
        let job = id(1);
        let keys = [
            "sweep.a".to_owned(),
            "ensembles.a".to_owned(),
            "request.1".to_owned(),
            format!("job.{job}"),
            format!("order.{job}"),
            format!("result.{job}"),
            "pack.p".to_owned(),
        ];
        assert_eq!(found.keys, keys);
        let blobs = [
            (Bucket::Results, "plan.a.0123456789abcdef".to_owned()),
            (Bucket::Results, format!("{job}.model.x")),
            (Bucket::Packs, "p".to_owned()),
        ];
        assert_eq!(found.blobs, blobs);
        assert!(found.held_by.is_empty());
    }

    #[test]
    fn workers_that_hold_a_job_are_named() {
        assert_eq!(survey().belongings(&Target::Sweep("b".into())).held_by, set(["gpu0".to_owned()]));
    }

    /// Case 33: jobs of an earlier version of a sweep file are also found.
    #[test]
    fn what_no_sweep_lists_any_more_can_go() {
        let found = survey().belongings(&Target::Unlisted);
        assert_eq!((found.holdings.jobs, found.holdings.packs), (1, Amount { count: 1, bytes: 1000 }));
        assert_eq!(found.keys, [format!("job.{}", id(4)), format!("order.{}", id(4)), "pack.old".to_owned()]);
        let mut rest = survey();
        rest.keys.insert("ensembles.gone".into());
        assert_eq!(rest.belongings(&Target::Unlisted).keys[0], "ensembles.gone");
        rest.keys.remove("ensembles.gone");
        rest.jobs.remove(&id(4));
        rest.packs.remove("old");
        assert_eq!(rest.belongings(&Target::Unlisted), Belongings::default());
    }

    #[test]
    fn checkpoints_from_which_other_jobs_go_on_stay() {
        let mut survey = survey();
        let [lent, own] = ["1.lent", "1.own"].map(|end| format!("{}.{end}", id(4)));
        survey.checkpoints.extend([(lent.clone(), 30), (own.clone(), 40)]);
        survey.jobs.entry(id(4)).or_default().checkpoints = set([lent.clone(), own.clone()]);
        survey.jobs.entry(id(3)).or_default().checkpoints = set([lent]);
        let found = survey.belongings(&Target::Unlisted);
        assert_eq!(found.holdings.checkpoints, Amount { count: 1, bytes: 40 });
        assert!(found.blobs.contains(&(Bucket::Checkpoints, own)));
        survey.sweeps.remove("b");
        let found = survey.belongings(&Target::Unlisted);
        assert_eq!(found.holdings.checkpoints, Amount { count: 3, bytes: 7 + 30 + 40 }, "nobody needs them");
    }

    #[test]
    fn the_last_sweep_takes_everything_with_it() {
        let mut survey = survey();
        survey.sweeps.remove("a");
        for number in [1, 4] {
            survey.jobs.remove(&id(number));
        }
        survey.packs.remove("p");
        survey.packs.remove("old");
        let found = survey.belongings(&Target::Sweep("b".into()));
        assert_eq!(found.holdings.weights, Amount { count: 1, bytes: 50 });
        assert_eq!(found.holdings.packs, Amount { count: 1, bytes: 2000 });
    }

    #[test]
    fn a_sweep_that_is_not_there_holds_nothing() {
        assert_eq!(survey().belongings(&Target::Sweep("none".into())), Belongings::default());
    }
}
