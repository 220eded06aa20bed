//! The story in words, one event a line.

use std::fmt::Write as _;
use std::time::Duration;

use shared::books::{Beginning, IncidentKind, Move};
use shared::ids::Attempt;
use shared::plural::count;
use time::OffsetDateTime;

use super::books::in_brief;
use super::{Against, Kept, Outcome, Score, Source, Story, Told, What};
use crate::cost;

/// The story in words. Texts in it come from other machines: print it with [`shared::terminal::plain`].
pub fn in_words(story: &Story) -> String {
    let mut text = format!("{}  {}  of {}\n", story.job.short(), story.label, story.sweep);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", outcome(story));
    for warning in &story.warnings {
        let _ = writeln!(text, "Warning: {warning}");
    }
    happened(&mut text, story);
    section(&mut text, "Checkpoints", story.checkpoints.iter().map(checkpoint));
    section(&mut text, "What counts against workers because of it", story.incidents.iter().map(incident));
    section(&mut text, "Notes", story.notes.iter().map(|note| one_line(note)));
    if let Outcome::Failed { log, reproduce, .. } = &story.outcome {
        section(&mut text, "The end of the last log", log.iter().map(|line| one_line(line)));
        section(&mut text, "To see the error", reproduce.iter().cloned());
    }
    let source = match story.source {
        Source::Server => "Times are the server's, in UTC.",
        Source::Folder => {
            "This is what the run folder tells. The server that trained the job also tells each attempt with its times, \
             checkpoints, notes and requests: name it with --home or --nats."
        }
    };
    let _ = writeln!(text, "\n{source}");
    text
}

fn section(text: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    for (number, line) in lines.enumerate() {
        if number == 0 {
            let _ = writeln!(text, "\n{heading}");
        }
        let _ = writeln!(text, "  {line}");
    }
}

fn happened(text: &mut String, story: &Story) {
    if story.events.is_empty() && story.untold == 0 {
        return;
    }
    text.push('\n');
    if story.untold > 0 {
        let attempts = count(story.untold as usize, "attempt");
        let why = match story.source {
            Source::Server => {
                "a record keeps its last moves only, and versions of Ferry before it kept moves kept none"
            }
            Source::Folder => "a run folder keeps results only",
        };
        let are = if story.untold == 1 { "is" } else { "are" };
        let _ = writeln!(text, "{attempts} {are} not recorded: {why}.");
    }
    for (place, Told { at, what }) in story.events.iter().enumerate() {
        let said = said(what, &story.events[..place], story);
        match story.source {
            Source::Server => {
                let when = at.map_or_else(|| "at an unknown time".to_owned(), clock);
                let _ = writeln!(text, "{when:19}  {said}");
            }
            Source::Folder => {
                let _ = writeln!(text, "{said}");
            }
        }
    }
}

