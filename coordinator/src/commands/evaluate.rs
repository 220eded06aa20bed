//! `ferry evaluate`: scores predictions against labels, with confidence intervals.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use shared::confusion::{Confusion, Score};
use shared::expression::{CLASSES, Expression};
use shared::plural::count;
use shared::predicted::{self, Classified};
use shared::stdio;

use super::exit::BadInput;
use orchestrator::evaluation::{Bootstrap, Interval, Intervals, Joined, join};

/// How many names of each kind are listed.
const SHOWN: usize = 10;

/// Options of `ferry evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry evaluate --predictions out.csv --labels test_labels.csv\n  \
    ferry evaluate --predictions submission.csv --labels runs/demo/test.samples.csv --json\n\n\
    Scores are computed as in results.json. Intervals: percentile bootstrap over the images.\n\
    Exit codes: 0 done, 2 bad input, or images that only one of the tables names (unless --partial).")]
pub(crate) struct EvaluateArgs {
    /// What `ferry-worker predict` wrote: probabilities, or a submission.
    #[arg(long, value_name = "CSV")]
    predictions: PathBuf,
    /// Labels: a table with `image` and `expression`, or a run folder's sample list.
    #[arg(long, value_name = "CSV")]
    labels: PathBuf,
    /// Score only the images that both tables name once, and list the others.
    #[arg(long)]
    partial: bool,
    /// Number of bootstrap resamplings for the intervals; 0 for no intervals.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    bootstrap: u32,
    /// Seed of the resamplings.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Confidence level of the intervals.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = level)]
    level: f64,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

fn level(text: &str) -> Result<f64, String> {
    let level = text.parse().ok().filter(|level| *level > 0.0 && *level < 1.0);
    level.ok_or_else(|| "must lie between 0 and 1".to_owned())
}

/// Prints the scores.
pub(crate) fn run(args: &EvaluateArgs) -> Result<ExitCode> {
    let predictions = read(&args.predictions)?;
    let labels = read(&args.labels)?;
    if let Some(row) = predictions.iter().find(|row| row.class.is_none()) {
        let place = format!("{}:{}", args.predictions.display(), row.line);
        return Err(BadInput(format!("{place}: {:?} has no class", row.image)).into());
    }
    let joined = join(&predictions, &labels);
    if !joined.is_whole() {
        eprint!("{}", leftovers(&joined));
        if !args.partial {
            let text = "the tables do not name the same images; --partial scores those that both name once";
            return Err(BadInput(text.to_owned()).into());
        }
    }
    if joined.pairs.is_empty() {
        return Err(BadInput("no image has both a prediction and a label".to_owned()).into());
    }
    let score = Score::from(Confusion::from_pairs(CLASSES, joined.pairs.iter().copied()));
    let bootstrap = Bootstrap { replicates: args.bootstrap, seed: args.seed, level: args.level };
    let intervals = bootstrap.intervals(&joined.pairs);
    let text = if args.json {
        format!("{:#}\n", in_json(&score, &joined, &bootstrap, intervals.as_ref()))
    } else {
        in_words(&score, &joined, &bootstrap, intervals.as_ref())
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<Classified>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    predicted::read(&bytes)
        .map_err(|error| BadInput(format!("{}:{}: {}", path.display(), error.line, error.reason)).into())
}

fn leftovers(joined: &Joined) -> String {
    let mut text = String::new();
    for (names, what) in [
        (&joined.missing, "without a prediction"),
        (&joined.extra, "without a label"),
        (&joined.duplicate, "named more than once"),
    ] {
        if names.is_empty() {
            continue;
        }
        let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if names.len() > SHOWN { ", …" } else { "" };
        let _ = writeln!(text, "{} {what}: {shown}{more}", count(names.len(), "image"));
    }
    text
}

fn in_json(score: &Score, joined: &Joined, bootstrap: &Bootstrap, intervals: Option<&Intervals>) -> Value {
    let method = "percentile bootstrap over images (Efron & Tibshirani 1993)";
    json!({
        "images": joined.pairs.len(),
        "macro_f1": score.macro_f1,
        "per_class_f1": score.per_class_f1,
        "confusion": score.confusion,
        "intervals": intervals.map(|intervals| json!({
            "method": method,
            "bootstrap": bootstrap,
            "macro_f1": intervals.macro_f1,
            "per_class_f1": intervals.per_class_f1,
        })),
        "left_out": joined,
    })
}

fn in_words(score: &Score, joined: &Joined, bootstrap: &Bootstrap, intervals: Option<&Intervals>) -> String {
    let mut text = String::new();
    let with = |f1: f64, interval: Option<Interval>| match interval {
        Some(Interval { low, high }) => format!("{f1:6.2}  [{low:6.2}, {high:6.2}]"),
        None => format!("{f1:6.2}"),
    };
    let images = joined.pairs.len();
    let overall = with(score.macro_f1, intervals.map(|intervals| intervals.macro_f1));
    let plural = if images == 1 { "" } else { "s" };
    let _ = writeln!(text, "{:<12} {overall}  {images:>6} image{plural}", "macro F1");
    for expression in Expression::ALL {
        let class = expression.index();
        let interval = intervals.map(|intervals| intervals.per_class_f1[class]);
        let support: u64 = score.confusion.counts[class].iter().sum();
        let f1 = with(score.per_class_f1[class], interval);
        let _ = writeln!(text, "{:<12} {f1}  {support:>6}", expression.name());
    }
    let _ = write!(text, "\n{:<12}", "true \\ as");
    for expression in Expression::ALL {
        let _ = write!(text, "{:>10}", expression.name());
    }
    for expression in Expression::ALL {
        let _ = write!(text, "\n{:<12}", expression.name());
        for count in &score.confusion.counts[expression.index()] {
            let _ = write!(text, "{count:>10}");
        }
    }
    text.push('\n');
    if joined.unlabelled > 0 {
        let verb = if joined.unlabelled == 1 { "is" } else { "are" };
        let _ = writeln!(text, "{} without a label {verb} not scored", count(joined.unlabelled, "image"));
    }
    if intervals.is_some() {
        let Bootstrap { replicates, seed, level } = bootstrap;
        let percent = level * 100.0;
        let _ = writeln!(
            text,
            "F1 in percent; [{percent} % interval: percentile bootstrap over images, {replicates} resamplings, seed {seed}]"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: EvaluateArgs,
    }

    /// Runs the command on two tables.
    fn evaluate(predictions: &str, labels: &str, words: &[&str]) -> Result<ExitCode> {
        let root = tempfile::tempdir()?;
        let file = |name: &str, text: &str| -> Result<String> {
            let path = root.path().join(name);
            std::fs::write(&path, text)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let (predictions, labels) = (file("p.csv", predictions)?, file("l.csv", labels)?);
        let line = ["evaluate", "--predictions", &predictions, "--labels", &labels];
        run(&Line::try_parse_from([&line, words].concat())?.args)
    }

    #[test]
    fn tables_that_do_not_match_are_refused_unless_partial() {
        let (predictions, labels) = ("image,expression\na,1\nb,2\n", "image,expression\na,1\nc,2\n");
        let refused = evaluate(predictions, labels, &[]).unwrap_err().to_string();
        assert!(refused.contains("--partial"), "{refused}");
        evaluate(predictions, labels, &["--partial"]).unwrap();
        let nothing = evaluate("image,expression\nb,2\n", labels, &["--partial"]).unwrap_err().to_string();
        assert!(nothing.contains("no image has both"), "{nothing}");
    }

    #[test]
    fn wrong_lines_are_named_by_file_and_line() {
        let labels = "image,expression\na,1\n";
        let error = evaluate("image,expression\na,9\n", labels, &[]).unwrap_err().to_string();
        assert!(error.contains("p.csv:2: "), "{error}");
        let error = evaluate("image,expression\na\n", labels, &[]).unwrap_err().to_string();
        assert!(error.contains("p.csv:2: \"a\" has no class"), "{error}");
        assert!(evaluate(labels, labels, &["--level", "95"]).is_err());
    }

    #[test]
    fn words_and_json_hold_the_hand_computed_case() {
        // Truth 0 0 0 1, predicted 0 0 1 1: F1(0) = 4/5, F1(1) = 2/3, the other four classes 0.
        let joined = Joined {
            pairs: vec![(0, 0), (0, 0), (0, 1), (1, 1)],
            missing: vec![],
            extra: vec!["x".to_owned()],
            duplicate: vec![],
            unlabelled: 2,
        };
        let score = Score::from(Confusion::from_pairs(CLASSES, joined.pairs.iter().copied()));
        let bootstrap = Bootstrap { replicates: 50, seed: 3, level: 0.9 };
        let intervals = bootstrap.intervals(&joined.pairs);
        let words = in_words(&score, &joined, &bootstrap, intervals.as_ref());
        assert!(words.starts_with("macro F1      24.44  ["), "{words}");
        let words = in_words(&score, &joined, &bootstrap, None);
        insta::assert_snapshot!(words, @r#"
        macro F1      24.44       4 images
        Anger         80.00       3
        Disgust       66.67       1
        Fear           0.00       0
        Happiness      0.00       0
        Sadness        0.00       0
        Surprise       0.00       0

        true \ as        Anger   Disgust      Fear Happiness   Sadness  Surprise
        Anger                2         1         0         0         0         0
        Disgust              0         1         0         0         0         0
        Fear                 0         0         0         0         0         0
        Happiness            0         0         0         0         0         0
        Sadness              0         0         0         0         0         0
        Surprise             0         0         0         0         0         0
        2 images without a label are not scored
        "#);
        insta::assert_snapshot!(leftovers(&joined), @"1 image without a label: x");
        let json = in_json(&score, &joined, &bootstrap, intervals.as_ref());
        assert_eq!(json["macro_f1"].as_f64(), Some((80.0 + 200.0 / 3.0) / 6.0));
        assert_eq!(json["confusion"]["counts"][0][1], 1);
        assert_eq!((&json["images"], &json["left_out"]["extra"][0]), (&4.into(), &"x".into()));
        assert_eq!(json["intervals"]["bootstrap"]["replicates"], 50);
        assert!(in_json(&score, &joined, &bootstrap, None)["intervals"].is_null());
    }
}
