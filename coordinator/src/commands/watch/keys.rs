//! What the keys of the screen do. Pure.

use shared::ids::JobId;
use shared::protocol::Priority;

use super::super::steer::Verb;
use super::filter;
use super::message::{Action, Key};
use super::model::{Mode, Model, Pane, Rights, Server, Typed};
use super::question::{Question, Target};

/// How many rows a page has.
const PAGE: usize = 10;
/// The longest filter, in characters.
const LONGEST_FILTER: usize = 500;
const LONGEST_PRIORITY: usize = 5;

/// Keys that steer jobs. A capital letter means all jobs that are shown.
const VERBS: [(char, Verb); 5] = [
    ('p', Verb::Pause),
    ('r', Verb::Resume),
    ('c', Verb::Cancel),
    ('t', Verb::Retry { only_failed: false, anew: false }),
    ('f', Verb::Priority(Priority::MOST)),
];
/// Asks for a priority.
const NUMBER: char = 'n';

impl Model {
    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: &Key) -> Vec<Action> {
        match key {
            Key::Interrupt => return vec![Action::Quit],
            Key::Suspend => return vec![Action::Suspend],
            _ => {}
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => return self.browse(key),
            Mode::Filter(typed) => self.type_filter(typed, key),
            Mode::Priority { typed, all } => self.type_priority(typed, all, key),
            Mode::Confirm(question) => return self.confirm(question, key),
            Mode::Details { job, line } => self.read_details(job, line, key),
            Mode::Help => {
                if *key == Key::Char('q') {
                    return vec![Action::Quit];
                }
            }
        }
        Vec::new()
    }

    fn browse(&mut self, key: &Key) -> Vec<Action> {
        self.notice = None;
        match key {
            Key::Char('q') => return vec![Action::Quit],
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('/') => {
                self.mode = Mode::Filter(Typed { text: self.filter.clone(), error: None });
            }
            Key::Escape if !self.filter.is_empty() => self.use_filter(""),
            Key::Tab => self.focus = next(self.focus, &self.panes()),
            Key::BackTab => {
                let mut panes = self.panes();
                panes.reverse();
                self.focus = next(self.focus, &panes);
            }
            Key::Enter => self.enter(),
            Key::Up | Key::Char('k') => self.move_by(|at| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.move_by(|at| at + 1),
            Key::PageUp => self.move_by(|at| at.saturating_sub(PAGE)),
            Key::PageDown | Key::Char(' ') => self.move_by(|at| at + PAGE),
            Key::Home | Key::Char('g') => self.move_by(|_| 0),
            Key::End | Key::Char('G') => self.move_by(|_| usize::MAX),
            Key::Char(letter) => self.steer(*letter),
            _ => {}
        }
        Vec::new()
    }

    /// The panes that there are.
    fn panes(&self) -> Vec<Pane> {
        let all = [Pane::Jobs, Pane::Workers, Pane::Ensembles, Pane::Log];
        let is_there = |pane: &Pane| *pane != Pane::Ensembles || !self.ensembles.is_empty();
        all.into_iter().filter(is_there).collect()
    }

    /// Moves within the pane that has the focus.
    fn move_by(&mut self, to: impl Fn(usize) -> usize) {
        match self.focus {
            Pane::Jobs => {
                let Some(row) = self.current_row() else { return };
                self.row = to(row).min(self.jobs.rows().saturating_sub(1));
                self.chosen = self.jobs.at(self.row).map(|place| self.jobs.id(place));
                self.scrolled = 0;
            }
            Pane::Workers => self.worker = to(self.worker).min(self.workers.len().saturating_sub(1)),
            Pane::Ensembles => {
                self.ensemble = to(self.ensemble).min(self.ensembles.len().saturating_sub(1));
            }
            // Up means towards earlier lines; the newest is at the bottom.
            Pane::Log => {
                let lines = self.current().map_or(0, |place| self.log(place).len());
                let last = lines.saturating_sub(1);
                let line = to(last.saturating_sub(self.scrolled)).min(last);
                self.scrolled = last - line;
            }
        }
    }

    fn enter(&mut self) {
        match self.focus {
            Pane::Jobs | Pane::Log => {
                if let Some(place) = self.current() {
                    self.mode = Mode::Details { job: self.jobs.id(place), line: 0 };
                }
            }
            Pane::Workers => {
                if let Some(job) = self.workers.get(self.worker).and_then(|worker| worker.job) {
                    self.go_to(job);
                }
            }
            Pane::Ensembles => {
                if let Some(place) = self.ensembles.get(self.ensemble).and_then(|ensemble| ensemble.awaits) {
                    self.go_to(self.jobs.id(place));
                }
            }
        }
    }

    /// Chooses a job in the list, if it is shown there.
    fn go_to(&mut self, job: JobId) {
        match self.jobs.place(job).map(|place| self.jobs.row(place)) {
            Some(Some(row)) => {
                (self.focus, self.chosen, self.row, self.scrolled) = (Pane::Jobs, Some(job), row, 0);
            }
            Some(None) => self.notice = Some("the filter hides that job: Esc removes it".to_owned()),
            None => self.notice = Some("that job belongs to another sweep".to_owned()),
        }
    }

    fn type_filter(&mut self, Typed { mut text, .. }: Typed, key: &Key) {
        match key {
            Key::Escape => return,
            Key::Enter => {
                match filter::read(&text, &self.jobs) {
                    Ok(_) => self.use_filter(&text),
                    Err(error) => self.mode = Mode::Filter(Typed { text, error: Some(error) }),
                }
                return;
            }
            _ => edit(&mut text, key, LONGEST_FILTER),
        }
        let error = filter::read(&text, &self.jobs).err();
        self.mode = Mode::Filter(Typed { text, error });
    }

    fn type_priority(&mut self, Typed { mut text, .. }: Typed, all: bool, key: &Key) {
        match key {
            Key::Escape => return,
            Key::Enter => {
                if let Ok(priority) = text.trim().parse() {
                    self.ask(Verb::Priority(priority), all);
                } else {
                    let (least, most) = (Priority::LEAST, Priority::MOST);
                    let error = format!("write a whole number from {least} to {most}, where 0 is normal");
                    self.mode = Mode::Priority { typed: Typed { text, error: Some(error) }, all };
                }
                return;
            }
            _ => edit(&mut text, key, LONGEST_PRIORITY),
        }
        self.mode = Mode::Priority { typed: Typed { text, error: None }, all };
    }

    /// Shows the jobs that a filter means, which was found sound.
    fn use_filter(&mut self, text: &str) {
        if let Ok(selection) = filter::read(text, &self.jobs) {
            self.jobs.show(selection);
            (self.filter, self.row) = (text.trim().to_owned(), 0);
        }
    }

    /// Any key but `y` means no.
    fn confirm(&mut self, question: Question, key: &Key) -> Vec<Action> {
        if !matches!(key, Key::Char('y' | 'Y')) {
            self.notice = Some("nothing was changed".to_owned());
            return Vec::new();
        }
        self.notice = Some(format!("{}: asked, waiting for the answer", question.what));
        vec![Action::Ask(question)]
    }

    fn read_details(&mut self, job: JobId, line: usize, key: &Key) {
        let Some(place) = self.jobs.place(job) else { return };
        let last = self.details(place).len().saturating_sub(1);
        let line = match key {
            Key::Up | Key::Char('k') => line.saturating_sub(1),
            Key::Down | Key::Char('j') => line + 1,
            Key::PageUp => line.saturating_sub(PAGE),
            Key::PageDown | Key::Char(' ') => line + PAGE,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            Key::Char('q') | Key::Enter | Key::Escape => return,
            _ => line,
        };
        self.mode = Mode::Details { job, line: line.min(last) };
    }

    /// Asks whether to do what a letter stands for, with one job or all that are shown.
    fn steer(&mut self, letter: char) {
        let verb = VERBS.into_iter().find(|(key, _)| letter.eq_ignore_ascii_case(key)).map(|(_, verb)| verb);
        if verb.is_none() && !letter.eq_ignore_ascii_case(&NUMBER) {
            self.notice = Some(format!("`{letter}` does nothing here; ? lists the keys"));
            return;
        }
        if let Some(why) = self.refusal() {
            self.notice = Some(why);
            return;
        }
        let all = letter.is_ascii_uppercase();
        match verb {
            Some(verb) => self.ask(verb, all),
            None => self.mode = Mode::Priority { typed: Typed { text: String::new(), error: None }, all },
        }
    }

    /// Asks whether to do this with the chosen job, or with all that are shown.
    fn ask(&mut self, verb: Verb, all: bool) {
        let places: Vec<usize> =
            if all { self.jobs.shown().collect() } else { self.current().into_iter().collect() };
        let targets: Vec<Target> = places
            .into_iter()
            .map(|place| Target {
                job: self.jobs.id(place),
                label: self.label(place),
                state: self.jobs.get(place).state().name(),
            })
            .collect();
        match Question::of(verb, &targets, self.jobs.plan.priority) {
            Ok(question) => self.mode = Mode::Confirm(question),
            Err(why) => self.notice = Some(why),
        }
    }

    /// Why jobs cannot be steered from here.
    fn refusal(&self) -> Option<String> {
        match (self.server, self.rights) {
            (Server::AtRest, _) => Some(
                "nothing runs here, and this screen only shows what was read: use `ferry pause`, `cancel`, `retry`"
                    .to_owned(),
            ),
            (_, Rights::Observe) => {
                Some("with an observer's credential you can look, but change nothing".to_owned())
            }
            (Server::Away { .. }, Rights::Steer) => {
                Some("the server does not answer: wait until it is back".to_owned())
            }
            (Server::Answers, Rights::Steer) if self.reading.is_some() => {
                Some("the books are still being read: wait a moment".to_owned())
            }
            (Server::Answers, Rights::Steer) => None,
        }
    }
}

/// Changes a text that is typed.
fn edit(text: &mut String, key: &Key, longest: usize) {
    match key {
        Key::Backspace => drop(text.pop()),
        Key::Empty => text.clear(),
        Key::Char(letter) => text.push(*letter),
        Key::Paste(more) => text.extend(more.chars().map(|c| if c.is_control() { ' ' } else { c })),
        _ => {}
    }
    *text = text.chars().take(longest).collect();
}

/// The pane after this one.
fn next(focus: Pane, panes: &[Pane]) -> Pane {
    let at = panes.iter().position(|pane| *pane == focus).map_or(0, |at| at + 1);
    panes[at % panes.len()]
}
