//! Problems of single files and rows, and how they are summed up for people.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shared::plural::count;
use shared::table;

/// Up to this many problems of a kind are shown one by one; more are summed up.
const SHOWN: usize = 3;

/// Something wrong with one file, or with a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Relative to the source if it is inside.
    pub file: PathBuf,
    /// A row of the file, or the landmark file that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub reason: String,
    pub consequence: Consequence,
    /// How many images the consequence is for.
    pub images: u64,
}

/// What a problem means for the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// The image is not in the pack.
    LeftOut,
    /// The validation or test image is in the pack without landmarks.
    NoLandmarks,
    /// The image is in the pack, but somebody should check it.
    Kept,
    /// A file, or a row of a table, that belongs to no image.
    Ignored,
}

impl Consequence {
    /// All consequences, the most serious first.
    pub const ALL: [Self; 4] = [Self::LeftOut, Self::NoLandmarks, Self::Kept, Self::Ignored];
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeftOut => "left out",
            Self::NoLandmarks => "without landmarks",
            Self::Kept => "kept",
            Self::Ignored => "ignored",
        })
    }
}

impl Problem {
    /// A problem of one image.
    pub(super) fn of_image(file: PathBuf, reason: Reason, consequence: Consequence) -> Self {
        Self { file, place: reason.place, reason: reason.text, consequence, images: 1 }
    }

    /// A file or row that is ignored.
    pub(super) fn ignored(file: PathBuf, reason: impl Into<Reason>) -> Self {
        let reason = reason.into();
        Self { file, place: reason.place, reason: reason.text, consequence: Consequence::Ignored, images: 0 }
    }

    /// The file, and the place in it.
    fn location(&self) -> String {
        let place = self.place.iter().map(|place| format!(": {place}"));
        std::iter::once(self.file.display().to_string()).chain(place).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.location(), self.reason, self.consequence)
    }
}

/// Why something cannot be used, without the file in which that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) place: Option<String>,
    pub(super) text: String,
}

impl<T: Into<String>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self { place: None, text: text.into() }
    }
}

/// Lines about problems: for each kind either one line per problem or, if there are many, one line for all.
pub fn summary(problems: &[Problem]) -> Vec<String> {
    let mut kinds: Vec<Vec<&Problem>> = Vec::new();
    let mut places = HashMap::new();
    for problem in problems {
        let kind = (problem.consequence, pattern(&problem.reason));
        let place = *places.entry(kind).or_insert(kinds.len());
        if place == kinds.len() {
            kinds.push(Vec::new());
        }
        kinds[place].push(problem);
    }
    kinds.iter().flat_map(|kind| lines(kind)).collect()
}

/// True if [`summary`] does not show each of `problems`.
pub fn is_summed_up(problems: &[Problem]) -> bool {
    summary(problems).len() < problems.len()
}

fn lines(kind: &[&Problem]) -> Vec<String> {
    if kind.len() <= SHOWN {
        return kind.iter().map(ToString::to_string).collect();
    }
    let first = kind[0];
    let reason = if kind.iter().all(|problem| problem.reason == first.reason) {
        first.reason.clone()
    } else {
        pattern(&first.reason)
    };
    let examples: Vec<String> = kind.iter().take(SHOWN).map(|problem| problem.location()).collect();
    vec![format!("{} times: {reason} ({}): {}, …", kind.len(), first.consequence, examples.join(", "))]
}

/// How many problems there are with each consequence: "5 problems: 3 images left out, 2 ignored".
pub fn totals(problems: &[Problem]) -> String {
    let of =
        |consequence: Consequence| problems.iter().filter(move |problem| problem.consequence == consequence);
    let parts = Consequence::ALL.into_iter().filter_map(|consequence| {
        let images: u64 = of(consequence).map(|problem| problem.images).sum();
        match consequence {
            Consequence::LeftOut | Consequence::NoLandmarks | Consequence::Kept => {
                (images > 0).then(|| format!("{} {consequence}", count(images as usize, "image")))
            }
            Consequence::Ignored => {
                let ignored = of(consequence).count();
                (ignored > 0).then(|| format!("{ignored} {consequence}"))
            }
        }
    });
    format!("{}: {}", count(problems.len(), "problem"), parts.collect::<Vec<_>>().join(", "))
}

