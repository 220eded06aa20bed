//! Joins predictions with labels, and lists what has no counterpart.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::predicted::Classified;

/// Two tables joined by the images' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// (true class, predicted class) of each image that has both, sorted by name, so the order of the lines does not
    /// matter.
    #[serde(skip)]
    pub pairs: Vec<(usize, usize)>,
    /// Labelled images without a prediction.
    pub missing: Vec<String>,
    /// Predicted images that are not in the labels.
    pub extra: Vec<String>,
    /// Images that a table lists more than once: none of their lines is used.
    pub duplicate: Vec<String>,
    /// Images that are in the labels without a class.
    pub unlabelled: usize,
}

impl Joined {
    /// True when every labelled image has one prediction and nothing is left over.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.duplicate.is_empty()
    }
}

/// Joins two tables. A prediction without a class counts as missing.
pub fn join(predictions: &[Classified], labels: &[Classified]) -> Joined {
    let mut images: BTreeMap<&str, [Vec<Option<usize>>; 2]> = BTreeMap::new();
    for (table, rows) in [labels, predictions].into_iter().enumerate() {
        for row in rows {
            images.entry(&row.image).or_default()[table].push(row.class);
        }
    }
    let mut joined =
        Joined { pairs: vec![], missing: vec![], extra: vec![], duplicate: vec![], unlabelled: 0 };
    for (image, [label, prediction]) in images {
        match (&label[..], &prediction[..]) {
            ([_, _, ..], _) | (_, [_, _, ..]) => joined.duplicate.push(image.to_owned()),
            ([Some(truth)], [Some(class)]) => joined.pairs.push((*truth, *class)),
            ([Some(_)], [None] | []) => joined.missing.push(image.to_owned()),
            ([None], _) => joined.unlabelled += 1,
            ([], _) => joined.extra.push(image.to_owned()),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, Option<usize>)]) -> Vec<Classified> {
        rows.iter()
            .map(|(image, class)| Classified { image: (*image).into(), class: *class, line: 0 })
            .collect()
    }

    #[test]
    fn what_belongs_together_is_joined_and_the_rest_is_named() {
        let labels = rows(&[
            ("b", Some(1)),
            ("a", Some(0)),
            ("lost", Some(2)),
            ("empty", Some(3)),
            ("open", None),
            ("twice", Some(4)),
            ("twice", Some(4)),
        ]);
        let predictions = rows(&[
            ("a", Some(5)),
            ("b", Some(1)),
            ("empty", None),
            ("open", Some(1)),
            ("twice", Some(4)),
            ("new", Some(0)),
            ("again", Some(0)),
            ("again", Some(1)),
        ]);
        let joined = join(&predictions, &labels);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            joined,
            Joined {
                pairs: vec![(0, 5), (1, 1)],
                missing: names(&["empty", "lost"]),
                extra: names(&["new"]),
                duplicate: names(&["again", "twice"]),
                unlabelled: 1,
            }
        );
        assert!(!joined.is_whole());
        assert!(join(&rows(&[("x", Some(1))]), &rows(&[("x", Some(1))])).is_whole());
    }
}
