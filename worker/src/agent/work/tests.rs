//! What cannot be ranked, stored or read again is refused with a sentence.

use shared::ids::{Attempt, WorkerId};
use shared::job::{Inputs, Job};
use shared::metrics::Goal;
use shared::predictions::from_npy;
use shared::protocol::{CheckpointEvery, Execution};
use shared::result::{MODEL, VALIDATION};
use shared::settings::Settings;
use uuid::Uuid;

use super::*;

fn ranking() -> Ranking {
    Ranking { metric: "accuracy".to_owned(), goal: Goal::Max }
}

fn claim() -> WorkClaim {
    let trainer = shared::empty::trainer();
    let content = Job { trainer, settings: Settings::new(), inputs: Inputs::default() };
    let execution = Execution::new(CheckpointEvery::Epoch, ranking());
    let device = DeviceRecord {
        device: "cpu".to_owned(),
        model: "m".to_owned(),
        memory: None,
        uuid: None,
        cpu_capability: "none".to_owned(),
        threads: 1,
        host: "h".to_owned(),
    };
    WorkClaim {
        v: WorkClaim::VERSION,
        order: JobOrder::new(content, execution),
        admitted_nanos: 1,
        token: Token { attempt: Attempt(2), owner: WorkerId::new("w", Uuid::nil()) },
        device,
    }
}

fn saved(metrics: Metrics) -> Saved {
    let report = Some(Point { epoch: 3, step: 0, seconds: 1.0, metrics });
    Saved { epoch: 3, step: 0, report, checkpoint: Bytes::new() }
}

/// Predictions of two classes for three samples, whose list is their own.
fn predictions() -> FinishedPredictions {
    FinishedPredictions {
        probabilities: Matrix::new(2, vec![0.9, 0.1, 0.4, 0.6, 0.5, 0.5]).unwrap(),
        samples: SampleList {
            ids: ["a", "b", "c"].map(str::to_owned).into(),
            labels: vec![Some(0), Some(1), None],
        },
        own_samples: true,
    }
}

fn with_predictions(name: &str, predictions: FinishedPredictions) -> Finished {
    Finished { predictions: [(name.to_owned(), predictions)].into(), ..Finished::default() }
}

fn with_artifacts(names: impl IntoIterator<Item = String>) -> Finished {
    let artifacts = names.into_iter().map(|name| (name, b"weights".to_vec())).collect();
    Finished { artifacts, ..Finished::default() }
}

