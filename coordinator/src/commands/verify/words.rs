//! What `ferry verify` says of a job that was trained again: as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use shared::books::Checkpoint;
use shared::plural::count;

use orchestrator::service::Verified;
use orchestrator::verification::{Changed, Circumstances, Grade, Unequal};

/// How many differences are shown as text, and as JSON.
const SHOWN: usize = 10;
const LISTED: usize = 1000;

/// `value` says which job it is.
pub(super) fn in_json(mut value: Value, verified: &Verified, grade: Grade) -> Value {
    let Verified { section, comparison, then, now, notes_then, notes_now } = verified;
    let (grade, largest) = match grade {
        Grade::BitExact => ("bit_exact", 0.0),
        Grade::WithinEpsilon { largest } => ("within_epsilon", largest),
        Grade::NotReproduced { largest } => ("not_reproduced", largest),
    };
    let finite = |number: f64| number.is_finite().then_some(number);
    let differences = comparison.differences.iter().take(LISTED).map(|unequal| {
        let mut value = json!(unequal);
        value["difference"] = json!(finite(unequal.difference()));
        value
    });
    let from =
        section.from.as_ref().map(|Checkpoint { epoch, step, .. }| json!({ "epoch": epoch, "step": step }));
    value["grade"] = json!(grade);
    value["largest_difference"] = json!(finite(largest));
    value["from"] = json!(from);
    value["until"] = json!(section.until);
    value["to_the_end"] = json!(section.to_the_end);
    value["numbers"] = json!(comparison.numbers);
    value["unequal"] = json!(comparison.unequal);
    value["differences"] = differences.collect();
    value["changes"] = json!(then.changes(now));
    value["then"] = circumstances(then, notes_then);
    value["now"] = circumstances(now, notes_now);
    value
}

fn circumstances(Circumstances { trainer, device, software }: &Circumstances, notes: &[String]) -> Value {
    json!({ "trainer": trainer, "device": device, "software": software, "notes": notes })
}

/// `of` names the job.
pub(super) fn in_words(of: &str, verified: &Verified, grade: Grade, epsilon: f64) -> String {
    let Verified { section, comparison, then, now, notes_then, notes_now } = verified;
    let end = if section.to_the_end { ", to its end" } else { "" };
    let mut text = format!("{of}, trained again {section}{end}\n");
    let (numbers, unequal) = (count(comparison.numbers, "number"), comparison.unequal);
    let size = |largest: f64| {
        if largest.is_finite() { format!("{largest:.2e}") } else { "not a number".to_owned() }
    };
    // Writing to a string cannot fail.
    let _ = match grade {
        Grade::BitExact => writeln!(text, "BIT-EXACT: {numbers}, the same bits then and now"),
        Grade::WithinEpsilon { largest } => writeln!(
            text,
            "WITHIN EPSILON: {unequal} of {numbers} have other bits; the largest difference is {}, and {epsilon} is \
             allowed",
            size(largest)
        ),
        Grade::NotReproduced { largest } => writeln!(
            text,
            "NOT REPRODUCED: {unequal} of {numbers} have other bits; the largest difference is {}, and {epsilon} is \
             allowed",
            size(largest)
        ),
    };
    differences(&mut text, &comparison.differences);
    let is_exact = match grade {
        Grade::BitExact => true,
        Grade::WithinEpsilon { .. } | Grade::NotReproduced { .. } => false,
    };
    if !is_exact {
        reasons(&mut text, &then.changes(now));
        for (when, note) in
            notes_then.iter().map(|note| ("then", note)).chain(notes_now.iter().map(|note| ("now", note)))
        {
            let _ = writeln!(text, "  {when}: {note}");
        }
    }
    text
}

/// A line for each difference, the largest first.
fn differences(text: &mut String, differences: &[Unequal]) {
    let mut sorted: Vec<&Unequal> = differences.iter().collect();
    sorted.sort_by(|a, b| b.difference().total_cmp(&a.difference()));
    for unequal in sorted.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", difference(unequal));
    }
    if sorted.len() > SHOWN {
        let _ = writeln!(text, "  … and {} more (--json lists them)", sorted.len() - SHOWN);
    }
}

