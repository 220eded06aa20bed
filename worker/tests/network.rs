//! Small versions of the whole network: every backbone and size, gradient flow, evaluation, and two passes against three.

#![cfg(test)] // Tells lints that the functions below belong to tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use shared::mtl::network::{Backbone, NetworkSpec};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use worker::losses::mix::TWICE_MOMENTUM;
use worker::losses::{
    affinity, cross_entropy, landmark, mix_augment_cross_entropy, pair_cross_entropy, partition,
};
use worker::models::{Emotion, Mode, Mtl};

const BACKBONES: [Backbone; 4] =
    [Backbone::Vggface2Resnet50, Backbone::DinoResnet50, Backbone::Resnet18, Backbone::Mobilevitv2];

fn small(emotion_backbone: Backbone, backbone: Backbone) -> NetworkSpec {
    NetworkSpec {
        backbone,
        emotion_backbone,
        width: 8,
        blocks: Some([1; 4]),
        mobilevitv2_width: 0.25,
        mobilevitv2_depths: Some([1; 3]),
        ..NetworkSpec::default()
    }
}

fn build(spec: &NetworkSpec, kind: Kind) -> (VarStore, Mtl) {
    // libtorch has one random generator per process, and tests run in parallel.
    static GENERATOR: Mutex<()> = Mutex::new(());
    let mut store = VarStore::new(Device::Cpu);
    let network = {
        let _drawing = GENERATOR.lock();
        tch::manual_seed(17);
        Mtl::new(&store.root(), spec).unwrap()
    };
    if kind == Kind::Double {
        store.double();
    }
    (store, network)
}

fn wave(dims: &[i64], kind: Kind) -> Tensor {
    let count = dims.iter().product::<i64>();
    (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.37).sin().reshape(dims).to_kind(kind)
}

fn labels(labels: &[i64]) -> Tensor {
    Tensor::from_slice(labels)
}

/// Gradients by name of the variables that have one.
fn gradients(store: &VarStore) -> BTreeMap<String, Tensor> {
    let variables = store.variables().into_iter();
    let grads = variables.filter(|(_, variable)| variable.requires_grad() && variable.grad().defined());
    grads.map(|(name, variable)| (name, variable.grad())).collect()
}

