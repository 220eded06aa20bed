//! `ferry-worker weights`: inspects weights files and converts them for Ferry.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use shared::stdio;
use shared::weights::{Preprocessing, Topology};

use super::output::write;
use crate::weights::convert::{self, ConvertError, Options, Understood};
use crate::weights::layout::{Declared, Layout};
use crate::weights::{Dtype, Source};

/// Options of `ferry-worker weights`.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what is in a weights file and whether Ferry can use it. Nothing in the file is executed.
    #[command(after_help = "Example:\n  ferry-worker weights inspect resnet50_ft_weight.pkl --json")]
    Inspect(InspectArgs),
    /// Write the weights as a file for Ferry: renamed, f32, with a description of their origin.
    #[command(after_help = "Examples:\n  \
            ferry-worker weights convert resnet50_ft_weight.pkl -o vggface2.safetensors\n  \
            ferry-worker weights convert checkpoint0060.pth --key student -o dino.safetensors\n  \
            ferry-worker weights convert lightning.ckpt --prefix encoder -o encoder.safetensors\n  \
            ferry-worker weights convert resnet50.pth --layout torchvision -o resnet50.safetensors")]
    Convert(ConvertArgs),
}

#[derive(Debug, Args)]
struct InspectArgs {
    #[command(flatten)]
    input: InputArgs,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The file to write; an existing file is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InputArgs {
    /// A .safetensors or .npz file, a file written by torch.save, or a pickled dictionary of numpy arrays.
    file: PathBuf,
    /// Layout of the file [default: recognised by the tensors' names, which do not always tell which ResNet50 it is].
    #[arg(long)]
    layout: Option<Layout>,
    /// Topology of a ResNet50 whose weights have none of the known layouts.
    #[arg(long)]
    topology: Option<TopologyArg>,
    /// The dictionary to use if the file has several, such as student or teacher.
    #[arg(long)]
    key: Option<String>,
    /// Use only the tensors whose names start with this, such as `encoder`; not needed if all names share the prefix.
    #[arg(long)]
    prefix: Option<String>,
    /// How the training images of these weights were prepared [default: as is usual for the layout].
    #[arg(long)]
    preprocessing: Option<PreprocessingArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TopologyArg {
    Torchvision,
    Caffe,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum PreprocessingArg {
    Imagenet,
    Vggface2Bgr,
    ZeroToOne,
}

impl InputArgs {
    fn options(&self) -> Options {
        Options {
            declared: Declared {
                layout: self.layout,
                topology: self.topology.map(|topology| match topology {
                    TopologyArg::Torchvision => Topology::Torchvision,
                    TopologyArg::Caffe => Topology::Caffe,
                }),
                is_dino: false,
            },
            key: self.key.clone(),
            prefix: self.prefix.clone(),
            preprocessing: self.preprocessing.map(|preprocessing| match preprocessing {
                PreprocessingArg::Imagenet => Preprocessing::Imagenet,
                PreprocessingArg::Vggface2Bgr => Preprocessing::Vggface2Bgr,
                PreprocessingArg::ZeroToOne => Preprocessing::ZeroToOne,
            }),
        }
    }

    fn open(&self) -> anyhow::Result<Source> {
        Source::open(&self.file).with_context(|| self.file.display().to_string())
    }
}

pub(super) fn run(args: &WeightsArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Inspect(args) => inspect(args),
        Verb::Convert(args) => convert(args),
    }
}

fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let source = args.input.open()?;
    let understood = convert::examine(&source, &args.input.options());
    if args.json {
        stdio::print_line(&format!("{:#}", in_json(&args.input.file, &source, &understood)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let findings = match &understood {
        Ok(understood) => findings(understood),
        Err(error) => format!("  cannot be converted: {error}\n"),
    };
    let mut text = in_words(&args.input.file, &source) + &findings;
    if args.tensors {
        for (name, tensor) in &source.tensors {
            let _ = writeln!(text, "{name}  {tensor:?}"); // Writing to a string cannot fail.
        }
    }
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn convert(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let file = &args.input.file;
    let source = args.input.open()?;
    let understood = convert::examine(&source, &args.input.options());
    let understood = understood.with_context(|| file.display().to_string())?;
    let bytes = convert::convert(&source, &understood).with_context(|| file.display().to_string())?;
    write(&args.output, &bytes)?;
    if args.json {
        let mut report = in_json(file, &source, &Ok(understood));
        report["output"] = args.output.display().to_string().into();
        stdio::print_line(&format!("{report:#}"))?;
    } else {
        let (source, findings) = (in_words(file, &source), findings(&understood));
        stdio::print(&format!("{source}{findings}  written to {}\n", args.output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_words(file: &Path, source: &Source) -> String {
    let types: Vec<String> = types(source).iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    format!(
        "{}: {}, {:.1} MB, {} tensors ({})\n  sha256 {}\n",
        file.display(),
        source.format,
        source.size as f64 / 1e6,
        source.tensors.len(),
        types.join(", "),
        source.sha256
    )
}

fn types(source: &Source) -> BTreeMap<Dtype, usize> {
    let mut counts = BTreeMap::new();
    source.tensors.values().for_each(|tensor| *counts.entry(tensor.dtype).or_insert(0) += 1);
    counts
}

fn findings(understood: &Understood) -> String {
    let mapping = &understood.mapping;
    let mut lines = vec![format!("layout {}: {}", mapping.layout, mapping.holds)];
    if let Some(topology) = mapping.topology {
        lines.push(format!("topology {topology}"));
    }
    lines.push(format!("trained on {} input", understood.preprocessing));
    if let Some(key) = &understood.key {
        lines.push(format!("taken from `{key}`"));
    }
    if !understood.prefix.is_empty() {
        lines.push(format!("`{}` stripped from all names", understood.prefix));
    }
    lines.push(format!("{} tensors kept", understood.kept.len()));
    let mut types = BTreeMap::new();
    understood.converted.values().for_each(|dtype| *types.entry(dtype).or_insert(0) += 1);
    lines.extend(types.iter().map(|(dtype, count)| format!("{count} tensors made f32 from {dtype}")));
    let mut reasons: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    understood.dropped.iter().for_each(|(name, reason)| reasons.entry(reason).or_default().push(name));
    lines.extend(reasons.iter().map(|(reason, names)| {
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        format!("dropped, {reason}: {}{more}", names[0])
    }));
    format!("  {}\n", lines.join("\n  "))
}

fn in_json(file: &Path, source: &Source, understood: &Result<Understood, ConvertError>) -> Value {
    let tensors: BTreeMap<_, _> = source
        .tensors
        .iter()
        .map(|(name, tensor)| (name, json!({ "dtype": tensor.dtype.to_string(), "shape": tensor.shape })))
        .collect();
    let mut report = json!({
        "file": file.display().to_string(),
        "format": source.format.to_string(),
        "sha256": source.sha256,
        "size": source.size,
        "tensors": tensors,
        "others": source.others,
    });
    match understood {
        Ok(understood) => {
            let mapping = &understood.mapping;
            let converted: BTreeMap<_, _> =
                understood.converted.iter().map(|(name, dtype)| (name, dtype.to_string())).collect();
            report["layout"] = mapping.layout.to_string().into();
            report["holds"] = json!(mapping.holds);
            report["topology"] = json!(mapping.topology);
            report["preprocessing"] = json!(understood.preprocessing);
            report["key"] = json!(understood.key);
            report["prefix"] = json!(understood.prefix);
            report["kept"] = json!(understood.kept);
            report["dropped"] = json!(understood.dropped);
            report["converted"] = json!(converted);
        }
        Err(error) => report["problem"] = error.to_string().into(),
    }
    report
}
