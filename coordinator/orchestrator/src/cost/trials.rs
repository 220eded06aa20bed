//! How honest the estimates are: many simulated sweeps on a virtual clock, with jobs whose length depends on settings that
//! the trainer's estimate does not know, devices of different speed, noise, and workers that come late.

use std::collections::BTreeMap;

use serde_json::json;
use shared::rng::{Purpose, Stream};

use super::tests::{SECOND, described, done, id, result, running};
use super::*;

/// The parts of the work after which the end is foretold, in percent.
const MARKS: [u32; 3] = [25, 50, 75];

/// One job as it really is.
struct RealJob {
    epochs: u32,
    units: f64,
    /// Seconds per epoch on a device of speed 1.
    seconds: f64,
}

/// A worker as it really is.
struct RealWorker {
    name: String,
    device: String,
    slowness: f64,
    arrives: f64,
    /// The job that it has, the epochs it has done of it, and when the next event comes.
    job: Option<(u128, Vec<f64>)>,
    next: f64,
}

struct Sweep {
    stream: Stream,
    jobs: Vec<RealJob>,
    workers: Vec<RealWorker>,
    overhead: f64,
    noise: f64,
}

/// A forecast and what came.
#[derive(Debug, Clone, Copy)]
struct Told {
    mark: u32,
    left: Estimate,
    real: f64,
}

impl Sweep {
    /// 12 to 80 jobs with three settings that matter and one that does not, on one to six workers.
    fn draw(seed: u64) -> (Self, Vec<Described>) {
        let mut stream = Stream::new(seed, Purpose::Simulation, &[]);
        let mut scatter = |spread: f64| (spread * stream.normal()).exp();
        let networks = [scatter(0.5), scatter(0.5), scatter(0.5)];
        let methods = [scatter(0.2), scatter(0.2)];
        let sizes = [(0.2, 6), (1.0, 12), (1.0, 24)];
        let speeds = [scatter(0.6), scatter(0.6), scatter(0.6)];
        let (scale, spread) = (60.0 * scatter(1.0), 0.1 * scatter(0.5));
        let (mut jobs, mut plan) = (Vec::new(), Vec::new());
        for n in 0..12 + u128::from(stream.below(69)) {
            let (network, method, size) = (stream.below(3), stream.below(2), stream.below(3));
            let (share, epochs) = sizes[size as usize];
            let settings = json!({ "network": network, "method": method, "size": size, "seed": n % 7 });
            let mut job = described(n, 1000.0 * share, settings);
            (job.effort.epochs, job.effort.class) = (epochs, network as u32);
            plan.push(job);
            let effects = networks[network as usize] * methods[method as usize];
            let own = (spread * stream.normal()).exp();
            jobs.push(RealJob { epochs, units: 1000.0 * share, seconds: scale * share * effects * own });
        }
        let number = 1 + stream.below(6);
        let total: f64 = jobs.iter().map(|job| f64::from(job.epochs) * job.seconds).sum();
        let workers = (0..number).map(|n| {
            let device = stream.below(3) as usize;
            let late = n > 0 && stream.chance(0.3);
            RealWorker {
                name: format!("w{n}"),
                device: format!("device {device}"),
                slowness: speeds[device] * (0.03 * stream.normal()).exp(),
                arrives: if late { stream.between(0.0, 0.15) * total / number as f64 } else { 0.0 },
                job: None,
                next: 0.0,
            }
        });
        let mut workers: Vec<RealWorker> = workers.collect();
        for worker in &mut workers {
            worker.next = worker.arrives;
        }
        let overhead = scale * stream.between(0.05, 0.5);
        (Self { stream, jobs, workers, overhead, noise: 0.05 }, plan)
    }

    /// Runs the sweep, and returns what was foretold at each mark.
    fn run(mut self, plan: Vec<Described>) -> Vec<Told> {
        let mut model = CostModel::new(plan);
        let mut queue: Vec<u128> = (0..self.jobs.len() as u128).collect();
        queue.sort_by_key(|&n| model.work(id(n), 0));
        let mut left: BTreeMap<u128, u32> = queue.iter().map(|&n| (n, 0)).collect();
        let all = self.work(&left);
        let (mut told, mut now): (Vec<(u32, f64, Estimate)>, f64) = (Vec::new(), 0.0);
        while !left.is_empty() {
            let place = (0..self.workers.len())
                .min_by(|&a, &b| self.workers[a].next.total_cmp(&self.workers[b].next))
                .unwrap_or_default();
            now = self.workers[place].next;
            self.step(place, &mut model, &mut queue, &mut left);
            let percent = 100.0 * (1.0 - self.work(&left) / all);
            let passed = MARKS.iter().rev().find(|&&mark| percent >= f64::from(mark) && percent < 100.0);
            if let Some(&mark) = passed
                && told.last().is_none_or(|(last, ..)| *last < mark)
                && let Some(estimate) = self.foretell(now, &mut model, &left)
            {
                told.push((mark, now, estimate));
            }
        }
        told.into_iter().map(|(mark, at, left)| Told { mark, left, real: now - at }).collect()
    }

