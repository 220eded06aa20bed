//! Looks for ensembles among finished jobs, and says how much of what it finds is luck. Pure.
//!
//! Everything is chosen on one split, validation. A score on the samples that it was chosen by is too high, so every way
//! of choosing is also tried on one half of the samples and scored on the other.

use rayon::prelude::*;
use serde::Serialize;
use shared::rng::{Purpose, Stream};

use super::calibration::{Calibration, calibration};
use super::combine::{Candidates, Combination};
use super::method::{Method, classes};
use crate::evaluation::quantile;

/// A found ensemble is doubted if choosing it costs this many points of macro F1 on samples that it was not chosen by.
const DOUBTFUL: f64 = 1.0;
/// Samples that all trials on halves together look at: more trials for small splits.
const HALVED_SAMPLES: usize = 200_000;
const MOST_TRIALS: u64 = 20;

/// How the search is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effort {
    /// Number of bootstrap replicates.
    pub replicates: u64,
    pub seed: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { replicates: 1000, seed: 0 }
    }
}

/// What a search has found, the most promising ensemble first: by the score on samples that it was not chosen by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Search {
    pub effort: Effort,
    /// Number of labelled samples.
    pub samples: usize,
    pub found: Vec<Found>,
    /// By two candidates: the share of samples for which they predict different classes.
    pub disagreement: Vec<Vec<f64>>,
}

/// One ensemble. Scores are macro F1 in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    pub method: Method,
    #[serde(skip)]
    pub combination: Combination,
    /// On the samples that it was chosen by.
    pub score: f64,
    /// 95 % interval of the score, by the bootstrap.
    pub interval: [f64; 2],
    /// The mean score of what the same method chooses on one half of the samples, on the other half.
    pub on_others: f64,
    /// Its score minus that of the best single job.
    pub gain: f64,
    /// 95 % interval of the gain, by the paired bootstrap.
    pub gain_interval: [f64; 2],
    /// Share of the bootstrap replicates in which it is no better than the best single job.
    pub p: f64,
    pub calibration: Calibration,
    /// On samples that it was not chosen by, it loses more than an ensemble that is not chosen at all.
    pub is_overfitted: bool,
}

/// Tries every method.
pub fn search(candidates: &Candidates<'_>, effort: Effort) -> Search {
    let chosen: Vec<(Method, Combination)> =
        Method::ALL.into_iter().map(|method| (method, method.choose(candidates))).collect();
    let votes: Vec<Vec<f64>> =
        chosen.par_iter().map(|(_, combination)| candidates.vote(combination)).collect();
    let predicted: Vec<Vec<usize>> = votes.iter().map(|shares| candidates.predicted(shares)).collect();
    let replicates = bootstrap(candidates, &predicted, effort);
    let on_others = on_others(candidates, effort.seed);
    let scores: Vec<f64> =
        predicted.iter().map(|classes| candidates.macro_f1(classes.iter().copied())).collect();
    let falls = |place: usize| scores[place] - on_others[place];
    let found = chosen.into_iter().enumerate().map(|(place, (method, combination))| {
        let score = scores[place];
        let gains: Vec<f64> = replicates.iter().map(|scores| scores[place] - scores[SINGLE]).collect();
        let no_better = gains.iter().filter(|gain| **gain <= 0.0).count();
        Found {
            method,
            combination,
            score,
            interval: interval(replicates.iter().map(|scores| scores[place]).collect()),
            on_others: on_others[place],
            gain: score - scores[SINGLE],
            p: no_better as f64 / gains.len().max(1) as f64,
            gain_interval: interval(gains),
            calibration: calibration(candidates, &votes[place]),
            is_overfitted: is_overfitted(method, falls(place), falls(ALL)),
        }
    });
    let mut found: Vec<Found> = found.collect();
    found.sort_by(|a, b| b.on_others.total_cmp(&a.on_others));
    let samples = candidates.truths().len();
    Search { effort, samples, found, disagreement: disagreement(candidates) }
}

/// The places of [`Method::Single`] and [`Method::All`] in [`Method::ALL`].
const SINGLE: usize = 0;
const ALL: usize = 1;