/// Running statistics by name.
fn statistics(store: &VarStore) -> BTreeMap<String, Tensor> {
    let variables = store.variables().into_iter();
    variables
        .filter(|(name, _)| name.contains("running_"))
        .map(|(name, value)| (name, value.copy()))
        .collect()
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

#[test]
fn every_backbone_trains_at_every_small_size() {
    for emotion in [Backbone::Vggface2Resnet50, Backbone::DinoResnet50, Backbone::Resnet18] {
        for backbone in BACKBONES {
            let (store, network) = build(&small(emotion, backbone), Kind::Float);
            for size in [32, 48, 64] {
                let images = wave(&[2, 3, size, size], Kind::Float);
                let Emotion { logits, feature, heads } = network.emotion(&images, Mode::TRAIN);
                let points = network.landmarks(&images, Mode::TRAIN);
                assert_eq!((logits.size(), heads.size()), (vec![2, 6], vec![2, 4, 64]));
                assert_eq!((feature.size()[1], points.size()), (64, vec![2, 68, 2]));
                let loss = cross_entropy(&logits, &labels(&[1, 4]), None)
                    + affinity(&feature, network.centres(), &labels(&[1, 4]))
                    + partition(&heads)
                    + landmark(&points, &Tensor::zeros_like(&points));
                loss.backward();
                let gradients = gradients(&store);
                assert_eq!(gradients.len(), store.trainable_variables().len());
                for (name, gradient) in gradients {
                    assert!(largest(&gradient).is_finite(), "{emotion:?}, {backbone:?}, {size}: {name}");
                }
            }
        }
    }
}

#[test]
fn single_precision_trains_like_double() {
    for backbone in BACKBONES {
        let outputs = [Kind::Float, Kind::Double].map(|kind| {
            let (_, network) = build(&small(Backbone::Resnet18, backbone), kind);
            let images = wave(&[8, 3, 64, 64], kind);
            let logits = network.emotion(&images, Mode::TRAIN).logits;
            [logits, network.landmarks(&images, Mode::TRAIN)].map(|output| output.to_kind(Kind::Double))
        });
        let [single, double] = outputs;
        for (single, double) in single.iter().zip(&double) {
            assert!(largest(&(single - double)) < 1e-3 * largest(double), "{backbone:?}");
        }
    }
}

#[test]
fn each_loss_reaches_its_own_branch_and_the_shared_layers() {
    let spec = small(Backbone::DinoResnet50, Backbone::Vggface2Resnet50);
    let images = wave(&[4, 3, 32, 32], Kind::Float);
    let reached = |loss: &dyn Fn(&Mtl) -> Tensor| -> Vec<String> {
        let (store, network) = build(&spec, Kind::Float);
        loss(&network).backward();
        let mut tops: Vec<_> = gradients(&store)
            .iter()
            .filter(|(_, gradient)| largest(gradient) > 0.0)
            .filter_map(|(name, _)| name.split('.').next().map(str::to_owned))
            .collect();
        tops.dedup();
        tops
    };
    let expression = |network: &Mtl| {
        let logits = network.emotion(&images, Mode::TRAIN).logits;
        cross_entropy(&logits, &labels(&[0, 1, 2, 3]), None)
    };
    let points = |network: &Mtl| {
        let points = network.landmarks(&images, Mode::TRAIN);
        landmark(&points, &Tensor::zeros_like(&points))
    };
    assert_eq!(reached(&expression), ["emotion", "shared"]);
    assert_eq!(reached(&points), ["appearance", "shared"]);
    let centred = |network: &Mtl| {
        let feature = network.emotion(&images, Mode::TRAIN).feature;
        affinity(&feature, network.centres(), &labels(&[0, 1, 2, 3]))
    };
    assert_eq!(reached(&centred), ["affinity", "emotion"]);
}

#[test]
fn inference_sees_neither_the_batch_nor_the_appearance_branch() {
    for emotion in [Backbone::Vggface2Resnet50, Backbone::Resnet18] {
        let (store, network) = build(&small(emotion, Backbone::Mobilevitv2), Kind::Double);
        let images = wave(&[4, 3, 48, 48], Kind::Double);
        // Statistics that fit the weights, as after training.
        network.emotion(&images, Mode::Train { momentum: 1.0 });
        let logits = network.emotion(&images, Mode::Eval).logits;
        assert_eq!(network.emotion(&images, Mode::Eval).logits, logits);
        for index in 0..4 {
            let alone = network.emotion(&images.narrow(0, index, 1), Mode::Eval).logits;
            assert!(largest(&(alone - logits.narrow(0, index, 1))) < 1e-12 * largest(&logits));
        }
        for (name, mut variable) in store.variables() {
            if name.starts_with("appearance.") {
                let _ = tch::no_grad(|| variable.fill_(7.0));
            }
        }
        assert_eq!(network.emotion(&images, Mode::Eval).logits, logits);
    }
}

/// Loss, gradients and running statistics of one mix-augment step, in two passes or three.
fn mix_augment_step(start: &[u8], kind: Kind, passes: usize) -> (f64, [BTreeMap<String, Tensor>; 2]) {
    let (mut store, network) = build(&small(Backbone::Resnet18, Backbone::Resnet18), kind);
    store.load_from_stream(std::io::Cursor::new(start)).unwrap();
    if kind == Kind::Double {
        store.double();
    }
    let (first, partners) = (labels(&[0, 3, 5, 2, 1, 1]), labels(&[2, 0, 1, 5, 3, 4]));
    let second = first.index_select(0, &partners);
    let images = wave(&[6, 3, 32, 32], kind);
    let weights = wave(&[6], kind).abs() + 0.5;
    let lambda = 0.3;
    let mixed = worker::losses::mix::mix(&images, &partners, lambda);
    let logits = |images: &Tensor, momentum| network.emotion(images, Mode::Train { momentum }).logits;
    let loss = if passes == 2 {
        let (mixed, real) = (logits(&mixed, 0.1), logits(&images, TWICE_MOMENTUM));
        mix_augment_cross_entropy(&mixed, &real, [&first, &second], lambda, Some(&weights))
    } else {
        let virtual_loss = pair_cross_entropy(&logits(&mixed, 0.1), &first, &second, lambda, Some(&weights));
        let real = cross_entropy(&logits(&images, 0.1), &first, Some(&weights));
        let permuted = logits(&images.index_select(0, &partners), 0.1);
        virtual_loss + real + cross_entropy(&permuted, &second, Some(&weights))
    };
    loss.backward();
    (loss.double_value(&[]), [gradients(&store), statistics(&store)])
}

#[test]
fn two_passes_of_mix_augment_equal_three() {
    let (store, _) = build(&small(Backbone::Resnet18, Backbone::Resnet18), Kind::Float);
    let mut start = Vec::new();
    store.save_to_stream(&mut start).unwrap();
    for (kind, loss_bound, bound) in [(Kind::Double, 1e-12, 1e-12), (Kind::Float, 1e-5, 1e-5)] {
        let (two, two_maps) = mix_augment_step(&start, kind, 2);
        let (three, three_maps) = mix_augment_step(&start, kind, 3);
        assert!((two - three).abs() < loss_bound * three.abs());
        for (left, right) in two_maps.iter().zip(&three_maps) {
            assert_eq!(left.len(), right.len());
            let scale = right.values().map(largest).fold(0.0, f64::max);
            for (name, value) in left {
                let difference = largest(&(value - &right[name]));
                assert!(difference <= bound * scale, "{kind:?} {name}: {difference} of {scale}");
            }
        }
    }
}
