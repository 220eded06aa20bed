//! What earlier workers left in their spools is read: claims and checkpoints of version 1, results of version 2.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shared::mtl::MtlSpec;
use shared::result::MODEL;

use super::*;

/// The job of these files. Its id is from before there were other trainers.
const JOB: &str = "336cf4d8-488a-5d90-96a1-8749a3054793";

const CLAIM: &str = r#"{"v":1,"order":{"v":4,"job":"336cf4d8-488a-5d90-96a1-8749a3054793","spec":{
    "backbone":"vggface2_resnet50","emotion_backbone":"vggface2_resnet50","width":64,"blocks":null,
    "mobilevitv2_width":2.0,"mobilevitv2_depths":null,"heads":4,"head_fusion":"log_softmax",
    "shared_statistics":"shared","augmentation":"mixaug","alpha":0.1,"class_weights":"off","affinity_labels":"soft",
    "mixaug_terms":"real","affinity_weight":1.0,"partition_weight":1.0,"landmark_weight":1.0,"image_size":224,
    "basic_augmentation":true,"basic_off":"all","augmentation_draw":"image","jitter_brightness":0.5,
    "jitter_contrast":0.5,"jitter_saturation":0.5,"jitter_hue":0.5,"flip":0.5,"affine":0.7,"affine_degrees":20.0,
    "affine_translate":0.2,"affine_scale":0.8,"erasing":0.5,"normalization":"imagenet","batch_size":128,
    "evaluation_batch_size":null,"epochs":12,"learning_rate":0.0001,"lr_decay":0.6,"weight_decay":0.0001,
    "adam_beta1":0.9,"adam_beta2":0.999,"adam_epsilon":1e-8,"seed":17,"cpu_threads":1,"subset_fraction":1.0,
    "subset_seed":0,"emotion_weights":null,"appearance_weights":null,"head_weights":null,"precision":"f32",
    "channels_last":false,"cudnn":"heuristic"},
    "dataset_digest":"d","trainer_revision":1,"checkpoint_every":"200 steps"},
    "admitted_nanos":1700000000000000001,"token":{"attempt":3,"owner":"w-00000001"},
    "device":{"device":"cpu","model":"m","memory":null,"uuid":null,"cpu_capability":"AVX2","threads":1,"host":"h"}}"#;

const EPOCH: &str = r#"{"epoch":1,"learning_rate":0.0001,
    "losses":{"cross_entropy":1.5,"affinity":0.25,"partition":0.5,"landmark":0.125},
    "validation":{"macro_f1":50.5,"per_class_f1":[1.0,2.0,3.0,4.0,5.0,288.0],"confusion":{"counts":[
    [1,0,0,0,0,0],[0,1,0,0,0,0],[0,0,1,0,0,0],[0,0,0,1,0,0],[0,0,0,0,1,0],[0,0,0,0,0,1]]}},
    "seconds":2.5,"memory":{"micro_batches":1,"device":null}}"#;

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), content).unwrap();
}

/// The folder of a job with an earlier claim.
fn folder(cache: &Path) -> PathBuf {
    let folder = cache.join(JOB);
    std::fs::create_dir_all(&folder).unwrap();
    write(&folder, "claim.json", CLAIM);
    folder
}

#[test]
fn a_claim_and_checkpoints_of_version_1_are_read() {
    let cache = tempfile::tempdir().unwrap();
    let folder = folder(cache.path());
    for (name, epoch, step, report) in [
        ("checkpoint-0000000001-0000000000", 1, 0, EPOCH),
        ("checkpoint-0000000001-0000000005", 1, 5, "null"),
    ] {
        let sha256 = hex_of(name.as_bytes());
        let facts =
            format!(r#"{{"v":1,"epoch":{epoch},"step":{step},"report":{report},"sha256":"{sha256}"}}"#);
        write(&folder, &format!("{name}.json"), facts);
        write(&folder, &format!("{name}.bin"), name);
    }
    let Content { claim, saved, finished_work } = Content::read(&folder).unwrap();
    assert_eq!((claim.order.job.to_string().as_str(), claim.token.attempt.0), (JOB, 3));
    assert_eq!(claim.order.content, MtlSpec::default().job("d"));
    assert_eq!(claim.order.content.id(), claim.order.job);
    assert_eq!(claim.order.execution.checkpoint_every.to_string(), "200 steps");
    assert_eq!(claim.admitted_nanos, 1_700_000_000_000_000_001);
    let [first, second] = &saved[..] else { panic!("{saved:?}") };
    let report = first.report.as_ref().unwrap();
    assert_eq!(
        (first.epoch, first.step, report.epoch, report.seconds.to_bits()),
        (1, 0, 1, 2.5_f64.to_bits())
    );
    assert_eq!(claim.order.execution.ranking.score(&report.metrics), Some(50.5));
    assert_eq!((second.epoch, second.step, &second.report), (1, 5, &None));
    assert!(finished_work.is_none());
    // It could be stored again, in the present layout.
    files::write_claim(&folder, &WorkClaim { v: WorkClaim::VERSION, ..claim.clone() }).unwrap();
    files::write_saved(&folder, first).unwrap();
    let again = Content::read(&folder).unwrap();
    assert_eq!((again.claim.order, again.saved), (claim.order, saved));
}

#[test]
fn a_result_of_version_2_is_read_with_its_files() {
    let cache = tempfile::tempdir().unwrap();
    let folder = folder(cache.path());
    let blob = |stem: &str, bytes: &str| {
        let sha256 = hex_of(bytes.as_bytes());
        write(&folder, &format!("result-{sha256}.bin"), bytes);
        format!(r#"{{"name":"{JOB}.{stem}","sha256":"{sha256}","size":{}}}"#, bytes.len())
    };
    let [validation, test, model] =
        [("validation", "one"), ("test", "two"), ("model", "three")].map(|(stem, bytes)| blob(stem, bytes));
    let device = r#"{"device":"cpu","model":"m","cpu_capability":"AVX2","threads":1,"host":"h"}"#;
    let result = format!(
        r#"{{"v":2,"job":"{JOB}","dataset_digest":"d","trainer_revision":1,"epochs":[{EPOCH}],"best_epoch":1,
        "validation":{{"probabilities":{validation},"samples_digest":"s","score":null}},
        "test":{{"probabilities":{test},"samples_digest":"t","score":null}},
        "model":{model},"train_seconds":2.5,"device":{device},"worker":"w-00000001","attempt":3}}"#
    );
    write(&folder, "result.json", result);
    let FinishedWork { result, blobs } = Content::read(&folder).unwrap().finished_work.unwrap();
    assert_eq!((result.job.to_string().as_str(), result.best_epoch), (JOB, Some(1)));
    assert_eq!(result.history.len(), 1);
    assert_eq!(result.inputs.dataset.as_deref(), Some("d"));
    let contents: Vec<&[u8]> = blobs.iter().map(|(_, bytes)| bytes.as_ref()).collect();
    assert_eq!(contents, [b"two".as_slice(), b"one", b"three"], "test, validation, and the artifacts");
    assert_eq!(result.artifacts[MODEL], blobs[2].0);
}
