//! `ferry run`: runs a sweep from its file to its report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use shared::bus::{BusError, Endpoint, Role};
use shared::plural::count;
use shared::protocol::Timing;
use shared::stdio;
use shared::terminal::plain;

use super::error::CommandError;
use super::progress::Progress;
use super::run_end::{self, Again};
use super::server::{ServerArgs, without_token};
use super::{comparison, confirm};
use orchestrator::data::synth;
use orchestrator::devices::{self, ChosenGpu, Environment, GpuChoice, Nvml};
use orchestrator::fleet;
use orchestrator::home::{self, Home};
use orchestrator::service::{self, Comparison, Models, Review, RunRequest};
use orchestrator::sweep;
use orchestrator::sweep::dataset::pack_dir;
use orchestrator::sweep::plan::{DatasetSource, Plan};
use orchestrator::view::Style;

/// The default of `--out`.
const DEFAULT_OUT: &str = "runs";

/// Runs a sweep to its end: trains what is not trained yet, assembles the ensembles, writes the report.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry run experiments/demo.yaml\n  \
    ferry run sweep.yaml --gpus 0,2,5                           # one worker on each of these GPUs\n  \
    ferry run sweep.yaml --nats nats://head:4222 --workers 0    # only workers on other machines\n  \
    ferry run sweep.yaml --nats tls://head:4222 --creds coordinator.creds\n\n\
    After an interruption the same command continues: finished jobs are not trained again. So does a run of the edited \
    file: what it no longer asks for leaves the report, and what is new is trained. If another `ferry run` conducts the \
    sweep, the edit is handed over to it.\n\
    To keep a sweep running after logout: docs/running.md.\n\n\
    Exit codes: 0 all jobs done; 1 some jobs failed, no worker can take jobs, you answered no when asked, or the server, \
    a disk or Ferry itself failed; 2 bad input; 130 interrupted.")]
pub(crate) struct RunArgs {
    /// The sweep file.
    pub file: PathBuf,
    /// State directory: the server's store, generated data, logs.
    #[arg(long, env = "FERRY_HOME", default_value = home::DEFAULT)]
    pub home: PathBuf,
    /// Parent directory of the run folders; the report is written to OUT/<name of the sweep>.
    #[arg(long, default_value = DEFAULT_OUT)]
    pub out: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
    /// GPUs to use, one worker on each, separated by commas: numbers as in nvidia-smi or UUID prefixes, such as
    /// 0,2,GPU-8f3a; 0:1 is a MIG instance of GPU 0. Default: the GPUs in CUDA_VISIBLE_DEVICES, else all.
    #[arg(long, value_name = "LIST")]
    pub gpus: Option<GpuChoice>,
    /// Number of local workers. Default: one per GPU; without GPUs, the number of CPU cores divided by the threads of a
    /// job (`cpu_threads`), but at least one.
    #[arg(long)]
    pub workers: Option<usize>,
    /// Seconds without a heartbeat after which a worker is considered dead and its job is given to another worker. Applies
    /// to every job that is claimed on this server from now on. Default: the last value set on this server, initially 15.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub lease: Option<Duration>,
    /// Seconds between two heartbeats of a worker, at most a third of the lease; needs --lease. Default: a third of the
    /// lease.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "lease")]
    pub heartbeat: Option<Duration>,
    /// Models to store in the run folder for `ferry-worker predict`: those of the ensemble members, all, or none. A
    /// full-size model takes 240 MB.
    #[arg(long, value_enum, default_value_t = Models::Members)]
    pub models: Models,
    /// Do not ask before jobs are dropped that the edited file no longer asks for.
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object per event on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, CommandError> {
    let home = Home::new(&args.home);
    home.check_version().map_err(|error| CommandError::Input(error.into()))?;
    let server = endpoint(args).map_err(|error| CommandError::Input(error.into()))?;
    let gpus = devices::settle(&Nvml, args.gpus.as_ref(), &Environment::read())
        .map_err(|error| CommandError::Input(error.into()))?;
    check_workers(args, &gpus)?;
    let timing = args.lease.map(|lease| Timing::new(lease, args.heartbeat)).transpose();
    let timing = timing.map_err(|error| CommandError::Input(error.into()))?;
    let plan = plan_with_dataset(&args.file, &home)?;
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let dataset = plan.dataset.as_ref().map(|source| pack_dir(source, home.root()));
    let style = Style::choose(args.json);
    let (file, yes, json) = (args.file.clone(), args.yes, args.json);
    let review = Review::new(move |plan, compared| review(&file, plan, compared, yes, json));
    let request = RunRequest {
        plan: Arc::new(plan),
        file: args.file.clone(),
        dataset,
        home,
        out: args.out.clone(),
        server,
        gpus,
        workers: args.workers,
        names_workers: args.workers.is_some() || args.gpus.is_some(),
        timing,
        models: args.models,
        style,
        review,
    };
    // Single-threaded, because children must be spawned from the main thread (see `guard`).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let end = runtime.block_on(service::run(request))?;
    Ok(run_end::finish(&end, &args.again(), args.json)?)
}

/// Tells what the file asks for, compared with the books. Asks before jobs are dropped.
fn review(file: &Path, plan: &Plan, compared: &Comparison, yes: bool, json: bool) -> anyhow::Result<bool> {
    if let Some(error) = comparison::too_short(file, plan, &compared.shortened) {
        return Err(error.into());
    }
    let name = &plan.name;
    if json {
        let mut event = comparison::in_json(compared);
        event["event"] = json!("compared");
        stdio::print(&format!("{event}\n"))?;
    } else {
        stdio::remark(plain(&comparison::in_words(name, compared)).trim_end());
    }
    match comparison::question(name, compared) {
        Some(question) if !yes => confirm::is_confirmed(&question),
        Some(_) | None => Ok(true),
    }
}

/// Refuses a number of local workers that cannot be meant.
fn check_workers(args: &RunArgs, gpus: &[ChosenGpu]) -> Result<(), CommandError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = fleet::most_cpu_workers(cores);
    let problem = match args.workers {
        Some(0) if args.server.nats.is_none() => {
            "--workers 0 leaves nobody to train: other machines can join only with --nats".to_owned()
        }
        Some(workers) if gpus.is_empty() && workers > most => format!(
            "--workers {workers} is too many for {}: at most {most} start here",
            count(cores, "CPU core")
        ),
        Some(workers) if !gpus.is_empty() && workers > gpus.len() => format!(
            "--workers {workers} is too many for {}: each GPU has one worker",
            count(gpus.len(), "GPU")
        ),
        Some(_) | None => return Ok(()),
    };
    Err(CommandError::Input(anyhow::anyhow!(problem)))
}

