//! `ferry-worker export`: a trained model as TorchScript, for programs that use libtorch but not Ferry.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use shared::expression::CLASSES;
use shared::stdio;
use tch::{CModule, Device, Kind, Tensor};

use super::output::write;
use crate::models::Mode;
use crate::predict::{Member, Model};

/// Options of `ferry-worker export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry-worker export model.safetensors -o model.pt\n\n\
    The module's forward takes normalised images [B, 3, S, S] (f32; S and the normalisation are printed) and returns \
    probabilities [B, 6]. Load it with torch.jit.load, torch::jit::load or tch::CModule::load.")]
pub struct ExportArgs {
    /// A model that a sweep trained (safetensors).
    model: PathBuf,
    /// The TorchScript file to write; an existing file is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print the module's input and output as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let model = Model::open(&Member::file(&args.model), Device::Cpu)?;
    let bytes = traced(&model)?;
    write(&args.output, &bytes)?;
    let augment = &model.spec().augment;
    let size = augment.image_size;
    let normalization = json!(augment.normalization);
    if args.json {
        let facts = json!({
            "output": args.output.display().to_string(),
            "input": ["B", 3, size, size],
            "normalization": normalization,
            "classes": CLASSES,
            "size": bytes.len(),
        });
        stdio::print_line(&facts.to_string())?;
    } else {
        let name = normalization.as_str().unwrap_or_default();
        let megabytes = bytes.len() as f64 / 1e6;
        stdio::print(&format!(
            "{}: {megabytes:.1} MB of TorchScript\n  \
             forward: images [B, 3, {size}, {size}], normalised as `{name}` -> probabilities [B, {CLASSES}]\n",
            args.output.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The largest accepted difference between the module and the network.
const TOLERANCE: f64 = 1e-6;

/// The emotion branch in evaluation mode as TorchScript. It is loaded again and compared before it is returned.
fn traced(model: &Model) -> anyhow::Result<Vec<u8>> {
    let size = i64::from(model.spec().augment.image_size);
    let probabilities = |images: &Tensor| {
        tch::no_grad(|| model.network().emotion(images, Mode::Eval).logits.softmax(-1, Kind::Float))
    };
    let example = Tensor::zeros([1, 3, size, size], (Kind::Float, Device::Cpu));
    let module = CModule::create_by_tracing("Ferry", "forward", &[example], &mut |images: &[Tensor]| {
        images.iter().map(probabilities).collect()
    })
    .context("cannot trace the network")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("module.pt");
    module.save(&path).context("cannot store the traced network")?;
    check(&path, size, &probabilities)?;
    Ok(std::fs::read(&path)?)
}

/// Uses another batch size and other content than the example, since the trace must not depend on either.
fn check(path: &Path, size: i64, probabilities: &dyn Fn(&Tensor) -> Tensor) -> anyhow::Result<()> {
    let module = CModule::load(path).context("cannot load the stored module")?;
    let count = 3 * 3 * size * size;
    let images = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.37).sin().reshape([3, 3, size, size]);
    let seen = module.forward_ts(&[&images]).context("cannot run the stored module")?;
    let difference = (seen - probabilities(&images)).abs().max().double_value(&[]);
    ensure!(
        difference <= TOLERANCE,
        "the traced module's probabilities differ from the network's by {difference}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use shared::mtl::MtlSpec;

    use super::*;
    use crate::archive;
    use crate::golden::{fill, noise};
    use crate::models::Mtl;
    use crate::train::ModelRecord;
    use crate::variables::Variables;
    use tch::nn::VarStore;

    /// A model of `spec` as a training would store it. Its weights are the same in every run: with random weights, a
    /// network of four channels sometimes gives the same answer for every image.
    fn example(spec: &MtlSpec) -> Vec<u8> {
        let mut store = VarStore::new(Device::Cpu);
        let network = Mtl::new(&store.root(), &spec.network).unwrap();
        fill(&mut store);
        store.float();
        // Statistics that fit the weights, as after training.
        let images = noise(1, &[8, 3, 32, 32]).to_kind(Kind::Float) + 0.5;
        network.emotion(&images, Mode::Train { momentum: 1.0 });
        let record = ModelRecord {
            format: ModelRecord::FORMAT.to_owned(),
            job: spec.id("d"),
            dataset_digest: "d".to_owned(),
            pack_image_size: Some(32),
            trainer_revision: shared::mtl::REVISION,
            best_epoch: 1,
            settings: spec.canonical(),
        };
        archive::write(&Variables::of(&store).copies().unwrap(), record.facts()).unwrap()
    }

    #[test]
    fn the_exported_module_gives_the_networks_probabilities() {
        for backbone in ["resnet18", "vggface2_resnet50", "dino_resnet50"] {
            let file = example(&small(backbone));
            let folder = tempfile::tempdir().unwrap();
            let (model, output) = (folder.path().join("m.safetensors"), folder.path().join("m.pt"));
            std::fs::write(&model, &file).unwrap();
            run(&ExportArgs { model: model.clone(), output: output.clone(), json: true }).unwrap();
            let module = CModule::load(&output).unwrap();
            let opened = Model::open(&Member::file(&model), Device::Cpu).unwrap();
            let images = noise(2, &[5, 3, 32, 32]).to_kind(Kind::Float) + 0.5;
            let expected = opened.network().emotion(&images, Mode::Eval).logits.softmax(-1, Kind::Float);
            let seen = module.forward_ts(&[&images]).unwrap();
            assert_eq!(seen.size(), [5, 6]);
            let difference = (&seen - &expected).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{backbone}: {difference:e}");
            // Different images give different answers, so the trace did not keep those of its example.
            let spread = (seen.get(0) - seen.get(4)).abs().max().double_value(&[]);
            assert!(spread > 1e-4, "{backbone}: {spread:e}");
        }
    }

    fn small(backbone: &str) -> MtlSpec {
        let settings = [
            ("emotion_backbone", serde_json::json!(backbone)),
            ("backbone", serde_json::json!("resnet18")),
            ("width", serde_json::json!(4)),
            ("blocks", serde_json::json!([1, 1, 1, 1])),
            ("heads", serde_json::json!(2)),
            ("image_size", serde_json::json!(32)),
        ];
        settings.into_iter().fold(MtlSpec::default(), |spec, (name, value)| spec.with(name, value).unwrap())
    }

    #[test]
    fn a_file_that_is_not_a_model_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (model, output) = (folder.path().join("m.safetensors"), folder.path().join("m.pt"));
        std::fs::write(&model, b"\x80no model").unwrap();
        let error = run(&ExportArgs { model, output: output.clone(), json: false }).unwrap_err();
        assert!(format!("{error:#}").contains("not a whole safetensors file"), "{error:#}");
        assert!(!output.exists());
    }
}