fn difference(unequal: &Unequal) -> String {
    let value = |value: &Option<f64>| value.map_or_else(|| "missing".to_owned(), |value| value.to_string());
    let size = |size: &Option<(usize, usize)>| {
        size.map_or_else(|| "missing".to_owned(), |(rows, classes)| format!("{rows} × {classes}"))
    };
    match unequal {
        Unequal::Report { epoch, step, metric, then, now } => {
            let step = if *step == 0 { String::new() } else { format!(" and {step} steps") };
            format!("epoch {epoch}{step}, {metric}: {} then, {} now", value(then), value(now))
        }
        Unequal::Result { metric, then, now } => {
            format!("result, {metric}: {} then, {} now", value(then), value(now))
        }
        Unequal::Prediction { predictions, row, class, then, now } => {
            format!("{predictions}, most in row {row}, class {class} (from 0): {then} then, {now} now")
        }
        Unequal::Size { predictions, then, now } => {
            format!("{predictions}, rows × classes: {} then, {} now", size(then), size(now))
        }
    }
}

/// What is different now.
fn reasons(text: &mut String, changes: &[Changed]) {
    if changes.is_empty() {
        text.push_str("trainer, device, CPU capability, threads and versions are the same as then\n");
        return;
    }
    text.push_str("what may be why:\n");
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    for Changed { what, then, now } in changes {
        let _ = writeln!(text, "  {what}: {} then, {} now", value(then), value(now));
    }
}

#[cfg(test)]
mod tests {
    use orchestrator::verification::{Comparison, Section};
    use shared::job::{Kind, TrainerId};

    use super::*;

    fn verified(differences: Vec<Unequal>) -> Verified {
        let trainer = |revision| TrainerId { kind: Kind::new("empty").unwrap(), revision };
        let circumstances =
            |revision| Circumstances { trainer: trainer(revision), device: None, software: None };
        Verified {
            section: Section { from: None, until: 2, to_the_end: true },
            comparison: Comparison { numbers: 40, unequal: differences.len(), differences },
            then: circumstances(1),
            now: circumstances(2),
            notes_then: Vec::new(),
            notes_now: vec!["a batch did not fit".to_owned()],
        }
    }

    fn report(then: f64, now: Option<f64>) -> Unequal {
        Unequal::Report { epoch: 2, step: 0, metric: "loss".to_owned(), then: Some(then), now }
    }

    fn words(differences: Vec<Unequal>) -> String {
        let verified = verified(differences);
        in_words("job 1f (all)", &verified, verified.comparison.grade(0.01), 0.01)
    }

    #[test]
    fn the_grade_is_told_first_and_what_may_be_why_last() {
        insta::assert_snapshot!(words(Vec::new()), @r"
        job 1f (all), trained again from the start, 2 epochs, to its end
        BIT-EXACT: 40 numbers, the same bits then and now
        ");
        let small = words(vec![report(0.5, Some(0.501))]);
        assert!(
            small.contains(
                "\nWITHIN EPSILON: 1 of 40 numbers have other bits; the largest difference is 1.00e-3"
            ),
            "{small}"
        );
        let large = words(vec![report(0.5, Some(0.501)), report(0.5, Some(0.25)), report(0.5, None)]);
        let lines: Vec<&str> = large.lines().collect();
        assert_eq!(
            lines[1],
            "NOT REPRODUCED: 3 of 40 numbers have other bits; the largest difference is not a number, and 0.01 is \
             allowed"
        );
        assert_eq!(
            lines[2..5],
            [
                "  epoch 2, loss: 0.5 then, missing now",
                "  epoch 2, loss: 0.5 then, 0.25 now",
                "  epoch 2, loss: 0.5 then, 0.501 now",
            ]
        );
        assert!(large.contains("  trainer: empty (revision 1) then, empty (revision 2) now\n"), "{large}");
        assert!(large.contains("  libtorch: not known then, not known now\n"), "{large}");
        assert!(large.ends_with("  now: a batch did not fit\n"), "{large}");
    }

    #[test]
    fn what_has_no_size_is_null_in_json() {
        let verified = verified(vec![report(0.5, None)]);
        let value = in_json(json!({ "job": "1f" }), &verified, verified.comparison.grade(0.01));
        assert_eq!((&value["grade"], &value["largest_difference"]), (&json!("not_reproduced"), &Value::Null));
        let difference = &value["differences"][0];
        assert_eq!((&difference["of"], &difference["difference"]), (&json!("report"), &Value::Null));
        assert_eq!(value["from"], Value::Null);
    }
}
