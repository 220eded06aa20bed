//! The frame of every section of the page.

use maud::{Markup, html};

/// A section with its heading and a line about what it shows.
pub(super) fn section(title: &str, note: &str, body: &Markup) -> Markup {
    html! { section { h2 { (title) } p.note { (note) } (body) } }
}
