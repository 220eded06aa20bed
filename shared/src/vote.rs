//! Soft voting (paper section 2.4): the mean of the members' class probabilities, then the most probable class.

use crate::expression::CLASSES;
use crate::ids::JobId;
use crate::metrics::Confusion;
use crate::predictions::SampleList;
use crate::result::Score;

/// One member's probabilities over one split, with the job, the dataset and the samples that they belong to.
#[derive(Debug, Clone, Copy)]
pub struct MemberProbabilities<'a> {
    pub job: JobId,
    pub dataset_digest: &'a str,
    pub samples_digest: &'a str,
    /// [N, 6]
    pub probabilities: &'a [[f32; CLASSES]],
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
}

/// Mean of the members' probabilities in f64, [N, 6].
///
/// A job counts once however often it is named. Members are added in the order of their ids, so that the result does
/// not depend on the order they are given in, to the last bit.
///
/// # Errors
/// When there is no member, or two members differ in dataset, samples or number of rows.
pub fn vote(members: &[MemberProbabilities<'_>]) -> Result<Vec<[f64; CLASSES]>, VoteError> {
    let mut members = members.to_vec();
    members.sort_by_key(|member| member.job);
    let (first, rest) = members.split_first().ok_or(VoteError::Empty)?;
    rest.iter().try_for_each(|other| comparable(first, other))?;
    members.dedup_by_key(|member| member.job);

    let mut mean = vec![[0.0; CLASSES]; members[0].probabilities.len()];
    for member in &members {
        for (sum, row) in mean.iter_mut().zip(member.probabilities) {
            sum.iter_mut().zip(row).for_each(|(sum, p)| *sum += f64::from(*p));
        }
    }
    mean.iter_mut().flatten().for_each(|sum| *sum /= members.len() as f64);
    Ok(mean)
}

/// Score of a vote against the labels of its samples; the lowest class index wins a tie. `None` where no label is
/// known.
pub fn score(mean: &[[f64; CLASSES]], samples: &SampleList) -> Option<Score> {
    let pairs = samples.labels.iter().zip(mean);
    let confusion = Confusion::from_pairs(
        pairs.filter_map(|(label, row)| label.map(|class| (usize::from(class), most_probable(row)))),
    );
    (confusion.total() > 0).then(|| confusion.into())
}

/// The class with the highest probability; the lowest index wins a tie.
pub fn most_probable(row: &[f64; CLASSES]) -> usize {
    (1..CLASSES).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

fn comparable(a: &MemberProbabilities<'_>, b: &MemberProbabilities<'_>) -> Result<(), VoteError> {
    if a.dataset_digest != b.dataset_digest {
        return Err(VoteError::Datasets(a.job, b.job));
    }
    if a.samples_digest != b.samples_digest {
        return Err(VoteError::Samples(a.job, b.job));
    }
    let (rows_a, rows_b) = (a.probabilities.len(), b.probabilities.len());
    if rows_a != rows_b {
        return Err(VoteError::Rows(a.job, rows_a, b.job, rows_b));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn member(job: u128, probabilities: &[[f32; CLASSES]]) -> MemberProbabilities<'_> {
        let job = JobId::new(Uuid::from_u128(job));
        MemberProbabilities { job, dataset_digest: "d", samples_digest: "s", probabilities }
    }

    fn list(labels: &[u8]) -> SampleList {
        let ids = (0..labels.len()).map(|i| i.to_string()).collect();
        SampleList { ids, labels: labels.iter().copied().map(Some).collect() }
    }

    #[test]
    fn a_sure_minority_outvotes_an_unsure_majority() {
        // The point of soft voting: two members lean to class 1, one is sure of class 0.
        let unsure = [[0.4, 0.6, 0.0, 0.0, 0.0, 0.0]];
        let sure = [[0.95, 0.05, 0.0, 0.0, 0.0, 0.0]];
        let mean = vote(&[member(1, &unsure), member(2, &unsure), member(3, &sure)]).unwrap();
        assert!((mean[0][0] - 1.75 / 3.0).abs() < 1e-7, "{mean:?}");
        assert_eq!(score(&mean, &list(&[0])).unwrap().confusion.counts[0][0], 1);
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        let (a, b) = ([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]);
        let mean = vote(&[member(1, &a), member(2, &b)]).unwrap();
        assert_eq!(score(&mean, &list(&[2])).unwrap().confusion.counts[2][2], 1);
        assert_eq!(score(&mean, &list(&[4])).unwrap().confusion.counts[4][2], 1);
    }

    #[test]
    fn what_does_not_belong_together_is_refused_by_name() {
        let (one, two) = ([[0.5; CLASSES]], [[0.5; CLASSES]; 2]);
        let (a, b) = (member(1, &one), member(2, &one));
        assert_eq!(vote(&[]), Err(VoteError::Empty));
        let other = MemberProbabilities { dataset_digest: "e", ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Datasets(a.job, b.job)));
        let other = MemberProbabilities { samples_digest: "t", ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Samples(a.job, b.job)));
        let other = MemberProbabilities { probabilities: &two, ..b };
        assert_eq!(vote(&[a, other]), Err(VoteError::Rows(a.job, 1, b.job, 2)));
        let error = vote(&[a, MemberProbabilities { samples_digest: "t", ..b }]).unwrap_err().to_string();
        assert!(error.contains(&a.job.to_string()) && error.contains(&b.job.to_string()), "{error}");
    }

    #[test]
    fn unlabelled_samples_are_not_scored() {
        let mean = vote(&[member(1, &[[0.5; CLASSES]; 2])]).unwrap();
        let half = SampleList { ids: vec!["a".into(), "b".into()], labels: vec![Some(0), None] };
        assert_eq!(score(&mean, &half).unwrap().confusion.total(), 1);
        let none = SampleList { ids: vec!["a".into(), "b".into()], labels: vec![None, None] };
        assert_eq!(score(&mean, &none), None);
    }

    fn matrices() -> impl Strategy<Value = Vec<Vec<[f32; CLASSES]>>> {
        (1usize..6, 1usize..8).prop_flat_map(|(members, rows)| {
            let row = prop::array::uniform6(0.0f32..1.0);
            prop::collection::vec(prop::collection::vec(row, rows), members)
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
        fn equal_members_vote_as_one(rows in prop::collection::vec(prop::array::uniform6(0.0f32..1.0), 1..8), copies in 1u128..6) {
            let members: Vec<_> = (0..copies).map(|job| member(job, &rows)).collect();
            for (mean, row) in vote(&members).unwrap().iter().zip(&rows) {
                prop_assert_eq!(mean.map(|p| (p as f32).to_bits()), row.map(f32::to_bits));
            }
        }

        #[test]
        fn the_mean_lies_between_the_members(matrices in matrices()) {
            let members: Vec<_> = (1..).zip(&matrices).map(|(job, rows)| member(job, rows)).collect();
            for (i, row) in vote(&members).unwrap().iter().enumerate() {
                for class in 0..CLASSES {
                    let member = |rows: &Vec<[f32; CLASSES]>| f64::from(rows[i][class]);
                    let low = matrices.iter().map(member).fold(f64::INFINITY, f64::min);
                    let high = matrices.iter().map(member).fold(0.0, f64::max);
                    prop_assert!(row[class] >= low - 1e-12 && row[class] <= high + 1e-12);
                }
            }
        }
    }
}
