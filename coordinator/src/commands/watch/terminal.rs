//! The terminal: its modes, its keys, and that it is left as it was. The only file that names the terminal library, which
//! listens for changes of size by a signal handler of its own (SIGWINCH).

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, EventStream, KeyCode, KeyEvent, KeyEventKind,
    KeyModifiers,
};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use futures::StreamExt;
use orchestrator::view::console;
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;
use rustix::process::{Signal, getpid, kill_process};

use super::message::{Key, Message};

/// Bytes that are written to the terminal at a time.
const BUFFER: usize = 64 << 10;

/// Whether the terminal has the modes of the full screen now.
static ENTERED: AtomicBool = AtomicBool::new(false);

type Canvas = ratatui::Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// A terminal that shows a full screen until this is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    canvas: Canvas,
    events: EventStream,
    /// A key that came together with the one before.
    also: Option<Key>,
}

/// Whether there is a terminal that can show a full screen.
pub(super) fn is_there() -> bool {
    let can = std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
    can && io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Whether it may have colours (<https://no-color.org>).
pub(super) fn has_colours() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    let is_plain = term.starts_with("vt1") || term.starts_with("vt2") || term.ends_with("-mono");
    !is_plain && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Terminal {
    /// Opens the full screen.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(super) fn open() -> io::Result<Self> {
        leave_on_panic();
        enter().inspect_err(|_| leave())?;
        Ok(Self { canvas: canvas().inspect_err(|_| leave())?, events: EventStream::new(), also: None })
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// When the terminal cannot be written to: it may be gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.canvas.draw(draw).map(drop)
    }

    /// The next key or change of size; `None` when the terminal is gone. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Message> {
        if let Some(key) = self.also.take() {
            return Some(Message::Key(key));
        }
        loop {
            match self.events.next().await?.ok()? {
                Event::Key(event) if event.kind != KeyEventKind::Release => {
                    // What a terminal sends for Alt with a key is also what Escape and then that key send.
                    if let KeyCode::Char(letter) = event.code
                        && event.modifiers.contains(KeyModifiers::ALT)
                    {
                        self.also = Some(Key::Char(letter));
                        return Some(Message::Key(Key::Escape));
                    }
                    if let Some(key) = key(event) {
                        return Some(Message::Key(key));
                    }
                }
                Event::Paste(text) => return Some(Message::Key(Key::Paste(text))),
                Event::Resize(..) => return Some(Message::Resized),
                Event::Key(_) | Event::Mouse(_) | Event::FocusGained | Event::FocusLost => {}
            }
        }
    }

    /// Ctrl-Z: leaves the terminal to the shell until this process is continued.
    ///
    /// # Errors
    /// When the process cannot be stopped, or the terminal refuses afterwards.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        leave();
        kill_process(getpid(), Signal::STOP)?;
        // It continues here.
        enter()?;
        self.canvas = canvas()?; // Knows nothing of what is on the terminal, so everything is drawn.
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

fn canvas() -> io::Result<Canvas> {
    Canvas::new(CrosstermBackend::new(BufWriter::with_capacity(BUFFER, io::stdout())))
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    console::hold();
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide, EnableBracketedPaste)
}

/// Gives the terminal its modes back. What was logged meanwhile is shown. Errors are ignored: the terminal may be gone.
fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    let _gone = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _gone = io::stdout().flush();
    let _gone = disable_raw_mode();
    console::release();
}

/// Lets a panic leave the full screen first: its message would be lost there.
fn leave_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            usual(panic);
        }));
    });
}

/// A key that the screen knows.
fn key(KeyEvent { code, modifiers, .. }: KeyEvent) -> Option<Key> {
    let with_ctrl = modifiers.contains(KeyModifiers::CONTROL);
    Some(match code {
        KeyCode::Char('c') if with_ctrl => Key::Interrupt,
        KeyCode::Char('z') if with_ctrl => Key::Suspend,
        KeyCode::Char('u') if with_ctrl => Key::Empty,
        KeyCode::Char(_) if with_ctrl => return None,
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[ignore = "the next test runs it on a pseudo-terminal"]
    fn panics_on_a_full_screen() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _terminal = Terminal::open().unwrap();
            panic!("this panic is a test");
        });
    }

    /// Its message must be seen, on a terminal as it was.
    #[test]
    fn a_panic_leaves_the_full_screen_first() {
        let this = std::env::current_exe().unwrap();
        let name = "commands::watch::terminal::tests::panics_on_a_full_screen";
        let shell = format!(
            "stty -a; '{}' --ignored --exact {name} --nocapture --test-threads=1; stty -a",
            this.display()
        );
        let mut script = Command::new("script");
        script.args(["-qc", &shell, "/dev/null"]).env("TERM", "xterm-256color").stdin(Stdio::null());
        let output = script.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text:?}"));
        let (entered, left) = (place("\u{1b}[?1049h"), place("\u{1b}[?1049l"));
        assert!(entered < left && left < place("this panic is a test"), "{text:?}");
        let settings: Vec<&str> =
            text.match_indices("speed ").map(|(at, _)| &text[at..text.len().min(at + 600)]).collect();
        let modes = |text: &str| text.split("-tostop").next().map(str::to_owned);
        assert_eq!(settings.len(), 2, "{text:?}");
        assert_eq!(modes(settings[0]), modes(settings[1]));
    }
}
