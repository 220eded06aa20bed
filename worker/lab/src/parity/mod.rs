//! `ferry-lab parity`: runs the trainer's own code on given numbers, for comparison with PyTorch (scripts/parity).
//!
//! A request says what to run. One safetensors file has the weights and inputs under the network's own names, and the
//! results are written to another. This program computes only what the trainer computes.

mod optimiser;
mod steps;
mod training;
mod views;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use shared::mtl::MtlSpec;
use shared::mtl::preset::Preset;
use shared::settings::Settings;
use tch::Tensor;

use worker::archive::Tensors;

/// Options of `ferry-lab parity`.
#[derive(Debug, Args)]
#[command(after_help = "Example (made by scripts/parity/run):\n  \
    ferry-lab parity request.json inputs.safetensors outputs.safetensors")]
pub(crate) struct ParityArgs {
    /// The request: what to run, with which settings.
    request: PathBuf,
    /// Weights and inputs.
    inputs: PathBuf,
    /// The file for the results.
    outputs: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "run", rename_all = "snake_case")]
enum Request {
    Steps(steps::Steps),
    Optimiser(optimiser::Optimiser),
    Views(views::GivenViews),
    Training(training::Training),
}

/// Settings as in a sweep file: a preset, and the settings that differ from it.
#[derive(Debug, Deserialize)]
struct Chosen {
    preset: Preset,
    settings: Settings,
}

impl Chosen {
    fn spec(&self) -> anyhow::Result<MtlSpec> {
        let mut settings = self.settings.iter();
        let spec =
            settings.try_fold(self.preset.spec(), |spec, (name, value)| spec.with(name, value.clone()))?;
        if let Some(problem) = spec.problems().first() {
            bail!("`{}` {}", problem.setting, problem.text);
        }
        Ok(spec)
    }
}

/// Uses one thread, so that sums have a fixed order.
pub(super) fn run(args: &ParityArgs) -> anyhow::Result<ExitCode> {
    tch::set_num_threads(1);
    let text = fs::read_to_string(&args.request)
        .with_context(|| format!("cannot read {}", args.request.display()))?;
    let request: Request = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a request of this version", args.request.display()))?;
    let inputs: Tensors = Tensor::read_safetensors(&args.inputs)?.into_iter().collect();
    let outputs = match request {
        Request::Steps(request) => steps::run(&request, &inputs),
        Request::Optimiser(request) => optimiser::run(&request, &inputs),
        Request::Views(request) => views::run(&request, &inputs),
        Request::Training(request) => training::run(&request, &inputs),
    }?;
    let outputs: Vec<_> = outputs.iter().map(|(name, tensor)| (name, tensor.contiguous())).collect();
    Tensor::write_safetensors(&outputs, &args.outputs)?;
    Ok(ExitCode::SUCCESS)
}

fn input<'a>(inputs: &'a Tensors, name: &str) -> anyhow::Result<&'a Tensor> {
    inputs.get(name).with_context(|| format!("the inputs have no `{name}`"))
}

/// The tensors named `part.…`, without that prefix.
fn below(inputs: &Tensors, part: &str) -> Tensors {
    let own = inputs.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(part)?.strip_prefix('.')?;
        Some((name.to_owned(), tensor.shallow_clone()))
    });
    own.collect()
}

/// `tensors` under the names `part.…`.
fn under(part: &str, tensors: Tensors) -> impl Iterator<Item = (String, Tensor)> {
    tensors.into_iter().map(move |(name, tensor)| (format!("{part}.{name}"), tensor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chosen(preset: &str, settings: &serde_json::Value) -> Chosen {
        serde_json::from_value(json!({ "preset": preset, "settings": settings })).unwrap()
    }

    #[test]
    fn requests_begin_with_a_preset_and_refuse_what_is_no_setting() {
        let spec = chosen("authors-code", &json!({ "heads": 2 })).spec().unwrap();
        assert_eq!((spec.network.heads, spec.training.weight_decay.to_bits()), (2, 0));
        assert!(chosen("paper", &json!({ "haeds": 2 })).spec().is_err());
        assert!(chosen("paper", &json!({ "emotion_backbone": "mobilevitv2" })).spec().is_err());
    }

    #[test]
    fn a_network_takes_its_own_variables_only() {
        let request: Request = serde_json::from_value(json!({
            "run": "steps", "preset": "paper", "precision": "double", "forward": true, "subset": [0, 1],
            "settings": { "emotion_backbone": "resnet18", "backbone": "resnet18", "width": 4 },
            "mixing": [], "epoch_length": 1,
        }))
        .unwrap();
        let Request::Steps(request) = request else { panic!("{request:?}") };
        let strange = Tensors::from([("model.strange".to_owned(), Tensor::from(1.0))]);
        assert!(steps::run(&request, &strange).unwrap_err().to_string().contains("strange"));
        let missing = steps::run(&request, &Tensors::new()).unwrap_err().to_string();
        assert!(missing.contains("affinity.centres"), "{missing}");
    }
}