/// All problems as a table.
pub fn to_csv(problems: &[Problem]) -> String {
    let header = ["file", "place", "reason", "consequence"].map(str::to_owned).to_vec();
    let row = |problem: &Problem| {
        let place = problem.place.clone().unwrap_or_default();
        let file = problem.file.display().to_string();
        vec![file, place, problem.reason.clone(), problem.consequence.to_string()]
    };
    table::write(&std::iter::once(header).chain(problems.iter().map(row)).collect::<Vec<_>>())
}

/// `reason` without numbers and quoted text: equal for problems of one kind.
fn pattern(reason: &str) -> String {
    let mut pattern = String::new();
    let mut quoted = false;
    for part in reason.split_inclusive('"') {
        if quoted {
            pattern.push_str("…\"");
        } else {
            for word in part.split_inclusive(' ') {
                if word.bytes().any(|byte| byte.is_ascii_digit()) || word.contains("NaN") {
                    let end =
                        word.len() - word.bytes().rev().take_while(|byte| b" ,:;)\"".contains(byte)).count();
                    let start = word.bytes().take_while(|byte| b"(\"".contains(byte)).count().min(end);
                    pattern.push_str(&word[..start]);
                    pattern.push('…');
                    pattern.push_str(&word[end..]);
                } else {
                    pattern.push_str(word);
                }
            }
        }
        quoted = !quoted;
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems() -> Vec<Problem> {
        let missing = |i| {
            Problem::of_image(
                format!("FEAR/{i}.jpg").into(),
                "it has no landmarks".into(),
                Consequence::LeftOut,
            )
        };
        let far = |i| {
            let place = Some(format!("landmarks FEAR/{i}.txt"));
            let text = format!("point {i} ({i}0.5, -7) lies far outside of the image");
            Problem::of_image(format!("val/{i}.jpg").into(), Reason { place, text }, Consequence::NoLandmarks)
        };
        let row = |i| {
            let reason =
                Reason { place: Some(format!("line {i}: \"x{i}\"")), text: "is not a test image".to_owned() };
            Problem::ignored("labels.csv".into(), reason)
        };
        (1..=5).map(missing).chain((1..=4).map(far)).chain((2..=3).map(row)).collect()
    }

    /// Case 14: repeated problems are one line with examples.
    #[test]
    fn repeated_problems_are_summed_up() {
        let problems = problems();
        insta::assert_snapshot!(summary(&problems).join("\n"), @r#"
        5 times: it has no landmarks (left out): FEAR/1.jpg, FEAR/2.jpg, FEAR/3.jpg, …
        4 times: point … (…, …) lies far outside of the image (without landmarks): val/1.jpg: landmarks FEAR/1.txt, val/2.jpg: landmarks FEAR/2.txt, val/3.jpg: landmarks FEAR/3.txt, …
        labels.csv: line 2: "x2": is not a test image (ignored)
        labels.csv: line 3: "x3": is not a test image (ignored)
        "#);
        insta::assert_snapshot!(totals(&problems), @"11 problems: 5 images left out, 4 images without landmarks, 2 ignored");
        assert!(is_summed_up(&problems) && !is_summed_up(&problems[..3]));
        assert_eq!(totals(&problems[..1]), "1 problem: 1 image left out");
        insta::assert_snapshot!(to_csv(&problems[8..10]), @r#"
        file,place,reason,consequence
        val/4.jpg,landmarks FEAR/4.txt,"point 4 (40.5, -7) lies far outside of the image",without landmarks
        labels.csv,"line 2: ""x2""",is not a test image,ignored
        "#);
    }

    #[test]
    fn reasons_of_a_kind_have_one_pattern() {
        for (reason, expected) in [
            ("67 lines of points instead of 68", "… lines of points instead of …"),
            ("point 0 is (NaN, 14.5), which is not finite", "point … is (…, …), which is not finite"),
            ("line 3: \"a b\" is not a number", "line …: \"…\" is not a number"),
            ("it has no landmarks", "it has no landmarks"),
        ] {
            assert_eq!(pattern(reason), expected);
        }
    }
}
