//! Scales, coordinates and colours of all charts.

use crate::report::measure::Measure;

/// The numbers of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// F1 in percent, with steps of 0.1 and more.
    Percent,
    /// Numbers of any size.
    Any,
}

impl Scale {
    /// That of jobs' scores.
    pub(super) fn of(measure: &Measure) -> Self {
        if measure.is_f1() { Self::Percent } else { Self::Any }
    }
}

/// A linear scale from data to pixels, with round bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) step: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Axis {
    /// An axis that holds all `values`, drawn between the pixels `from` and `to`, with about `ticks` round steps.
    /// `None` without values.
    pub(super) fn over(
        values: impl IntoIterator<Item = f64>,
        scale: Scale,
        ticks: f64,
        from: f64,
        to: f64,
    ) -> Option<Self> {
        let (low, high) = values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        let step = match scale {
            Scale::Percent => round_step((high - low).max(0.5) / ticks).max(0.1),
            // Values that are almost equal lie on one tick.
            Scale::Any => match low.abs().max(high.abs()) {
                largest if largest > f64::MIN_POSITIVE => {
                    round_step((high - low).max(largest * 1e-3) / ticks)
                }
                _ => 1.0,
            },
        };
        let low = (low / step).floor() * step;
        let high = ((high / step).ceil() * step).max(low + step);
        Some(Self { low, high, step, from, to })
    }

    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        let steps = ((self.high - self.low) / self.step).round() as u32;
        (0..=steps).map(|i| self.low + f64::from(i) * self.step).collect()
    }

    /// A tick's text, with as many decimals as the step needs.
    pub(super) fn label(&self, tick: f64) -> String {
        let decimals = (-self.step.log10() - 1e-9).ceil().max(0.0) as usize;
        format!("{tick:.decimals$}")
    }
}

/// The smallest of …, 0.1, 0.2, 0.5, 1, 2, 5, … that is not below `raw`.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= raw * 0.999).unwrap_or(10.0) * power
}

/// A coordinate, rounded to a tenth of a pixel.
pub(super) fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// The CSS class that colours a group's marks. The style sheet has six, which repeat.
pub(in crate::report) fn colour(group: usize) -> String {
    format!("g{}", group % 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_bounds_around_their_values() {
        let axis = Axis::over([66.46, 71.82], Scale::Percent, 5.0, 0.0, 100.0).unwrap();
        assert_eq!((axis.low, axis.high, axis.step), (66.0, 72.0, 2.0));
        assert_eq!(axis.ticks(), [66.0, 68.0, 70.0, 72.0]);
        assert!((axis.at(69.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn one_value_and_none() {
        for (value, scale) in
            [(50.0, Scale::Percent), (50.0, Scale::Any), (0.0, Scale::Any), (-3e-9, Scale::Any)]
        {
            let axis = Axis::over([value], scale, 5.0, 0.0, 10.0).unwrap();
            assert!(axis.low <= value && axis.high > axis.low, "{axis:?}");
            assert!((2..20).contains(&axis.ticks().len()), "{axis:?}");
        }
        assert_eq!(Axis::over([], Scale::Percent, 5.0, 0.0, 10.0), None);
    }

    #[test]
    fn steps_are_as_fine_as_the_numbers() {
        let labels = |values: [f64; 2], scale| {
            let axis = Axis::over(values, scale, 4.0, 0.0, 10.0).unwrap();
            axis.ticks().into_iter().map(|tick| axis.label(tick)).collect::<Vec<_>>()
        };
        assert_eq!(labels([0.012, 0.048], Scale::Any), ["0.01", "0.02", "0.03", "0.04", "0.05"]);
        assert_eq!(labels([0.012, 0.048], Scale::Percent), ["0.0", "0.2"]);
        assert_eq!(
            labels([1.2e6, 2.9e6], Scale::Any),
            ["1000000", "1500000", "2000000", "2500000", "3000000"]
        );
    }
}
