//! How a command fails: text or JSON on standard error, and the exit code.

use std::fmt::Write as _;
use std::process::ExitCode;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde_json::json;
use shared::causes::in_words;
use shared::exit::Exit;
use shared::plural::count;
use shared::stdio::{self, StdoutError};
use shared::terminal::wants_colour;

use super::exit;
use orchestrator::sweep::problem::{Problem, SweepError};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// A sweep file that cannot be used.
    Sweep(Box<SweepError>),
    /// Other bad input.
    Input(anyhow::Error),
    /// Work that failed.
    Work(anyhow::Error),
}

impl From<SweepError> for CommandError {
    fn from(error: SweepError) -> Self {
        Self::Sweep(Box::new(error))
    }
}

impl From<StdoutError> for CommandError {
    fn from(error: StdoutError) -> Self {
        Self::Work(error.into())
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        match exit::of(&error) {
            Exit::BadInput => Self::Input(error),
            Exit::Done | Exit::Failed | Exit::NotReproduced | Exit::Interrupted => Self::Work(error),
        }
    }
}

impl CommandError {
    /// How the process ends.
    pub(crate) const fn process_exit_code(&self) -> Exit {
        match self {
            Self::Sweep(_) | Self::Input(_) => Exit::BadInput,
            Self::Work(_) => Exit::Failed,
        }
    }

    /// Reports the error on standard error, as one JSON object if `json`, and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if let Some(stdout) = self.stdout() {
            if !matches!(stdout, StdoutError::ReaderGone) {
                stdio::remark(&format!("error: {stdout}"));
            }
            return ExitCode::from(stdout.exit_code());
        }
        match self {
            Self::Sweep(error) if json => stdio::remark(&error.json().to_string()),
            Self::Sweep(error) => stdio::remark(render(error).trim_end()),
            Self::Input(error) | Self::Work(error) if json => {
                stdio::remark(&json!({ "error": in_words(error.as_ref()) }).to_string());
            }
            Self::Input(error) | Self::Work(error) => {
                stdio::remark(&format!("error: {}", in_words(error.as_ref())));
            }
        }
        self.process_exit_code().into()
    }
}

impl CommandError {
    /// The error of writing the answer, which is neither bad input nor failed work.
    fn stdout(&self) -> Option<&StdoutError> {
        match self {
            Self::Input(error) | Self::Work(error) => error.chain().find_map(|cause| cause.downcast_ref()),
            Self::Sweep(_) => None,
        }
    }
}

fn render(error: &SweepError) -> String {
    let theme = if wants_colour() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
    let mut text = String::new();
    for problem in &error.problems {
        let report = report(error, problem);
        // If rendering fails, fall back to plain text.
        if handler.render_report(&mut text, report.as_ref()).is_err() {
            return format!("{error}\n");
        }
    }
    if error.more > 0 {
        let _ = writeln!(text, "and {}", count(error.more, "more problem"));
    }
    text
}

fn report(error: &SweepError, problem: &Problem) -> Report {
    let file = error.file.display().to_string();
    let Some((line, column)) = error.place(problem) else {
        let mut diagnostic = MietteDiagnostic::new(format!("{file}: {}", problem.message));
        diagnostic.help.clone_from(&problem.help);
        return Report::new(diagnostic);
    };
    let span = problem.span.offset..problem.span.offset + problem.span.len;
    let mut diagnostic = MietteDiagnostic::new(format!("{file}:{line}:{column}: {}", problem.message))
        .with_label(LabeledSpan::underline(span));
    diagnostic.help.clone_from(&problem.help);
    Report::new(diagnostic).with_source_code(NamedSource::new(file, error.text.clone()))
}
