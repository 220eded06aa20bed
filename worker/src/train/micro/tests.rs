//! Micro-batches compared with whole batches.

use super::*;
use crate::golden::noise;
use crate::models::{Emotion, Mode, Mtl};
use crate::train::mixing::Mixing;
use serde_json::json;
use shared::mtl::MtlSpec;
use tch::nn::VarStore;

const SAMPLES: i64 = 12;

fn spec(changes: &[(&str, serde_json::Value)]) -> MtlSpec {
    let settings = [
        ("backbone", json!("resnet18")),
        ("emotion_backbone", json!("resnet18")),
        ("width", json!(4)),
        ("blocks", json!([1, 1, 1, 1])),
        ("heads", json!(2)),
        ("class_weights", json!("inverse_share")),
        ("mixaug_terms", json!("all")),
    ];
    let with =
        |spec: MtlSpec, (name, value): &(&str, serde_json::Value)| spec.with(name, value.clone()).unwrap();
    settings.iter().chain(changes).fold(MtlSpec::default(), with)
}

fn batch(kind: Kind) -> DeviceBatch {
    let labels: Vec<i64> = (0..SAMPLES).map(|sample| sample * sample % 6).collect();
    let image = |key| noise(key, &[SAMPLES, 3, 32, 32]).to_kind(kind) * 4.0;
    DeviceBatch {
        emotion: image(1),
        appearance: image(2),
        labels: Tensor::from_slice(&labels),
        landmarks: noise(3, &[SAMPLES, 68, 2]).to_kind(kind),
    }
}

/// A network that runs out of memory when a pass has more than `most` images.
struct Limited<N> {
    network: N,
    most: i64,
    /// Passes of either branch that ran out of memory.
    refused: std::cell::Cell<u32>,
}

impl<N> Limited<N> {
    /// Fails as libtorch does, with an allocation that is too large.
    fn fit(&self, images: &Tensor) {
        if images.size()[0] > self.most {
            self.refused.set(self.refused.get() + 1);
            drop(Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu)));
        }
    }
}

impl<N: Network> Network for Limited<N> {
    fn emotion(&self, images: &Tensor, mode: Mode) -> Emotion {
        let output = self.network.emotion(images, mode);
        self.fit(images);
        output
    }

    fn landmarks(&self, images: &Tensor, mode: Mode) -> Tensor {
        self.fit(images);
        self.network.landmarks(images, mode)
    }

    fn centres(&self) -> &Tensor {
        self.network.centres()
    }
}

/// The real network with its batch norms in evaluation mode, so that no sample affects another.
struct Held(Mtl);

impl Network for Held {
    fn emotion(&self, images: &Tensor, _: Mode) -> Emotion {
        self.0.emotion(images, Mode::Eval)
    }

    fn landmarks(&self, images: &Tensor, _: Mode) -> Tensor {
        self.0.landmarks(images, Mode::Eval)
    }

    fn centres(&self) -> &Tensor {
        self.0.centres()
    }
}

struct Bench {
    spec: MtlSpec,
    kind: Kind,
    variables: Variables,
    adam: Adam,
}

impl Bench {
    fn new(kind: Kind, changes: &[(&str, serde_json::Value)]) -> (Self, Mtl) {
        tch::manual_seed(3);
        Self::of(spec(changes), kind)
    }

    /// Another bench with the same weights. Drawing them again would depend on what other tests draw meanwhile.
    fn copy(&self) -> (Self, Mtl) {
        let (copy, network) = Self::of(self.spec.clone(), self.kind);
        copy.variables.set(&self.variables.copies().unwrap()).unwrap();
        (copy, network)
    }

    fn of(spec: MtlSpec, kind: Kind) -> (Self, Mtl) {
        let mut store = VarStore::new(Device::Cpu);
        let network = Mtl::new(&store.root(), &spec.network).unwrap();
        if kind == Kind::Double {
            store.double();
        }
        let variables = Variables::of(&store);
        let adam = Adam::new(&variables, &spec.training).unwrap();
        (Self { spec, kind, variables, adam }, network)
    }

    fn gradients(&self, network: &dyn Network) -> Result<Gradients, TrainError> {
        let labels = [0, 0, 0, 1, 2, 3, 4, 5];
        let objective = Objective::with_kind(&self.spec, &labels, Device::Cpu, self.kind).unwrap();
        let mixing = Mixing::draw(1, 2, 3, SAMPLES as usize, 1.0);
        let mut micro_batches = MicroBatches::new(&self.variables, Device::Cpu).unwrap();
        micro_batches.gradients(network, &objective, &self.adam, &batch(self.kind), &mixing)
    }
}

