//! The report's charts as inline SVG. Colours come from the page's style sheet, so that they follow its light or dark
//! scheme. Every mark has a `<title>`, which browsers show as a tooltip and screen readers read out.

mod axis;
mod curves;
mod dots;
mod scatter;

pub(super) use axis::colour;
pub(super) use curves::{curves, show_others};
pub(super) use dots::dots;
pub(super) use scatter::scatter;
