//! Checkpoints and models: raw bytes, and files with a valid digest and arbitrary metadata.
#![no_main]

use std::collections::BTreeMap;

use ferry_fuzz::input;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shared::mtl::MtlSpec;
use shared::weights::Provenance;
use tch::{Kind, Tensor};
use worker::train::ModelRecord;
use worker::archive::{self, Archive, Facts, Tensors};
use worker::train::checkpoint::{Checkpoint, Identity, Layout};

fuzz_target!(|data: &[u8]| {
    whole(data);
    let [odd, facts] = input::parts(data);
    let Ok(Value::Object(facts)) = serde_json::from_slice(facts) else { return };
    // Otherwise no input would ever get past the digest.
    whole(&archive::write(&tensors(odd), facts).expect("tensors and facts make a file"));
});

fn whole(file: &[u8]) {
    let (identity, layout) = expected();
    if let Ok(read) = Checkpoint::read(file, &identity, &layout) {
        let written = read.write(&identity).expect("what was read is written");
        let back = Checkpoint::read(&written, &identity, &layout).expect("what was written is read");
        let best = |checkpoint: &Checkpoint| checkpoint.best.as_ref().map(|best| best.epoch);
        assert_eq!((best(&back), &back.reports), (best(&read), &read.reports));
        assert_eq!(back.partial, read.partial);
        assert_eq!(back.learning_rate.to_bits(), read.learning_rate.to_bits());
    }
    if let Ok(archive) = Archive::open(file) {
        model(archive.facts());
    }
    let _provenance = Provenance::of_safetensors(file);
}

fn model(facts: &Facts) {
    if let Ok(record) = serde_json::from_value::<ModelRecord>(facts.clone().into())
        && let Ok(spec) = record.spec()
    {
        assert_eq!(MtlSpec::of(&spec.canonical()).expect("settings in range").id(""), spec.id(""));
    }
}

/// The training that the checkpoint must fit: a network of one small matrix, two validation samples.
fn expected() -> (Identity, Layout) {
    let shapes = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), vec![2, 3])).collect();
    let layout =
        Layout { weights: shapes(&["w"]), moments: shapes(&["exp_avg.w", "exp_avg_sq.w"]), samples: 2 };
    (Identity::new(&MtlSpec::default(), "d"), layout)
}

/// The tensors of a valid checkpoint; each byte of `odd` changes or removes one of them.
fn tensors(odd: &[u8]) -> Tensors {
    let named = |(name, shape): (&str, [i64; 2])| {
        (name.to_owned(), Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu)))
    };
    let weights = ["model.w", "best.w", "exp_avg.w", "exp_avg_sq.w"].map(|name| (name, [2, 3]));
    let mut tensors: BTreeMap<_, _> =
        weights.into_iter().chain([("best_probabilities", [2, 6])]).map(named).collect();
    for byte in odd.iter().take(4) {
        let Some(name) = tensors.keys().nth(usize::from(byte >> 4)).cloned() else { continue };
        let shape = [i64::from(byte & 3), i64::from(byte >> 2 & 3)];
        if shape == [3, 3] {
            tensors.remove(&name);
            continue;
        }
        tensors.insert(name, Tensor::ones(shape, (Kind::Float, tch::Device::Cpu)));
    }
    tensors
}