#[test]
fn a_report_needs_a_finite_metric_that_ranks() {
    let report = |value: f64| saved(Metrics::default().with("accuracy", value).with("loss", f64::NAN));
    assert_eq!(report(0.5).check(&ranking()), Ok(()));
    assert_eq!(
        Saved { report: None, ..report(f64::NAN) }.check(&ranking()),
        Ok(()),
        "there is nothing to check"
    );
    let refused = |saved: Saved| saved.check(&ranking()).unwrap_err();
    insta::assert_snapshot!(refused(report(f64::NAN)), @"the report of epoch 3 was refused: its `accuracy` is NaN, so the job cannot be ranked");
    insta::assert_snapshot!(refused(report(f64::INFINITY)), @"the report of epoch 3 was refused: its `accuracy` is inf, so the job cannot be ranked");
    insta::assert_snapshot!(refused(saved(Metrics::default())), @"the report of epoch 3 was refused: it has no `accuracy`, the metric that ranks jobs");
    let named: Metrics = serde_json::from_str(r#"{"accuracy":1.0,"../loss":2.0}"#).unwrap();
    assert!(refused(saved(named)).contains("cannot be the name of a metric"));
}

#[test]
fn a_result_points_to_all_its_files() {
    let finished = Finished { best_epoch: None, ..with_predictions(VALIDATION, predictions()) };
    let finished = Finished { artifacts: with_artifacts([MODEL.to_owned()]).artifacts, ..finished };
    let FinishedWork { result, blobs } = FinishedWork::of(&claim(), finished).unwrap();
    let stored = &result.predictions[VALIDATION];
    assert_eq!(stored.macro_f1, Some(100.0));
    let bytes = |blob: &BlobRef| blobs.iter().find(|(known, _)| known == blob).unwrap().1.clone();
    assert_eq!(from_npy(&bytes(&stored.probabilities)).unwrap(), predictions().probabilities);
    let list = String::from_utf8(bytes(stored.samples.as_ref().unwrap()).into()).unwrap();
    assert_eq!(SampleList::from_csv(&list).unwrap(), predictions().samples);
    assert_eq!(stored.samples_digest, predictions().samples.digest());
    assert_eq!(bytes(result.model().unwrap()), "weights");
    let stems: Vec<String> =
        blobs.iter().map(|(blob, _)| blob.name.rsplit_once('.').unwrap().0.to_owned()).collect();
    let expected = ["validation.samples", "validation", "model"].map(|stem| format!("{}.{stem}", result.job));
    assert_eq!(stems, expected);
    assert_eq!(result.blobs().count(), blobs.len());

    let of_dataset = FinishedPredictions { own_samples: false, ..predictions() };
    let work = FinishedWork::of(&claim(), with_predictions(VALIDATION, of_dataset)).unwrap();
    assert_eq!((&work.result.predictions[VALIDATION].samples, work.blobs.len()), (&None, 1));
}

#[test]
fn a_result_that_cannot_be_stored_or_read_is_refused_with_a_sentence() {
    let refused = |finished: Finished| FinishedWork::of(&claim(), finished).unwrap_err();
    let changed = |change: fn(&mut FinishedPredictions)| {
        let mut split = predictions();
        change(&mut split);
        refused(with_predictions("test", split))
    };
    insta::assert_snapshot!(refused(with_artifacts(["../x".to_owned()])), @r#"the result was refused: "../x" cannot be the name of a file"#);
    insta::assert_snapshot!(refused(with_predictions("a b", predictions())), @r#"the result was refused: "a b" cannot be the name of a file"#);
    insta::assert_snapshot!(refused(with_artifacts((0..65).map(|n| format!("f{n}")))), @"the result was refused: it has more than 64 files");
    insta::assert_snapshot!(refused(Finished { best_epoch: Some(2), ..Finished::default() }), @"the result was refused: it has no epoch 2, which it calls its best");
    insta::assert_snapshot!(changed(|split| split.samples.ids.truncate(2)), @"the result was refused: the predictions `test` have 3 rows for 2 samples with 3 labels");
    insta::assert_snapshot!(changed(|split| split.samples.ids[1] = "b\nc".to_owned()), @"the result was refused: the predictions `test` have sample ids or labels that cannot be stored");
    insta::assert_snapshot!(changed(|split| split.samples.labels[1] = Some(u32::MAX)), @"the result was refused: the predictions `test` have sample ids or labels that cannot be stored");
    let no_number = |split: &mut FinishedPredictions| {
        split.probabilities = Matrix::new(2, vec![0.5, f32::NAN, 0.5, 0.5, 0.5, 0.5]).unwrap();
    };
    insta::assert_snapshot!(changed(no_number), @"the result was refused: the predictions `test` contain NaN as a probability");
}

#[test]
fn a_file_that_the_server_would_not_take_is_refused() {
    let within = |finished: Finished, largest| FinishedWork::within(&claim(), finished, largest);
    assert!(within(with_artifacts([MODEL.to_owned()]), 7).is_ok());
    insta::assert_snapshot!(within(with_artifacts([MODEL.to_owned()]), 6).unwrap_err(), @"`model` has 7 bytes, but at most 6 are allowed");
    let split = FinishedPredictions { own_samples: false, ..predictions() };
    insta::assert_snapshot!(within(with_predictions(VALIDATION, split), 100).unwrap_err(), @"`validation` has 152 bytes, but at most 100 are allowed");
}
