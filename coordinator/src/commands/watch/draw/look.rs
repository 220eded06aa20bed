//! Colours and emphasis. Nothing is told by colour alone.

use ratatui::style::{Color, Modifier, Style};

use super::super::job::State;

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Look {
    pub(in super::super) colour: bool,
}

impl Look {
    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn state(self, state: State) -> Style {
        match state {
            State::Running => self.coloured(Color::Cyan),
            State::Failed => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
            State::Pending => Style::new(),
            State::Paused => self.coloured(Color::Yellow),
            State::Done => self.coloured(Color::Green),
            State::Cancelled => self.faint(),
        }
    }

    pub(super) fn bar(self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub(super) fn curve(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) fn loss(self) -> Style {
        self.coloured(Color::Magenta)
    }

    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// For what matters less.
    pub(super) fn faint(self) -> Style {
        if self.colour { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }

    /// For the row that keys are about.
    pub(super) fn chosen(style: Style) -> Style {
        style.add_modifier(Modifier::REVERSED)
    }
}
