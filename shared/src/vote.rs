//! Soft voting (paper section 2.4): the mean of the members' class probabilities, then the most probable class.

use crate::confusion::{Confusion, Score, argmax};
use crate::ids::JobId;
use crate::predictions::{Matrix, SampleList};

/// One member's probabilities over one split, with the job, the dataset and the samples that they belong to.
#[derive(Debug, Clone, Copy)]
pub struct MemberProbabilities<'a> {
    pub job: JobId,
    /// `None` if the job has no dataset.
    pub dataset_digest: Option<&'a str>,
    pub samples_digest: &'a str,
    pub probabilities: &'a Matrix,
}

/// Why members cannot vote together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VoteError {
    #[error("an ensemble needs at least one member")]
    Empty,
    #[error("jobs {0} and {1} were trained on different datasets and cannot vote together")]
    Datasets(JobId, JobId),
    #[error(
        "the probabilities of jobs {0} and {1} are over different samples, or in another order; they cannot vote together"
    )]
    Samples(JobId, JobId),
    #[error("job {0} has {1} rows of probabilities and job {2} has {3}; they cannot vote together")]
    Rows(JobId, usize, JobId, usize),
    #[error("job {0} tells {1} classes apart and job {2} tells {3}; they cannot vote together")]
    Classes(JobId, usize, JobId, usize),
}

