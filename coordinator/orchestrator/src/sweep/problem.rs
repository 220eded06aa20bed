//! What is wrong with a sweep file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// How many problems are reported; further ones are only counted.
const MOST_REPORTED: usize = 10;

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span {
    pub offset: usize,
    pub len: usize,
}

impl Span {
    /// This span, adjusted to whole characters within `text`.
    #[must_use]
    pub fn within(self, text: &str) -> Self {
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let offset = floor(self.offset);
        Self { offset, len: floor(offset + self.len) - offset }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub span: Span,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// True if the message ends with the text of the file at `span`.
    quotes: bool,
}

impl Problem {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None, quotes: false }
    }

    /// A problem whose message ends with `; got` and the value as written in the file.
    pub fn with_value(span: Span, message: impl Into<String>) -> Self {
        Self { quotes: true, ..Self::new(span, message) }
    }

    /// The finished problem, for a file with this text.
    #[must_use]
    pub fn quoting(mut self, text: &str) -> Self {
        if std::mem::take(&mut self.quotes) {
            let Span { offset, len } = self.span.within(text);
            self.message = format!("{}; got {}", self.message, &text[offset..offset + len]);
        }
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests the nearest of the `right` names, or all of them if none is near and there are only a few.
    #[must_use]
    pub fn suggest<'a>(self, wrong: &str, right: impl IntoIterator<Item = &'a str>) -> Self {
        let right: Vec<&str> = right.into_iter().collect();
        match nearest(wrong, &right) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None if right.is_empty() || right.len() > 12 => self,
            None => self.help(format!("known: {}", right.join(", "))),
        }
    }
}

/// The name most similar to `wrong`, if any is similar.
pub fn nearest<'a>(wrong: &str, right: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let wrong = plain(wrong);
    right
        .iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &plain(name)), *name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A sweep file that cannot be used; nothing was started or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct SweepError {
    pub file: PathBuf,
    /// The file's text; empty when it could not be read.
    pub text: String,
    /// At least one; ordered by place.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub more: usize,
}

impl SweepError {
    pub fn new(file: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        for problem in &mut problems {
            problem.span = problem.span.within(text);
        }
        problems.sort_by_key(|problem| problem.span.offset);
        problems.dedup();
        let more = problems.len().saturating_sub(MOST_REPORTED);
        problems.truncate(MOST_REPORTED);
        Self { file: file.to_owned(), text: text.to_owned(), problems, more }
    }

    /// Line and column of `problem`, from 1, in characters; `None` when the file could not be read.
    pub fn place(&self, problem: &Problem) -> Option<(usize, usize)> {
        let before = self.text.get(..problem.span.offset).filter(|_| !self.text.is_empty())?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// The first problem's fields, and all problems under `problems`.
    pub fn json(&self) -> Value {
        let all: Vec<Value> = self.problems.iter().map(|problem| self.problem_json(problem)).collect();
        let mut object = all.first().cloned().unwrap_or_else(|| json!({}));
        object["problems"] = Value::Array(all);
        object
    }

    fn problem_json(&self, problem: &Problem) -> Value {
        let (line, column) = self.place(problem).unzip();
        json!({
            "error": problem.message,
            "file": self.file.display().to_string(),
            "line": line,
            "column": column,
            "help": problem.help,
        })
    }
}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.file.display())?;
            if let Some((line, column)) = self.place(problem) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_columns_in_characters() {
        let text = "ü: 1\näö: x\n";
        let offset = text.find('x').unwrap();
        let problem = Problem::new(Span { offset, len: 1 }, "wrong");
        let error = SweepError::new(Path::new("a.yaml"), text, vec![problem]);
        assert_eq!(error.to_string(), "a.yaml:2:5: wrong");
        assert_eq!(error.json()["column"], 5);
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let names = ["learning_rate", "lr_decay", "epochs"];
        assert_eq!(nearest("learning-rat", &names), Some("learning_rate"));
        assert_eq!(nearest("epoch", &names), Some("epochs"));
        assert_eq!(nearest("zzz", &names), None);
    }
}
