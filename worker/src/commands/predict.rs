//! `ferry-worker predict`: class probabilities of images, and the challenge's submission file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use shared::expression::{CLASSES, Expression};
use shared::pack::Split;
use shared::predicted::{column, to_csv, to_submission};
use shared::stdio;
use tch::Device;

use super::output::write;
use super::progress::Progress;
use crate::device;
use crate::device::DeviceChoice;
use crate::predict::{DEFAULT_SPLIT, Input, Member, Predicted, Step, Task, members, predict};

/// Options of `ferry-worker predict`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry-worker predict --ensemble 'runs/demo/MU & MA Best Weak' --images photos -o out.csv\n  \
    ferry-worker predict --model runs/demo/models/ID.safetensors \\\n      \
    --images data/faces --split validation -o out.csv\n  \
    ferry-worker predict --ensemble 'runs/real-faces/All four' --images lsd_test_data \\\n      \
    --list LSD_Challenge_test_set_release.txt --submission submission.csv\n\n\
    Exit codes: 0 done (images that cannot be read are listed and left out), 1 an output cannot be written, or an image \
    cannot be read and --strict is set, 2 bad input.")]
pub struct PredictArgs {
    /// A model: a file in the `models` folder of a run.
    #[arg(long, value_name = "FILE", required_unless_present = "ensemble", conflicts_with = "ensemble")]
    model: Option<PathBuf>,
    /// An ensemble: a run folder and the ensemble's name, RUN/NAME.
    #[arg(long, value_name = "RUN/NAME")]
    ensemble: Option<String>,
    /// A folder of images, including its subfolders, or a pack made by `ferry data import`.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The split of a pack: train, validation or test.
    #[arg(long, default_value = DEFAULT_SPLIT.name(), value_parser = split)]
    split: Split,
    /// Predict only the images in the column `image` of this table, in its order.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Write the probabilities: image, six columns, class.
    #[arg(short, long, value_name = "CSV", required_unless_present = "submission")]
    out: Option<PathBuf>,
    /// Write the challenge's format: image,expression with a class index.
    #[arg(long, value_name = "CSV")]
    submission: Option<PathBuf>,
    /// If an image cannot be read, write nothing and exit with code 1.
    #[arg(long)]
    strict: bool,
    /// Where to compute: auto (a GPU if there is one), cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Print a summary as JSON.
    #[arg(long)]
    json: bool,
}

fn split(name: &str) -> Result<Split, String> {
    let known = Split::ALL.into_iter().find(|split| split.name() == name);
    known.ok_or_else(|| "use train, validation or test".to_owned())
}

pub(super) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let members = match (&args.model, &args.ensemble) {
        (Some(model), None) => vec![Member::file(model)],
        (None, Some(ensemble)) => members::ensemble(ensemble)?,
        (Some(_), Some(_)) | (None, None) => bail!("name either --model or --ensemble"),
    };
    if args.out.is_some() && args.out == args.submission {
        bail!("-o and --submission name the same file: give each its own");
    }
    let input = Input { images: args.images.clone(), split: args.split, list: args.list.clone() };
    let device = device::choose(args.device)?;
    let mut progress = Progress::new();
    let task = Task { members: &members, input: &input, device, strict: args.strict };
    let predicted = predict(&task, &mut |step, done, total| progress.show(&words(step), done, total))?;
    for broken in &predicted.broken {
        stdio::remark(&format!("{}: {} (left out)", broken.image, broken.reason));
    }
    let refused = args.strict && !predicted.broken.is_empty();
    if refused {
        stdio::remark("nothing was written: with --strict, every image must be readable");
    } else {
        if let Some(path) = &args.out {
            write(path, to_csv(&predicted.predictions).as_bytes())?;
        }
        if let Some(path) = &args.submission {
            write(path, to_submission(&predicted.predictions).as_bytes())?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        stdio::print_line(&format!("{:#}", in_json(args, &predicted, refused, device, seconds)))?;
    } else {
        stdio::print_line(&in_words(&predicted, device, seconds))?;
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn words(step: Step) -> String {
    match step {
        Step::Reading => "reading".to_owned(),
        Step::Predicting { of: 1, .. } => "predicting".to_owned(),
        Step::Predicting { number, of } => format!("predicting with member {number} of {of}"),
    }
}

fn in_words(predicted: &Predicted, device: Device, seconds: f64) -> String {
    let (models, broken) = (predicted.models.len(), predicted.broken.len());
    let mut lines = vec![format!(
        "{}, {broken} broken; {} on {}, {seconds:.1} s",
        counted(predicted.images, "image"),
        counted(models, "model"),
        device::name(device)
    )];
    if predicted.unlisted > 0 {
        let verb = if predicted.unlisted == 1 { "is" } else { "are" };
        lines.push(format!("{} {verb} not on the list", counted(predicted.unlisted, "image")));
    }
    let counts = Expression::ALL.into_iter().zip(counts(predicted));
    let shares: Vec<String> = counts.map(|(class, count)| format!("{} {count}", class.name())).collect();
    lines.push(shares.join(", "));
    lines.join("\n")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn counts(predicted: &Predicted) -> [usize; CLASSES] {
    let mut counts = [0; CLASSES];
    for prediction in &predicted.predictions {
        counts[prediction.class()] += 1;
    }
    counts
}

fn in_json(args: &PredictArgs, predicted: &Predicted, refused: bool, device: Device, seconds: f64) -> Value {
    let classes: serde_json::Map<String, Value> = Expression::ALL
        .into_iter()
        .zip(counts(predicted))
        .map(|(e, count)| (column(e), count.into()))
        .collect();
    json!({
        "images": predicted.images,
        "predicted": predicted.predictions.len(),
        "broken": predicted.broken,
        "unlisted": predicted.unlisted,
        "classes": classes,
        "models": predicted.models,
        "device": device::name(device),
        "seconds": seconds,
        "out": args.out.as_ref().filter(|_| !refused),
        "submission": args.submission.as_ref().filter(|_| !refused),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: PredictArgs,
    }

    fn parse(words: &str) -> Result<PredictArgs, String> {
        let words = std::iter::once("predict").chain(words.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn one_source_of_models_and_one_output_are_asked_for() {
        let args = parse("--ensemble runs/x/y --images d --list l --submission s --strict --json").unwrap();
        assert_eq!((args.ensemble.as_deref(), args.split), (Some("runs/x/y"), Split::Test));
        let args = parse("--model m --images d --split validation -o o --submission s").unwrap();
        assert_eq!((args.split, args.out), (Split::Validation, Some("o".into())));
        for (wrong, word) in [
            ("--images d -o o", "--model"),
            ("--model m --ensemble e --images d -o o", "cannot be used with"),
            ("--model m --images d", "--out"),
            ("--model m --images d -o o --split dev", "train, validation or test"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }
}