/// The largest difference between two gradients, relative to the largest entry of the same variable's gradient.
fn differ(left: &Gradients, right: &Gradients) -> f64 {
    let pairs = left.by_variable.iter().zip(&right.by_variable);
    let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
    let relative =
        |(left, right): (&Tensor, &Tensor)| largest(left - right) / largest(right.shallow_clone()).max(1e-12);
    pairs.map(relative).fold(0.0, f64::max)
}

fn limited<N>(network: N, most: i64) -> Limited<N> {
    Limited { network, most, refused: std::cell::Cell::new(0) }
}

#[test]
fn without_batch_norms_micro_batches_give_the_gradient_of_the_whole_batch() {
    for augmentation in ["none", "mixup", "mixaug"] {
        for (kind, bound) in [(Kind::Double, 1e-10), (Kind::Float, 1e-3)] {
            let (bench, network) = Bench::new(kind, &[("augmentation", json!(augmentation))]);
            let (copy, other) = bench.copy();
            let whole = bench.gradients(&Held(network)).unwrap();
            let cut = copy.gradients(&limited(Held(other), 4)).unwrap();
            assert_eq!((whole.micro_batches, cut.micro_batches), (1, 4), "{augmentation}");
            let differ = differ(&cut, &whole);
            assert!(differ < bound, "{augmentation} in {kind:?}: {differ:e}");
            let terms = (&cut.terms - &whole.terms).abs().max().double_value(&[]);
            assert!(terms < bound, "{augmentation} in {kind:?}: {terms:e}");
        }
    }
}

#[test]
fn with_batch_norms_micro_batches_give_another_gradient() {
    let (bench, network) = Bench::new(Kind::Double, &[]);
    let (copy, other) = bench.copy();
    let whole = bench.gradients(&network).unwrap();
    let cut = copy.gradients(&limited(other, 6)).unwrap();
    assert_eq!(cut.micro_batches, 2);
    let differ = differ(&cut, &whole);
    assert!(differ > 1e-3, "{differ:e}");
}

#[test]
fn a_pass_that_runs_out_of_memory_leaves_running_statistics_unchanged() {
    let (first, _) = Bench::new(Kind::Double, &[]);
    let moved = |most: i64| {
        let (bench, network) = first.copy();
        let limited = limited(network, most);
        bench.gradients(&limited).unwrap();
        (bench.variables.copies().unwrap(), limited.refused.get())
    };
    let (whole, never) = moved(SAMPLES);
    let (once, refused) = moved(SAMPLES / 2);
    assert_eq!((never, refused), (0, 1));
    // The micro-batches have different means at the first layer; together they average to the batch's mean.
    let mean =
        |copies: &crate::archive::Tensors| copies["appearance.features.bn1.running_mean"].shallow_clone();
    let (whole, once) = (mean(&whole), mean(&once));
    let step = whole.abs().max().double_value(&[]);
    assert!(step > 1e-3);
    // The two halves together have weight 0.1, but the second counts slightly more than the first.
    let differ = (whole - once).abs().max().double_value(&[]);
    assert!(differ < 0.1 * step, "{differ} of {step}");
}

#[test]
fn micro_batches_are_halved_down_to_two_samples() {
    let (bench, network) = Bench::new(Kind::Float, &[]);
    let tight = limited(network, 2);
    assert_eq!(bench.gradients(&tight).unwrap().micro_batches, 6);
    assert_eq!(tight.refused.get(), 3); // Of 12, 6 and 3 samples.
    let (bench, network) = Bench::new(Kind::Float, &[]);
    let before = bench.variables.copies().unwrap();
    let error = bench.gradients(&limited(network, 1)).unwrap_err();
    assert!(matches!(&error, TrainError::OutOfMemory { samples: 2, .. }), "{error}");
    assert!(error.to_string().contains("image_size"), "{error}");
    let weights = bench.variables.copies().unwrap();
    assert!(bench.adam.names().all(|name| weights[name] == before[name]));
}

#[test]
fn other_panics_are_passed_on() {
    struct Broken(Tensor);
    impl Network for Broken {
        fn emotion(&self, _: &Tensor, _: Mode) -> Emotion {
            panic!("a mistake of ours")
        }

        fn landmarks(&self, _: &Tensor, _: Mode) -> Tensor {
            self.0.shallow_clone()
        }

        fn centres(&self) -> &Tensor {
            &self.0
        }
    }
    let (bench, _) = Bench::new(Kind::Float, &[]);
    let broken = Broken(Tensor::zeros([6, 32], (Kind::Float, Device::Cpu)));
    let panic = catch_unwind(AssertUnwindSafe(|| bench.gradients(&broken))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a mistake of ours"));
}

#[test]
fn slices_cover_the_batch() {
    assert_eq!(slices(12, 4), [(0, 3), (3, 3), (6, 3), (9, 3)]);
    assert_eq!(slices(7, 3), [(0, 3), (3, 2), (5, 2)]);
    assert_eq!(slices(2, 1), [(0, 2)]);
}