/// Mean of the members' probabilities in f64, [N, C].
///
/// A job counts once however often it is named. Members are added in the order of their ids, so that the result does
/// not depend on the order they are given in, to the last bit.
///
/// # Errors
/// When there is no member, or two members differ in dataset, samples, number of rows or of classes.
pub fn vote(members: &[MemberProbabilities<'_>]) -> Result<Matrix<f64>, VoteError> {
    let mut members = members.to_vec();
    members.sort_by_key(|member| member.job);
    let (first, rest) = members.split_first().ok_or(VoteError::Empty)?;
    let mut count = Count::of(first);
    rest.iter().try_for_each(|member| count.add(member))?;
    count.mean()
}

/// The sum of members' probabilities, for when not all of them should be in memory at a time. Whoever adds the members in
/// the order of their ids gets the mean of [`vote`], to the last bit.
#[derive(Debug, Clone)]
pub struct Count {
    first: Identity,
    last: JobId,
    members: usize,
    sums: Vec<f64>,
}

/// What must be the same for all members.
#[derive(Debug, Clone)]
struct Identity {
    job: JobId,
    dataset: Option<String>,
    samples: String,
    rows: usize,
    classes: usize,
}

impl Identity {
    fn of(member: &MemberProbabilities<'_>) -> Self {
        Self {
            job: member.job,
            dataset: member.dataset_digest.map(str::to_owned),
            samples: member.samples_digest.to_owned(),
            rows: member.probabilities.len(),
            classes: member.probabilities.classes(),
        }
    }
}

impl Count {
    pub fn of(first: &MemberProbabilities<'_>) -> Self {
        let sums = first.probabilities.values().iter().map(|p| f64::from(*p)).collect();
        Self { first: Identity::of(first), last: first.job, members: 1, sums }
    }

    /// Adds a member, unless it is the one that was added last.
    ///
    /// # Errors
    /// When it cannot vote together with the first one.
    pub fn add(&mut self, member: &MemberProbabilities<'_>) -> Result<(), VoteError> {
        comparable(&self.first, &Identity::of(member))?;
        if member.job != self.last {
            (self.last, self.members) = (member.job, self.members + 1);
            for (sum, p) in self.sums.iter_mut().zip(member.probabilities.values()) {
                *sum += f64::from(*p);
            }
        }
        Ok(())
    }

    /// The mean of the members' probabilities.
    ///
    /// # Errors
    /// Never for matrices of whole rows, which all are.
    pub fn mean(mut self) -> Result<Matrix<f64>, VoteError> {
        for sum in &mut self.sums {
            *sum /= self.members as f64;
        }
        Matrix::new(self.first.classes, self.sums).ok_or(VoteError::Empty)
    }
}

/// Score of probabilities against the labels of their samples; the lowest class index wins a tie. `None` where no label
/// is known.
pub fn score<T: PartialOrd>(probabilities: &Matrix<T>, samples: &SampleList) -> Option<Score> {
    let pairs = samples.labels.iter().zip(probabilities.rows());
    let known = pairs.filter_map(|(label, row)| label.map(|class| (class as usize, argmax(row))));
    let confusion = Confusion::from_pairs(probabilities.classes(), known);
    (confusion.total() > 0).then(|| confusion.into())
}

fn comparable(a: &Identity, b: &Identity) -> Result<(), VoteError> {
    if a.dataset != b.dataset {
        return Err(VoteError::Datasets(a.job, b.job));
    }
    if a.samples != b.samples {
        return Err(VoteError::Samples(a.job, b.job));
    }
    if a.rows != b.rows {
        return Err(VoteError::Rows(a.job, a.rows, b.job, b.rows));
    }
    if a.classes != b.classes {
        return Err(VoteError::Classes(a.job, a.classes, b.job, b.classes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const CLASSES: usize = 6;

    fn member(job: u128, probabilities: &Matrix) -> MemberProbabilities<'_> {
        let job = JobId::new(Uuid::from_u128(job));
        MemberProbabilities { job, dataset_digest: Some("d"), samples_digest: "s", probabilities }
    }

    fn matrix<const C: usize>(rows: &[[f32; C]]) -> Matrix {
        Matrix::from(rows)
    }

    fn list(labels: &[u32]) -> SampleList {
        let ids = (0..labels.len()).map(|i| i.to_string()).collect();
        SampleList { ids, labels: labels.iter().copied().map(Some).collect() }
    }

    #[test]
    fn a_sure_minority_outvotes_an_unsure_majority() {
        // The point of soft voting: two members lean to class 1, one is sure of class 0.
        let unsure = matrix(&[[0.4, 0.6, 0.0, 0.0, 0.0, 0.0]]);
        let sure = matrix(&[[0.95, 0.05, 0.0, 0.0, 0.0, 0.0]]);
        let mean = vote(&[member(1, &unsure), member(2, &unsure), member(3, &sure)]).unwrap();
        assert!((mean.values()[0] - 1.75 / 3.0).abs() < 1e-7, "{mean:?}");
        assert_eq!(score(&mean, &list(&[0])).unwrap().confusion.counts[0][0], 1);
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        let (a, b) = (matrix(&[[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]), matrix(&[[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]));
        let mean = vote(&[member(1, &a), member(2, &b)]).unwrap();
        assert_eq!(score(&mean, &list(&[2])).unwrap().confusion.counts[2][2], 1);
        assert_eq!(score(&mean, &list(&[4])).unwrap().confusion.counts[4][2], 1);
    }

    #[test]
    fn what_does_not_belong_together_is_refused_by_name() {
        let (one, two, few) = (matrix(&[[0.5; CLASSES]]), matrix(&[[0.5; CLASSES]; 2]), matrix(&[[0.5; 2]]));
        let (a, b) = (member(1, &one), member(2, &one));
        assert_eq!(vote(&[]), Err(VoteError::Empty));
        let other = MemberProbabilities { dataset_digest: Some("e"), ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Datasets(a.job, b.job)));
        let other = MemberProbabilities { samples_digest: "t", ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Samples(a.job, b.job)));
        let other = MemberProbabilities { probabilities: &two, ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Rows(a.job, 1, b.job, 2)));
        let other = MemberProbabilities { probabilities: &few, ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Classes(a.job, CLASSES, b.job, 2)));
        let error = vote(&[a, MemberProbabilities { samples_digest: "t", ..b }]).unwrap_err().to_string();
        assert!(error.contains(&a.job.to_string()) && error.contains(&b.job.to_string()), "{error}");
    }

    #[test]
    fn unlabelled_samples_are_not_scored() {
        let mean = vote(&[member(1, &matrix(&[[0.5; CLASSES]; 2]))]).unwrap();
        let half = SampleList { ids: vec!["a".into(), "b".into()], labels: vec![Some(0), None] };
        assert_eq!(score(&mean, &half).unwrap().confusion.total(), 1);
        let none = SampleList { ids: vec!["a".into(), "b".into()], labels: vec![None, None] };
        assert_eq!(score(&mean, &none), None);
    }

    fn matrix_of(classes: usize, rows: usize) -> impl Strategy<Value = Matrix> {
        let values = prop::collection::vec(0.0f32..1.0, classes * rows);
        values.prop_map(move |values| Matrix::new(classes, values).unwrap())
    }

    fn matrices() -> impl Strategy<Value = Vec<Matrix>> {
        (1usize..6, 1usize..8, 1usize..9).prop_flat_map(|(members, rows, classes)| {
            prop::collection::vec(matrix_of(classes, rows), members)
        })
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_matters(matrices in matrices(), turn in 0usize..6) {
            let members: Vec<_> = (1..).zip(&matrices).map(|(job, rows)| member(job, rows)).collect();
            let expected = vote(&members).unwrap();
            let mut turned = members.clone();
            turned.rotate_left(turn % members.len());
            turned.push(members[0]);
            prop_assert_eq!(vote(&turned).unwrap(), expected);
        }

        #[test]
        fn equal_members_vote_as_one(rows in matrix_of(3, 5), copies in 1u128..6) {
            let members: Vec<_> = (0..copies).map(|job| member(job, &rows)).collect();
            for (mean, p) in vote(&members).unwrap().values().iter().zip(rows.values()) {
                prop_assert_eq!((*mean as f32).to_bits(), p.to_bits());
            }
        }

        #[test]
        fn the_mean_lies_between_the_members(matrices in matrices()) {
            let members: Vec<_> = (1..).zip(&matrices).map(|(job, rows)| member(job, rows)).collect();
            for (i, mean) in vote(&members).unwrap().values().iter().enumerate() {
                let member = |matrix: &Matrix| f64::from(matrix.values()[i]);
                let low = matrices.iter().map(member).fold(f64::INFINITY, f64::min);
                let high = matrices.iter().map(member).fold(0.0, f64::max);
                prop_assert!(*mean >= low - 1e-12 && *mean <= high + 1e-12);
            }
        }
    }
}