/// The server, if one is named. Refuses a credential of the wrong role before any work is done.
fn endpoint(args: &RunArgs) -> Result<Option<Endpoint>, BusError> {
    let endpoint = args.server.endpoint()?;
    endpoint.as_ref().map_or(Ok(()), |endpoint| endpoint.require(&[Role::Coordinator]))?;
    Ok(endpoint)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The plan with its dataset in place: synthetic faces are drawn on first use.
fn plan_with_dataset(file: &Path, home: &Home) -> Result<Plan, CommandError> {
    let plan = sweep::load(file, home.root())?;
    let (false, Some(source)) = (plan.has_inputs(), &plan.dataset) else { return Ok(plan) };
    let pack = pack_dir(source, home.root());
    match source {
        DatasetSource::Pack(_) => {
            let pack = pack.display();
            let help = format!(
                "the dataset {pack} does not exist: create it with `ferry data import SOURCE {pack}`"
            );
            return Err(CommandError::Input(anyhow::anyhow!(help)));
        }
        DatasetSource::Synthetic(options) => {
            home.data().context("the synthetic dataset cannot be stored")?;
            let mut progress = Progress::new("drawing faces");
            synth::synthesize(&pack, options, &mut |done, total| progress.show(done, total))
                .context("the synthetic dataset cannot be drawn")?;
        }
    }
    Ok(sweep::load(file, home.root())?)
}

impl RunArgs {
    /// How to continue.
    fn again(&self) -> Again {
        let ServerArgs { nats, token, .. } = &self.server;
        let needs_token = token.is_some() || nats.as_ref().is_some_and(|url| url.contains('@'));
        Again { command: self.command_line(), needs_token }
    }

    /// The command line that does the same again, including what came from the environment, but without secrets.
    fn command_line(&self) -> String {
        let Self { file, home, out, server, gpus, workers, lease, heartbeat, models, yes: _, json } = self;
        let mut words = vec!["ferry".to_owned(), "run".to_owned(), quoted(&file.display().to_string())];
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{name}"), quoted(&value)]);
            }
        };
        let path = |path: &Path, usual: &str| (path != Path::new(usual)).then(|| path.display().to_string());
        let seconds = |time: &Duration| time.as_secs_f64().to_string();
        option("home", path(home, home::DEFAULT));
        option("out", path(out, DEFAULT_OUT));
        option("nats", server.nats.as_deref().map(without_token));
        option("creds", server.creds.as_ref().map(|path| path.display().to_string()));
        option("gpus", gpus.as_ref().map(ToString::to_string));
        option("workers", workers.map(|number| number.to_string()));
        option("lease", lease.as_ref().map(seconds));
        option("heartbeat", heartbeat.as_ref().map(seconds));
        let models = models.to_possible_value().filter(|_| *models != Models::Members);
        option("models", models.map(|value| value.get_name().to_owned()));
        if *json {
            words.push("--json".to_owned());
        }
        words.join(" ")
    }
}