    fn work(&self, left: &BTreeMap<u128, u32>) -> f64 {
        let work = |(&n, &epoch): (&u128, &u32)| {
            let job = &self.jobs[n as usize];
            f64::from(job.epochs - epoch) * job.units
        };
        left.iter().map(work).sum()
    }

    /// What a worker does next: it ends an epoch or a job, or takes one.
    fn step(
        &mut self,
        place: usize,
        model: &mut CostModel,
        queue: &mut Vec<u128>,
        left: &mut BTreeMap<u128, u32>,
    ) {
        let Self { stream, jobs, workers, overhead, noise } = self;
        let worker = &mut workers[place];
        let nanos = (worker.next * SECOND as f64) as i128;
        let mut scattered = |seconds: f64, spread: f64| seconds * (spread * stream.normal()).exp();
        let Some((n, epochs)) = &mut worker.job else {
            let Some(n) = queue.pop() else {
                worker.next = f64::INFINITY;
                return;
            };
            model.saw_record(id(n), &running(&worker.name, &[]), nanos);
            worker.job = Some((n, vec![scattered(jobs[n as usize].seconds * worker.slowness, *noise)]));
            // The start, and the first epoch.
            worker.next += scattered(0.5 * *overhead, 0.3) + worker.job.as_ref().map_or(0.0, |job| job.1[0]);
            return;
        };
        let job = &jobs[*n as usize];
        if (epochs.len() as u32) < job.epochs {
            model.saw_record(id(*n), &running(&worker.name, epochs), nanos);
            left.insert(*n, epochs.len() as u32);
            epochs.push(scattered(job.seconds * worker.slowness, *noise));
            worker.next += epochs[epochs.len() - 1];
        } else if left.get(n).is_some_and(|&epoch| epoch < job.epochs) {
            // The last epoch; the end follows.
            model.saw_record(id(*n), &running(&worker.name, epochs), nanos);
            left.insert(*n, job.epochs);
            worker.next += scattered(0.5 * *overhead, 0.3);
        } else {
            model.saw_record(id(*n), &done(&worker.name), nanos);
            model.saw_result(&result(id(*n), &worker.name, &worker.device, epochs));
            left.remove(n);
            worker.job = None;
        }
    }

    /// What the model makes of what is known now.
    fn foretell(&self, now: f64, model: &mut CostModel, left: &BTreeMap<u128, u32>) -> Option<Estimate> {
        let there = self.workers.iter().filter(|worker| worker.arrives <= now);
        let crew: Vec<Seat> = there.map(|worker| model.equip(&worker.name, &worker.device)).collect();
        let holder = |n: u128| {
            let holds = |worker: &&RealWorker| worker.job.as_ref().is_some_and(|(job, _)| *job == n);
            self.workers.iter().find(holds)
        };
        let open: Vec<Open> = left
            .iter()
            .map(|(&n, &epoch)| {
                let held = holder(n).map(|worker| Holding { seat: model.seat(&worker.name), part: None });
                Open { job: id(n), epoch, held }
            })
            .collect();
        Some(model.outlook(open, &crew)?.time)
    }
}

fn tell(sweeps: u64) -> Vec<Told> {
    (0..sweeps)
        .flat_map(|seed| {
            let (sweep, plan) = Sweep::draw(seed);
            sweep.run(plan)
        })
        .collect()
}

/// How often the truth lay within the interval, and the median error in percent of what came.
fn judge(told: &[Told]) -> (f64, f64) {
    let held = told.iter().filter(|one| one.left.holds(one.real)).count();
    let mut errors: Vec<f64> = told.iter().map(|one| (one.left.likely / one.real - 1.0).abs()).collect();
    errors.sort_unstable_by(f64::total_cmp);
    (held as f64 / told.len() as f64, 100.0 * errors[errors.len() / 2])
}

fn table(told: &[Told]) -> String {
    let line = |name: String, told: &[Told]| {
        let (coverage, error) = judge(told);
        let far = told.iter().filter(|one| (one.left.likely / one.real - 1.0).abs() > 0.15).count();
        let far = 100.0 * far as f64 / told.len() as f64;
        let count = told.len();
        format!(
            "{name:>12}: {count:5} forecasts, interval right {:.1} %, median error {error:.1} %, more than 15 % off {far:.1} %",
            100.0 * coverage
        )
    };
    let at = |mark: u32| told.iter().copied().filter(|one| one.mark == mark).collect::<Vec<_>>();
    let marks = MARKS.map(|mark| line(format!("after {mark} %"), &at(mark)));
    format!("{}\n{}", marks.join("\n"), line("all".to_owned(), told))
}

#[test]
fn the_interval_holds_the_truth_nine_times_in_ten() {
    let told = tell(250);
    println!("{}", table(&told));
    let (coverage, error) = judge(&told);
    assert!(coverage >= 0.85, "nominal {COVERAGE}:\n{}", table(&told));
    assert!(error < 15.0, "{}", table(&told));
}

/// What docs/operate.md names.
#[test]
#[ignore = "takes a while, and prints figures"]
fn four_thousand_sweeps() {
    println!("{}", table(&tell(4000)));
}
