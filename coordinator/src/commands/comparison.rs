//! What a sweep file asks for, compared with the books: as text, as JSON, and as a question before work is dropped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use orchestrator::service::{Comparison, JobProgress, Shortened, Stage};
use orchestrator::sweep;
use orchestrator::sweep::difference::{ChangedJob, Names};
use orchestrator::sweep::plan::Plan;
use orchestrator::sweep::problem::SweepError;
use serde_json::{Value, json};
use shared::ids::JobId;
use shared::plural::count;

/// How many jobs of a kind are listed.
const LISTED: usize = 8;

/// The comparison in words, a line for each thing. `name` is the name of the sweep.
pub(super) fn in_words(name: &str, compared: &Comparison) -> String {
    let mut text = format!("{name}: {}\n", states(compared));
    let open = compared.difference.kept.iter().filter_map(|job| {
        let JobProgress { state, epoch, epochs } = compared.jobs.get(job)?;
        let said = match state {
            Stage::Open if *epoch > 0 => format!("epoch {epoch}/{epochs}"),
            Stage::Failed { why } => format!("failed: {why}"),
            Stage::Paused => format!("paused, epoch {epoch}/{epochs}"),
            Stage::Cancelled => format!("cancelled, epoch {epoch}/{epochs}"),
            Stage::Open | Stage::Done => return None,
        };
        Some((*job, said))
    });
    listed(&mut text, " ", compared, &open.collect::<Vec<_>>());
    let state = |job: JobId| (job, known(compared.jobs.get(&job)));
    let difference = &compared.difference;
    listed(&mut text, "+", compared, &difference.added.iter().map(|&job| state(job)).collect::<Vec<_>>());
    for (settings, jobs) in by_settings(&difference.changed) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  ~ {settings}: {}, {}", count(jobs.len(), "job"), begins(compared, &jobs));
    }
    listed(&mut text, "-", compared, &difference.dropped.iter().map(|&job| state(job)).collect::<Vec<_>>());
    names(&mut text, "ensemble", &difference.ensembles);
    names(&mut text, "table", &difference.tables);
    for remark in &difference.remarks {
        let _ = writeln!(text, "  ~ {remark}");
    }
    let _ = writeln!(text, "left to do: {}", compared.work);
    text
}

/// What to ask before the run goes on, because the file drops or replaces jobs. `None` if it need not be asked.
pub(super) fn question(name: &str, compared: &Comparison) -> Option<String> {
    let lost: Vec<JobId> = compared.lost().collect();
    let with_epochs = lost.iter().filter(|&&job| compared.has_epochs(job)).count();
    if lost.is_empty() || (with_epochs == 0 && !compared.is_conducted) {
        return None;
    }
    let who = if compared.is_conducted { ", which another `ferry run` conducts," } else { "" };
    let has = |number: usize| if number == 1 { "has" } else { "have" };
    let epochs = match with_epochs {
        0 => String::new(),
        all if all == lost.len() => format!(" that {} finished epochs", has(all)),
        some => format!(", {some} of which {} finished epochs", has(some)),
    };
    Some(format!("`{name}`{who} loses {}{epochs}. Go on?", count(lost.len(), "job")))
}

pub(super) fn in_json(compared: &Comparison) -> Value {
    let Comparison { difference, jobs, labels, work, going_on, origins: _, shortened: _, is_conducted } =
        compared;
    let going_on: BTreeMap<JobId, Value> =
        going_on.iter().map(|(&job, (from, epoch))| (job, json!({ "from": from, "epoch": epoch }))).collect();
    let jobs: Vec<Value> = jobs
        .iter()
        .map(|(job, progress)| json!({ "id": job, "label": labels.get(*job), "progress": progress }))
        .collect();
    json!({ "difference": difference, "jobs": jobs, "going_on": going_on, "left": work,
        "conducted": is_conducted })
}

/// How many of the jobs that the file asks for are in which state.
fn states(compared: &Comparison) -> String {
    let wanted = compared.difference.kept.iter().copied().chain(compared.difference.come());
    let states = ["done", "partly trained", "failed", "paused", "cancelled", "new"];
    let (mut counts, mut jobs) = (states.map(|state| (0, state)), 0);
    for progress in wanted.filter_map(|job| compared.jobs.get(&job)) {
        let state = match progress.state {
            Stage::Done => 0,
            Stage::Open if progress.epoch > 0 => 1,
            Stage::Failed { .. } => 2,
            Stage::Paused => 3,
            Stage::Cancelled => 4,
            Stage::Open => 5,
        };
        counts[state].0 += 1;
        jobs += 1;
    }
    let counts = counts.iter().filter(|(number, _)| *number > 0);
    let words: Vec<String> = counts.map(|(number, state)| format!("{number} {state}")).collect();
    format!("{}: {}", count(jobs, "job"), words.join(", "))
}