fn quoted(word: &str) -> String {
    // Only a NUL byte cannot be quoted, and no argument holds one.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::super::run_end::interrupted;
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> RunArgs {
        match Cli::parse_from(["ferry", "run"].iter().chain(words)).command {
            Command::Run(args) => *args,
            other => panic!("not a run: {other:?}"),
        }
    }

    /// Case 24: the hint repeats every option that matters, and no secret.
    #[test]
    fn the_hint_repeats_the_command() {
        let plain = interrupted(0, 6, &[], &args(&["demo.yaml"]).again());
        insta::assert_snapshot!(plain, @r"
        stopped: 0 jobs done, 6 left; continue with:
          ferry run demo.yaml
        ");
        let cluster = args(&[
            "my sweep.yaml",
            "--nats",
            "tls://a:1,tls://b:2",
            "--creds",
            "c.creds",
            "--home",
            "state",
            "--out",
            "out",
            "--gpus",
            "0,2",
            "--workers",
            "1",
            "--lease",
            "9",
            "--heartbeat",
            "1.5",
            "--models",
            "all",
            "--json",
        ]);
        insta::assert_snapshot!(cluster.command_line(), @"ferry run 'my sweep.yaml' --home state --out out --nats 'tls://a:1,tls://b:2' --creds c.creds --gpus '0,2' --workers 1 --lease 9 --heartbeat 1.5 --models all --json");
        let secret = args(&["demo.yaml", "--nats", "nats://secret@head", "--workers", "0"]);
        insta::assert_snapshot!(interrupted(1, 5, &[], &secret.again()), @r"
        stopped: 1 job done, 5 left; continue with:
          ferry run demo.yaml --nats nats://head --workers 0
        and the server's token in FERRY_TOKEN
        ");
    }

    #[test]
    fn numbers_of_workers_that_cannot_be_meant_are_refused() {
        let refused_with = |words: &[&str], gpus: &[ChosenGpu]| match check_workers(&args(words), gpus) {
            Err(CommandError::Input(error)) => error.to_string(),
            Err(_) | Ok(()) => String::new(),
        };
        let refused = |words: &[&str]| refused_with(words, &[]);
        let gpu = ChosenGpu { name: "gpu0".to_owned(), uuid: "GPU-a".to_owned() };
        insta::assert_snapshot!(refused_with(&["demo.yaml", "--workers", "2"], std::slice::from_ref(&gpu)), @"--workers 2 is too many for 1 GPU: each GPU has one worker");
        assert_eq!(refused_with(&["demo.yaml", "--workers", "1"], &[gpu]), "");
        insta::assert_snapshot!(refused(&["demo.yaml", "--workers", "0"]), @"--workers 0 leaves nobody to train: other machines can join only with --nats");
        assert!(
            refused(&["demo.yaml", "--workers", "100000"]).starts_with("--workers 100000 is too many for ")
        );
        for words in [
            &["demo.yaml", "--workers", "0", "--nats", "nats://head"][..],
            &["demo.yaml"],
            &["demo.yaml", "--workers", "16"],
        ] {
            assert_eq!(refused(words), "", "{words:?}");
        }
    }

    /// Case 24: if other workers keep training, the run says so, and how to stop them.
    #[test]
    fn workers_elsewhere_are_named() {
        let shared = args(&["demo.yaml", "--nats", "nats://head", "--workers", "0"]);
        let elsewhere = ["gpu0 on node7".to_owned(), "gpu1 on node7".to_owned()];
        insta::assert_snapshot!(interrupted(0, 6, &elsewhere, &shared.again()), @r"
        stopped: 0 jobs done, 6 left; continue with:
          ferry run demo.yaml --nats nats://head --workers 0
        2 workers elsewhere still train these jobs: gpu0 on node7, gpu1 on node7; to stop one, press Ctrl-C or run `kill PID` on its machine, and it hands its job back
        ");
    }
}
