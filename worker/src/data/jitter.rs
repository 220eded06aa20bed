//! Colour jitter of one image, as torchvision's `ColorJitter` computes it on float tensors.
//!
//! An image is planar: `[3, S, S]`, RGB in [0, 1].

use serde::Deserialize;
use shared::mtl::augment::AugmentSpec;
use shared::rng::Stream;

/// One change of colour with its factor. The neutral factor is 1, or 0 for the hue.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    /// A shift, in turns of the colour circle.
    Hue(f32),
}

/// The changes of one image, in the order in which they are applied.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Jitter {
    changes: Vec<Change>,
}

impl Jitter {
    /// Draws factors uniformly from [1 − b, 1 + b] (the hue from [−h, h]), and a random order. A width of 0 switches a
    /// change off.
    pub fn draw(spec: &AugmentSpec, stream: &mut Stream) -> Self {
        let mut around_one =
            |width: f64| (width > 0.0).then(|| stream.between(1.0 - width, 1.0 + width) as f32);
        let [brightness, contrast, saturation] =
            [spec.jitter_brightness, spec.jitter_contrast, spec.jitter_saturation].map(&mut around_one);
        let hue = (spec.jitter_hue > 0.0).then(|| stream.between(-spec.jitter_hue, spec.jitter_hue) as f32);
        let mut changes: Vec<Change> = [
            brightness.map(Change::Brightness),
            contrast.map(Change::Contrast),
            saturation.map(Change::Saturation),
            hue.map(Change::Hue),
        ]
        .into_iter()
        .flatten()
        .collect();
        stream.shuffle(&mut changes);
        Self { changes }
    }

    /// Changes a planar image in place.
    pub fn apply(&self, image: &mut [f32]) {
        for change in &self.changes {
            change.apply(image);
        }
    }
}

impl Change {
    fn apply(self, image: &mut [f32]) {
        match self {
            Self::Brightness(factor) => each(image, |rgb| rgb.map(|v| blend(v, 0.0, factor))),
            Self::Contrast(factor) => {
                let mean = mean_gray(image);
                each(image, |rgb| rgb.map(|v| blend(v, mean, factor)));
            }
            Self::Saturation(factor) => each(image, |rgb| {
                let gray = gray(rgb);
                rgb.map(|v| blend(v, gray, factor))
            }),
            Self::Hue(turn) => each(image, |rgb| {
                let [hue, saturation, value] = to_hsv(rgb);
                to_rgb([one_turn(hue + turn), saturation, value])
            }),
        }
    }
}

fn each(image: &mut [f32], change: impl Fn([f32; 3]) -> [f32; 3]) {
    let plane = image.len() / 3;
    let (red, rest) = image.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        [*red, *green, *blue] = change([*red, *green, *blue]);
    }
}

fn blend(value: f32, other: f32, factor: f32) -> f32 {
    (factor * value + (1.0 - factor) * other).clamp(0.0, 1.0)
}

fn gray([red, green, blue]: [f32; 3]) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

fn mean_gray(image: &[f32]) -> f32 {
    let plane = image.len() / 3;
    let (red, rest) = image.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let pixels = red.iter().zip(green).zip(blue);
    let sum: f64 = pixels.map(|((&red, &green), &blue)| f64::from(gray([red, green, blue]))).sum();
    (sum / plane as f64) as f32
}

/// Hue in [0, 1), saturation and value in [0, 1]; grey has hue 0.
fn to_hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range == 0.0 {
        return [0.0, 0.0, value];
    }
    let [from_red, from_green, from_blue] = [red, green, blue].map(|v| (value - v) / range);
    let sixths = if red >= value {
        from_blue - from_green
    } else if green >= value {
        2.0 + from_red - from_blue
    } else {
        4.0 + from_green - from_red
    };
    [one_turn(sixths / 6.0), range / value, value]
}

/// Wraps a hue from [−1, 2) into [0, 1]. A general remainder would be several times slower.
fn one_turn(hue: f32) -> f32 {
    if hue < 0.0 {
        hue + 1.0
    } else if hue >= 1.0 {
        hue - 1.0
    } else {
        hue
    }
}

fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sector = (hue * 6.0) as u32;
    let fraction = hue * 6.0 - sector as f32;
    let low = (value * (1.0 - saturation)).clamp(0.0, 1.0);
    let falling = (value * (1.0 - saturation * fraction)).clamp(0.0, 1.0);
    let rising = (value * (1.0 - saturation * (1.0 - fraction))).clamp(0.0, 1.0);
    match sector % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::rng::Purpose;

    /// Two pixels, planar: (0.2, 0.6, 0.4) and (0.8, 0.1, 0.5).
    fn image() -> [f32; 6] {
        [0.2, 0.8, 0.6, 0.1, 0.4, 0.5]
    }

    fn changed(change: Change) -> [f32; 6] {
        let mut image = image();
        change.apply(&mut image);
        image
    }

    fn near(seen: [f32; 6], expected: [f32; 6]) {
        assert!(seen.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-6), "{seen:?} {expected:?}");
    }

    #[test]
    fn brightness_scales_and_clamps() {
        near(changed(Change::Brightness(1.5)), [0.3, 1.0, 0.9, 0.15, 0.6, 0.75]);
        near(changed(Change::Brightness(0.5)), [0.1, 0.4, 0.3, 0.05, 0.2, 0.25]);
    }

    #[test]
    fn contrast_blends_with_the_mean_gray() {
        // The grays are 0.45758 and 0.35482, their mean is 0.4062; the result is half the value plus half the mean.
        near(changed(Change::Contrast(0.5)), [0.3031, 0.6031, 0.5031, 0.2531, 0.4031, 0.4531]);
    }

    #[test]
    fn saturation_blends_with_each_pixels_gray() {
        let expected = [0.32879, 0.57741, 0.52879, 0.22741, 0.42879, 0.42741];
        near(changed(Change::Saturation(0.5)), expected);
        near(changed(Change::Saturation(0.0)), [0.45758, 0.35482, 0.45758, 0.35482, 0.45758, 0.35482]);
    }

    #[test]
    fn hue_turns_the_circle() {
        // A third of a turn moves each channel to the next: red's value goes to green, green's to blue.
        near(changed(Change::Hue(1.0 / 3.0)), [0.4, 0.5, 0.2, 0.8, 0.6, 0.1]);
        near(changed(Change::Hue(-1.0 / 3.0)), [0.6, 0.1, 0.4, 0.5, 0.2, 0.8]);
        // Half a turn gives the complement between the same extremes.
        near(changed(Change::Hue(0.5)), [0.6, 0.1, 0.2, 0.8, 0.4, 0.4]);
        near(changed(Change::Hue(0.0)), image());
    }

    #[test]
    fn gray_has_no_hue_and_black_no_saturation() {
        for level in [0.0, 0.5, 1.0] {
            let mut image = [level; 3];
            Change::Hue(0.3).apply(&mut image);
            assert!(image.iter().all(|v| (v - level).abs() < 1e-6));
        }
    }

    #[test]
    fn draws_stay_in_range_and_take_every_order() {
        let spec = AugmentSpec { jitter_hue: 0.1, ..AugmentSpec::default() };
        let mut first = [0; 4];
        for sample in 0..400 {
            let jitter = Jitter::draw(&spec, &mut Stream::new(1, Purpose::SourceView, &[sample]));
            assert_eq!(jitter.changes.len(), 4);
            for (place, change) in jitter.changes.iter().enumerate() {
                let (kind, inside) = match *change {
                    Change::Brightness(f) => (0, (0.5..=1.5).contains(&f)),
                    Change::Contrast(f) => (1, (0.5..=1.5).contains(&f)),
                    Change::Saturation(f) => (2, (0.5..=1.5).contains(&f)),
                    Change::Hue(f) => (3, (-0.1..=0.1).contains(&f)),
                };
                assert!(inside, "{change:?}");
                first[kind] += i32::from(place == 0);
            }
        }
        assert!(first.iter().all(|&count| count > 60), "{first:?}");
    }

    #[test]
    fn a_width_of_zero_switches_a_change_off() {
        let spec = AugmentSpec { jitter_contrast: 0.0, jitter_hue: 0.0, ..AugmentSpec::default() };
        let jitter = Jitter::draw(&spec, &mut Stream::new(1, Purpose::SourceView, &[]));
        assert_eq!(jitter.changes.len(), 2);
    }
}
