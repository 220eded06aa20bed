//! How fast the paper's ensembles are voted and scored, and better ones searched for. Run through
//! `scripts/bench-ensembles`, which makes the predictions and does the same with NumPy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use orchestrator::ensemble::combine::Candidates;
use orchestrator::ensemble::method::Method;
use orchestrator::ensemble::search::{Effort, search};
use orchestrator::ensemble::{MemberProbabilities, score, vote};
use serde_json::{Value, json};
use shared::ids::JobId;
use shared::predictions::{Matrix, SampleList, from_npy};
use uuid::Uuid;

/// Reads `0.npy`, `1.npy`, … and `samples.csv` from a folder, and prints times and scores as JSON.
#[derive(Debug, Parser)]
struct Options {
    /// The folder.
    #[arg(long)]
    dir: PathBuf,
    /// The members of each ensemble, as JSON: a list of lists of numbers.
    #[arg(long)]
    ensembles: String,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports to the terminal")]
fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<Value> {
    let samples = SampleList::from_csv(&read(&options.dir, "samples.csv").map(String::from_utf8)??)?;
    let mut matrices = Vec::new();
    while let Ok(bytes) = fs::read(options.dir.join(format!("{}.npy", matrices.len()))) {
        matrices.push(from_npy(&bytes)?);
    }
    let ensembles: Vec<Vec<usize>> = serde_json::from_str(&options.ensembles)?;
    let digest = samples.digest();
    let started = Instant::now();
    let scores: Vec<Option<f64>> = ensembles
        .iter()
        .map(|members| {
            let members: Vec<MemberProbabilities<'_>> =
                members.iter().map(|&place| member(place, &matrices[place], &digest)).collect();
            Ok(score(&vote(&members)?, &samples).map(|score| score.macro_f1))
        })
        .collect::<anyhow::Result<_>>()?;
    let voting = started.elapsed();
    let all: Vec<&Matrix> = matrices.iter().collect();
    let candidates = Candidates::new(&all, &samples).context("no candidates")?;
    let started = Instant::now();
    let greedy = Method::Greedy.choose(&candidates);
    let selection = started.elapsed();
    let greedy = candidates.macro_f1(candidates.predicted(&candidates.vote(&greedy)));
    let started = Instant::now();
    let searched = search(&candidates, Effort { replicates: 100, seed: 0 });
    let whole = started.elapsed();
    Ok(json!({
        "ensembles_seconds": voting.as_secs_f64(), "scores": scores,
        "greedy_seconds": selection.as_secs_f64(), "greedy_score": greedy,
        "search_seconds": whole.as_secs_f64(), "found": searched.found.len(),
    }))
}

fn read(dir: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = dir.join(name);
    fs::read(&path).with_context(|| path.display().to_string())
}

fn member<'a>(place: usize, probabilities: &'a Matrix, samples_digest: &'a str) -> MemberProbabilities<'a> {
    let job = JobId::new(Uuid::from_u128(place as u128));
    MemberProbabilities { job, dataset_digest: None, samples_digest, probabilities }
}
