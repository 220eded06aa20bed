//! Sweep files: any text gives a plan, or problems with their places, quickly and with little memory.
#![no_main]

use shared::trainer::DatasetSize;
use std::path::Path;

use orchestrator::sweep::plan::Plan;
use orchestrator::sweep::problem::SweepError;
use orchestrator::sweep::{self, parse, queries};
use ferry_fuzz::input;
use libfuzzer_sys::fuzz_target;

/// Number of jobs that an input may ask for. A large sweep takes time, but not in the parser.
const MOST_JOBS: u64 = 300;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(text) = of_few_jobs(text) else { return };
    match sweep::plan(&text, input::folder(), input::folder()) {
        Ok(plan) => holds(&plan),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            let error = SweepError::new(Path::new("fuzz.yaml"), &text, problems);
            assert!(error.problems.iter().all(|problem| text.get(problem.span.offset..).is_some()));
            let _shown = (error.to_string(), error.json());
        }
    }
});

/// The text, with `max_jobs` added if it has none; `None` if it allows too many.
fn of_few_jobs(text: &str) -> Option<String> {
    match parse::parse(text).ok().as_ref().map(|root| (root.get("max_jobs"), root.entries().is_empty())) {
        Some((Some(most), _)) => (most.json().as_u64()? <= MOST_JOBS).then(|| text.to_owned()),
        Some((None, false)) if !text.trim_start().starts_with('{') => {
            Some(format!("{text}\nmax_jobs: {MOST_JOBS}\n"))
        }
        Some((None, _)) | None => Some(text.to_owned()),
    }
}

/// What must be true of every plan.
fn holds(plan: &Plan) {
    assert!(!plan.jobs.is_empty());
    let kind = plan.kind().expect("a sweep of a trainer that is known");
    let digest = plan.dataset_digest.as_deref().unwrap_or_default();
    assert_eq!(kind.needs_dataset(), plan.dataset.is_some());
    for job in &plan.jobs {
        let settings = job.settings.to_map();
        let problems = kind.problems(&settings);
        assert!(problems.is_empty(), "a job that no worker would train: {problems:?}");
        assert_eq!(job.id, kind.job(&settings, digest).id());
        let _words = (kind.switched_off(&settings), kind.remedies(&settings));
        assert!(kind.effort(&settings, DatasetSize::TYPICAL).units >= 0.0 && kind.threads(&settings) < 1 << 20);
    }
    for rule in &plan.ensembles {
        let size = queries::size(&rule.members, &plan.jobs);
        assert!((1..=plan.jobs.len()).contains(&size.most), "{size:?}");
        let _words: Vec<String> = rule.members.iter().map(queries::words).collect();
    }
    let text = serde_json::to_string(plan).expect("a plan becomes JSON");
    let back: Plan = serde_json::from_str(&text).expect("a stored plan is read back");
    assert_eq!(serde_json::to_string(&back).expect("a plan becomes JSON"), text);
}