/// `2026-12-01 13:16:39`, in UTC.
fn clock(seconds: u64) -> String {
    let read = |seconds: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok();
    let Some(at) = read(seconds) else { return format!("second {seconds}") };
    let (date, month) = (at.date(), u8::from(at.month()));
    let (hour, minute, second) = at.to_hms();
    format!("{:04}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02}", date.year(), date.day())
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

fn outcome(story: &Story) -> String {
    let saved = |epoch: &u32| match epoch {
        0 => "nothing of it is saved yet".to_owned(),
        epoch => format!("{} are saved", finished(*epoch, story)),
    };
    match &story.outcome {
        Outcome::Pending { epoch } => format!("It waits for a worker; {}.", saved(epoch)),
        Outcome::Paused { epoch } => format!("It is paused on request; {}.", saved(epoch)),
        Outcome::Cancelled { epoch } => format!("It is cancelled on request; {}.", saved(epoch)),
        Outcome::Running { worker, attempt, epoch, heard } => {
            let heard = heard.map_or_else(String::new, |at| format!(", last heard of at {}", clock(at)));
            let finished = finished(*epoch, story);
            format!("It is being trained by {worker}, attempt {}: {finished}{heard}.", attempt.0)
        }
        Outcome::Done { worker, attempt, stopped_after, result } => {
            let early = if stopped_after.is_some() { " early, on request" } else { "" };
            let by = format!("by attempt {} on {worker}", attempt.0);
            match result {
                Some(result) => format!("It is done{early}: {}, {by}.", scored(story, result)),
                None => format!("It is done{early}, {by}; its result is no longer on the server."),
            }
        }
        Outcome::Failed { reason, .. } => format!("It failed for good: {}.", one_line(reason)),
        Outcome::Unknown => "The run folder has neither a result nor a final failure of it.".to_owned(),
    }
}

fn scored(story: &Story, result: &Score) -> String {
    let Score { score, epochs, best_epoch, train_seconds, device } = result;
    let score =
        score.map_or_else(|| "no score".to_owned(), |score| format!("{} {score:.2}", story.score_name));
    let best = best_epoch.map_or_else(String::new, |epoch| format!(", the best was {epoch}"));
    let took = cost::in_words(Duration::try_from_secs_f64(*train_seconds).unwrap_or_default());
    let finished =
        if *epochs == story.epochs { count(*epochs as usize, "epoch") } else { finished(*epochs, story) };
    format!("{score} after {finished}{best}; trained for {took} on {}", in_brief(device))
}

/// How many epochs are finished, of how many, if that is known.
fn finished(epoch: u32, story: &Story) -> String {
    match story.epochs {
        0 => count(epoch as usize, "epoch"),
        epochs => format!("{epoch} of {epochs} epochs"),
    }
}

fn said(what: &What, before: &[Told], story: &Story) -> String {
    match what {
        What::Ordered => "ordered".to_owned(),
        What::Asked { by, demand, answer } => {
            let answer = answer.as_deref().unwrap_or("not answered yet");
            format!("{by} asked: {demand}; {answer}")
        }
        What::Moved { attempt, worker, device, what } => {
            moved(*attempt, worker.as_deref(), device.as_deref(), what, before)
        }
        What::Replaced { attempt, worker, score, epochs } => {
            let score = score.map_or_else(String::new, |score| format!("{} {score:.2}, ", story.score_name));
            format!(
                "an earlier result was replaced: {score}{}, by attempt {} on {worker}",
                count(*epochs as usize, "epoch"),
                attempt.0
            )
        }
    }
}

fn moved(
    attempt: Attempt,
    worker: Option<&str>,
    device: Option<&str>,
    what: &Move,
    before: &[Told],
) -> String {
    let (number, worker) = (attempt.0, worker.unwrap_or("its worker"));
    match what {
        Move::Claimed { worker, from } => {
            let device = device.map_or_else(String::new, |device| format!(", {device}"));
            format!("attempt {number} on {worker}{device}, {}", from.as_deref().map_or_else(start, beginning))
        }
        Move::Done { stopped_after } => {
            let early =
                stopped_after.map_or_else(String::new, |epochs| format!(" early, after epoch {epochs}"));
            if is_over(attempt, before) {
                format!("the result of attempt {number} came late and was accepted{early}")
            } else {
                format!("attempt {number} is done{early}")
            }
        }
        Move::Failed { error } => format!("attempt {number} failed: {}", one_line(error)),
        Move::Lost { silent: Some(seconds) } => {
            let silent = cost::in_words(Duration::from_secs(*seconds));
            format!("attempt {number} was lost: {worker} had been silent for {silent}")
        }
        Move::Lost { silent: None } => format!("attempt {number} was lost: {worker} had died"),
        Move::Released { why } => format!("attempt {number} was handed back: {why}"),
        Move::Deferred { why } => {
            format!("attempt {number} was handed back, which does not count against it: {}", one_line(why))
        }
        Move::Dropped => format!("attempt {number} was dropped: the job is trained anew"),
        Move::Excused { workers } => {
            format!(
                "what failed on {} no longer counts, because that is no fault of it",
                workers.join(" and ")
            )
        }
        Move::Reopened => "it is tried again".to_owned(),
        Move::TrainedAnew => "it is trained anew, from the start".to_owned(),
        Move::GoneOn => "it goes on after its early end".to_owned(),
        Move::Unknown => format!("attempt {number}: something that a later version of ferry knows"),
    }
}

fn start() -> String {
    "from the start".to_owned()
}

fn beginning(Beginning { epoch, step, origin }: &Beginning) -> String {
    let steps = if *step == 0 { String::new() } else { format!(" and {step} steps") };
    let origin = origin.map_or_else(String::new, |origin| {
        format!(" of job {}, which has {} epochs", origin.job.short(), origin.epochs)
    });
    format!("from epoch {epoch}{steps}{origin}")
}

/// Whether the attempt had ended before, or another one had followed it.
fn is_over(attempt: Attempt, before: &[Told]) -> bool {
    before.iter().any(|told| match &told.what {
        What::Moved { attempt: other, what, .. } => match what {
            Move::Claimed { .. } => *other > attempt,
            Move::Done { .. }
            | Move::Failed { .. }
            | Move::Lost { .. }
            | Move::Released { .. }
            | Move::Deferred { .. }
            | Move::Dropped => *other == attempt,
            Move::Excused { .. } | Move::Reopened | Move::TrainedAnew | Move::GoneOn | Move::Unknown => false,
        },
        What::Ordered | What::Asked { .. } | What::Replaced { .. } => false,
    })
}

fn checkpoint(Kept { epoch, step, bytes, origin }: &Kept) -> String {
    let at = beginning(&Beginning { epoch: *epoch, step: *step, origin: *origin });
    format!("{}, {:.1} MB", at.trim_start_matches("from "), *bytes as f64 / 1e6)
}

fn incident(Against { worker, standing, kind }: &Against) -> String {
    let why = match kind {
        IncidentKind::Failed { error } => format!("it failed there: {}", one_line(error)),
        IncidentKind::Lost => "it was lost there".to_owned(),
    };
    format!("{worker} is {standing}: {why}")
}

#[cfg(test)]
mod tests;