/// Whether choosing has cost too much. `falls` is how much lower the score of this method is on halves of the samples, and
/// `all_fall` the same of all candidates together: of few samples, a half scores lower although nothing is chosen, because
/// single samples and missing classes weigh more in it.
fn is_overfitted(method: Method, falls: f64, all_fall: f64) -> bool {
    method.chooses() && falls - all_fall >= DOUBTFUL
}

/// The scores of all predictions in each replicate. All are over the same samples, so that they can be compared.
fn bootstrap(candidates: &Candidates<'_>, predicted: &[Vec<usize>], effort: Effort) -> Vec<Vec<f64>> {
    let truths = candidates.truths();
    let replicate = |number| {
        let mut stream = Stream::new(effort.seed, Purpose::Bootstrap, &[number]);
        let drawn: Vec<usize> = truths.iter().map(|_| stream.below(truths.len() as u64) as usize).collect();
        let over = candidates.over(&drawn);
        let score = |classes: &Vec<usize>| over.macro_f1(drawn.iter().map(|&place| classes[place]));
        predicted.iter().map(score).collect()
    };
    (0..effort.replicates).into_par_iter().map(replicate).collect()
}

/// For each method: the mean score, on one half of the samples, of what it chooses on the other half.
fn on_others(candidates: &Candidates<'_>, seed: u64) -> Vec<f64> {
    let samples = candidates.truths().len();
    let trials = (HALVED_SAMPLES / samples.max(1)).clamp(1, MOST_TRIALS as usize) as u64;
    let mut sums = vec![0.0; Method::ALL.len()];
    for trial in 0..trials {
        let (one, other) = halves(candidates.truths(), seed, trial);
        for (chosen_by, scored_on) in [(&one, &other), (&other, &one)] {
            let (chosen_by, scored_on) = (candidates.over(chosen_by), candidates.over(scored_on));
            for (sum, method) in sums.iter_mut().zip(Method::ALL) {
                let shares = scored_on.vote(&method.choose(&chosen_by));
                *sum += scored_on.macro_f1(scored_on.predicted(&shares));
            }
        }
    }
    sums.into_iter().map(|sum| sum / (2 * trials) as f64).collect()
}

/// Two halves with the same number of samples of each class, give or take one.
fn halves(truths: &[usize], seed: u64, trial: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..truths.len()).collect();
    Stream::new(seed, Purpose::Subset, &[trial]).shuffle(&mut order);
    order.sort_by_key(|&place| truths[place]); // Stable, so that each class stays shuffled.
    let (mut one, mut other): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (number, place) in order.into_iter().enumerate() {
        if number % 2 == 0 { one.push(place) } else { other.push(place) }
    }
    one.sort_unstable();
    other.sort_unstable();
    (one, other)
}

fn disagreement(candidates: &Candidates<'_>) -> Vec<Vec<f64>> {
    let number = candidates.number();
    let all: Vec<Vec<usize>> = (0..number).map(|one| classes(candidates, one).collect()).collect();
    let share = |a: &[usize], b: &[usize]| {
        a.iter().zip(b).filter(|(a, b)| a != b).count() as f64 / a.len().max(1) as f64
    };
    all.par_iter().map(|a| all.iter().map(|b| share(a, b)).collect()).collect()
}

/// The middle 95 %.
fn interval(mut scores: Vec<f64>) -> [f64; 2] {
    if scores.is_empty() {
        return [f64::NAN; 2];
    }
    scores.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|share| quantile(&scores, share))
}

#[cfg(test)]
mod tests {
    use shared::predictions::{Matrix, SampleList};

    use super::*;

    const CLASSES: usize = 4;
    const SAMPLES: usize = 400;

    /// A job that is right with probability `skill`, more or less sure, and wrong at random otherwise.
    fn job(seed: u64, skill: f64) -> Matrix {
        let mut stream = Stream::new(seed, Purpose::Simulation, &[9]);
        let mut values = Vec::new();
        for sample in 0..SAMPLES {
            let class =
                if stream.chance(skill) { sample % CLASSES } else { stream.below(CLASSES as u64) as usize };
            let sure = stream.between(0.4, 0.9) as f32;
            let rest = (1.0 - sure) / (CLASSES - 1) as f32;
            values.extend((0..CLASSES).map(|one| if one == class { sure } else { rest }));
        }
        Matrix::new(CLASSES, values).unwrap()
    }