/// What becomes of jobs that take the place of others: they may be in the books from before.
fn begins(compared: &Comparison, jobs: &[JobId]) -> String {
    let (mut done, mut epochs, mut new) = (0, Vec::new(), 0);
    for job in jobs {
        match compared.jobs.get(job) {
            Some(JobProgress { state: Stage::Done, .. }) => done += 1,
            Some(JobProgress { epoch, .. }) if *epoch > 0 => epochs.push(*epoch),
            Some(_) | None => new += 1,
        }
    }
    let after = match (epochs.iter().min(), epochs.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("epochs {least} to {most}"),
        (least, _) => format!("epoch {}", least.unwrap_or(&0)),
    };
    let kinds = [
        (done, "done already".to_owned()),
        (epochs.len(), format!("trained on after {after}")),
        (new, "trained from the start".to_owned()),
    ];
    let some: Vec<_> = kinds.into_iter().filter(|(number, _)| *number > 0).collect();
    match some.as_slice() {
        [(_, all)] => all.clone(),
        several => {
            several.iter().map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Why the file cannot be followed, because it gives jobs fewer epochs than they have been trained for. `file` is the
/// file, and `plan` what it asks for.
pub(super) fn too_short(file: &Path, plan: &Plan, shortened: &[Shortened]) -> Option<SweepError> {
    let Shortened { job, setting, epochs, .. } = shortened.first()?;
    let group = plan.jobs.iter().find(|planned| planned.id == *job).map_or("", |planned| &planned.group);
    let most = shortened.iter().map(|one| one.trained).max().unwrap_or_default();
    let jobs = count(shortened.len(), "job");
    let message = format!(
        "`{setting}: {epochs}` would throw away what {jobs} {} been trained for, up to {most}: ask for {most} or more, or \
         give the sweep another name",
        if shortened.len() == 1 { "has" } else { "have" }
    );
    Some(sweep::problem_with_setting(file, group, setting, message))
}

/// What is known of a job that comes or goes.
fn known(progress: Option<&JobProgress>) -> String {
    match progress {
        Some(JobProgress { state: Stage::Done, .. }) => "done".to_owned(),
        Some(JobProgress { epoch, epochs, .. }) if *epoch > 0 => format!("epoch {epoch}/{epochs}"),
        Some(_) | None => "not begun".to_owned(),
    }
}

fn listed(text: &mut String, sign: &str, compared: &Comparison, jobs: &[(JobId, String)]) {
    let label = |job: &JobId| compared.labels.get(*job);
    let width = jobs.iter().take(LISTED).map(|(job, _)| label(job).chars().count()).max().unwrap_or(0);
    for (job, state) in jobs.iter().take(LISTED) {
        let _ = writeln!(text, "  {sign} {}  {:width$}  {state}", job.short(), label(job));
    }
    if jobs.len() > LISTED {
        let _ = writeln!(text, "  {sign} … and {} more", jobs.len() - LISTED);
    }
}

/// The replaced jobs by what has changed in them, in words.
fn by_settings(changed: &[ChangedJob]) -> BTreeMap<String, Vec<JobId>> {
    let mut by_settings: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
    for ChangedJob { after, settings, .. } in changed {
        let words: Vec<String> = settings
            .iter()
            .map(|setting| format!("{} {} instead of {}", setting.name, setting.after, setting.before))
            .collect();
        // Then a remark says what is another one: the dataset, or the trainer.
        let words = if words.is_empty() { "replaced".to_owned() } else { words.join(", ") };
        by_settings.entry(words).or_default().push(*after);
    }
    by_settings
}

fn names(text: &mut String, what: &str, names: &Names) {
    for (sign, names) in [("+", &names.added), ("~", &names.changed), ("-", &names.dropped)] {
        for name in names {
            let _ = writeln!(text, "  {sign} {what} `{name}`");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use orchestrator::cost::Estimate;
    use orchestrator::service::Work;
    use orchestrator::sweep::difference::{ChangedSetting, Difference};
    use orchestrator::view::labels::Labels;
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n << 96))
    }

    fn compared() -> Comparison {
        let failed = Stage::Failed { why: "it failed on 2 workers: no memory".into() };
        let progress = [
            (Stage::Done, 12),
            (Stage::Open, 7),
            (failed, 0),
            (Stage::Open, 0),
            (Stage::Open, 0),
            (Stage::Done, 12),
            (Stage::Done, 12),
            (Stage::Paused, 3),
            (Stage::Cancelled, 0),
        ]
        .map(|(state, epoch)| JobProgress { state, epoch, epochs: 12 });
        let jobs: BTreeMap<JobId, JobProgress> = (1..).map(id).zip(progress).collect();
        let labels = Labels::default(); // Jobs are called by their ids.
        let setting =
            ChangedSetting { name: "learning_rate".into(), before: json!(0.001), after: json!(0.0003) };
        let difference = Difference {
            kept: vec![id(1), id(2), id(3), id(8), id(9)],
            added: vec![id(4)],
            changed: vec![ChangedJob { before: id(6), after: id(5), settings: vec![setting] }],
            dropped: vec![id(7)],
            ensembles: Names { added: vec!["All".into()], ..Names::default() },
            ..Difference::default()
        };
        let time = Estimate { likely: 4380.0, low: 3900.0, high: 5000.0 };
        let work = Work { jobs: 4, epochs: 41, workers: 1, time: Some(time) };
        let (going_on, origins, shortened) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Comparison { difference, jobs, labels, work, going_on, origins, shortened, is_conducted: false }
    }

    /// Job 5 goes on from job 6.
    fn going_on() -> Comparison {
        let mut longer = compared();
        longer.going_on = BTreeMap::from([(id(5), (id(6), 12))]);
        longer.jobs.insert(id(5), JobProgress { state: Stage::Open, epoch: 12, epochs: 20 });
        longer
    }

    #[test]
    fn what_a_file_changes_is_told_before_anything_happens() {
        insta::assert_snapshot!(in_words("demo", &compared()), @"
        demo: 7 jobs: 1 done, 1 partly trained, 1 failed, 1 paused, 1 cancelled, 2 new
            00000002  00000002  epoch 7/12
            00000003  00000003  failed: it failed on 2 workers: no memory
            00000008  00000008  paused, epoch 3/12
            00000009  00000009  cancelled, epoch 0/12
          + 00000004  00000004  not begun
          ~ learning_rate 0.0003 instead of 0.001: 1 job, trained from the start
          - 00000007  00000007  done
          + ensemble `All`
        left to do: 4 jobs, 41 epochs, about 1 h 13 min (1 h 5 min to 1 h 23 min) on 1 worker
        ");
        assert!(in_words("demo", &going_on()).contains("1 job, trained on after epoch 12\n"));
        let same = Difference { kept: vec![id(1)], ..Difference::default() };
        let same = Comparison { difference: same, work: Work::default(), ..compared() };
        insta::assert_snapshot!(in_words("demo", &same), @"
        demo: 1 job: 1 done
        left to do: nothing
        ");
    }

    #[test]
    fn what_is_asked_names_what_is_lost() {
        let asked = |compared: &Comparison| question("demo", compared).unwrap_or_default();
        assert_eq!(asked(&compared()), "`demo` loses 2 jobs that have finished epochs. Go on?");
        assert_eq!(
            asked(&Comparison { is_conducted: true, ..compared() }),
            "`demo`, which another `ferry run` conducts, loses 2 jobs that have finished epochs. Go on?"
        );
        assert_eq!(asked(&going_on()), "`demo` loses 1 job that has finished epochs. Go on?");
        let mut more = compared();
        more.difference.dropped = vec![id(4), id(7)];
        assert_eq!(asked(&more), "`demo` loses 3 jobs, 2 of which have finished epochs. Go on?");
    }

    #[test]
    fn nothing_is_asked_if_nothing_is_lost() {
        let same = Difference { kept: vec![id(1)], ..Difference::default() };
        assert_eq!(question("demo", &Comparison { difference: same, ..compared() }), None);
        // Every replaced job goes on in another one, also in a sweep that somebody else conducts.
        let mut longer = Comparison { is_conducted: true, ..going_on() };
        longer.difference.dropped.clear();
        assert_eq!(question("demo", &longer), None);
        // So does one that has not begun. If it is replaced by another training, its conductor loses it.
        let mut unbegun = Comparison { is_conducted: true, ..compared() };
        unbegun.difference.dropped.clear();
        unbegun.jobs.insert(id(6), JobProgress { state: Stage::Open, epoch: 0, epochs: 12 });
        let asked = question("demo", &unbegun).unwrap_or_default();
        assert_eq!(asked, "`demo`, which another `ferry run` conducts, loses 1 job. Go on?");
        unbegun.origins.insert(id(6));
        assert_eq!(question("demo", &unbegun), None);
    }

    #[test]
    fn jobs_of_another_dataset_are_replaced() {
        let mut compared = compared();
        compared.difference.changed[0].settings.clear();
        compared.difference.remarks = vec!["the dataset is another one".to_owned()];
        let told = in_words("demo", &compared);
        assert!(told.contains("\n  ~ replaced: 1 job, trained from the start\n"), "{told}");
        assert!(told.contains("\n  ~ the dataset is another one\n"), "{told}");
    }

    /// A setting is changed back: what was trained with it is still in the books.
    #[test]
    fn jobs_that_take_the_place_of_others_may_have_been_trained_before() {
        let compared = compared();
        assert_eq!(begins(&compared, &[id(1), id(6)]), "done already");
        assert_eq!(begins(&compared, &[id(2), id(8)]), "trained on after epochs 3 to 7");
        assert_eq!(begins(&compared, &[id(4)]), "trained from the start");
        assert_eq!(
            begins(&compared, &[id(1), id(2), id(4), id(5)]),
            "1 done already, 1 trained on after epoch 7, 2 trained from the start"
        );
    }
}