    fn samples() -> SampleList {
        let labels = (0..SAMPLES).map(|sample| Some((sample % CLASSES) as u32)).collect();
        SampleList { ids: (0..SAMPLES).map(|n| n.to_string()).collect(), labels }
    }

    fn searched(skills: &[f64]) -> Search {
        let jobs: Vec<Matrix> = (0..).zip(skills).map(|(seed, &skill)| job(seed, skill)).collect();
        let all: Vec<&Matrix> = jobs.iter().collect();
        let candidates = Candidates::new(&all, &samples()).unwrap();
        search(&candidates, Effort { replicates: 200, seed: 1 })
    }

    fn of(search: &Search, method: Method) -> &Found {
        search.found.iter().find(|found| found.method == method).unwrap()
    }

    #[test]
    fn jobs_that_err_independently_are_better_together() {
        let search = searched(&[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
        let (all, single) = (of(&search, Method::All), of(&search, Method::Single));
        assert!(all.gain > 5.0 && all.gain_interval[0] > 0.0 && all.p < 0.05, "{all:?}");
        assert_eq!((single.gain, single.gain_interval, single.p), (0.0, [0.0, 0.0], 1.0));
        assert!(all.interval[0] < all.score && all.score < all.interval[1], "{all:?}");
        assert!(search.found.windows(2).all(|two| two[0].on_others >= two[1].on_others));
    }

    #[test]
    fn greedy_selection_leaves_bad_jobs_out_and_weighs_good_ones() {
        let search = searched(&[0.0, 0.85, 0.0, 0.8, 0.0]);
        let greedy = of(&search, Method::Greedy);
        let members: Vec<usize> = greedy.combination.members().collect();
        assert!(members.contains(&1), "{members:?}");
        assert!(greedy.score >= of(&search, Method::Single).score, "{greedy:?}");
        assert!(greedy.score > of(&search, Method::All).score + 2.0, "{greedy:?}");
    }

    /// Twenty jobs that only guess: the best of them is best by luck, and so is whatever greedy selection finds.
    #[test]
    fn luck_is_found_out() {
        let search = searched(&[0.0; 20]);
        let greedy = of(&search, Method::Greedy);
        assert!(greedy.is_overfitted && greedy.score > greedy.on_others + 3.0, "{greedy:?}");
        assert!((greedy.on_others - 25.0).abs() < 4.0, "chance level is 25 %: {}", greedy.on_others);
    }

    /// Of few samples, every score is lower on a half of them.
    #[test]
    fn what_is_not_chosen_is_not_overfitted() {
        assert!(!is_overfitted(Method::All, 9.0, 9.0) && !is_overfitted(Method::Majority, 12.0, 9.0));
        assert!(!is_overfitted(Method::Calibrated, 9.5, 9.0) && is_overfitted(Method::Greedy, 12.0, 9.0));
        assert!(is_overfitted(Method::Single, 1.5, -0.1), "it falls and the others do not");
        assert_eq!((Method::ALL[SINGLE], Method::ALL[ALL]), (Method::Single, Method::All));
    }

    #[test]
    fn halves_have_equal_shares_of_each_class() {
        let truths = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2];
        let (one, other) = halves(&truths, 3, 0);
        let of_class = |half: &[usize], class| half.iter().filter(|&&place| truths[place] == class).count();
        assert_eq!((0..3).map(|class| of_class(&one, class)).collect::<Vec<_>>(), [2, 1, 2]);
        let mut all = [one, other].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn jobs_that_predict_the_same_do_not_disagree() {
        let search = searched(&[1.0, 1.0, 0.0]);
        assert_eq!((search.disagreement[0][1], search.disagreement[2][2]), (0.0, 0.0));
        assert!((search.disagreement[0][2] - 0.75).abs() < 0.1, "{:?}", search.disagreement);
    }
}
