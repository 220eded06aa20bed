//! The subject: proportions and colours that are the same in all its images.

use shared::rng::Stream;

/// A colour with components in [0, 1].
pub(super) type Rgb = [f32; 3];

/// One subject. Lengths are in the face frame: x to the right, y down, the chin at about y = 1, the face about 1.6
/// wide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) face_width: f64,
    pub(super) chin: f64,
    /// Exponent of the jaw's curve: small is angular, large is pointed.
    pub(super) jaw: f64,
    pub(super) eye_x: f64,
    pub(super) eye_y: f64,
    pub(super) eye_width: f64,
    pub(super) eye_height: f64,
    pub(super) brow_gap: f64,
    pub(super) brow_slant: f64,
    pub(super) brow_arch: f64,
    pub(super) brow_thickness: f64,
    pub(super) nose_length: f64,
    pub(super) nose_width: f64,
    pub(super) mouth_y: f64,
    pub(super) mouth_width: f64,
    pub(super) lip: f64,
    /// How far the resting corners of the mouth point up.
    pub(super) mouth_rest: f64,
    pub(super) hairline: f64,
    pub(super) long_hair: bool,
    pub(super) fringe: f64,
    pub(super) beard: f32,
    pub(super) glasses: bool,
    pub(super) skin: Rgb,
    pub(super) hair: Rgb,
    pub(super) iris: Rgb,
    pub(super) lips: Rgb,
}

impl Identity {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        let skin = skin(stream);
        let red = stream.between(0.05, 0.35) as f32;
        Self {
            face_width: stream.between(0.70, 0.88),
            chin: stream.between(0.95, 1.10),
            jaw: stream.between(0.55, 0.95),
            eye_x: stream.between(0.31, 0.39),
            eye_y: stream.between(-0.22, -0.14),
            eye_width: stream.between(0.145, 0.180),
            eye_height: stream.between(0.065, 0.090),
            brow_gap: stream.between(0.175, 0.215),
            brow_slant: 0.025 * stream.normal(),
            brow_arch: stream.between(0.01, 0.06),
            brow_thickness: stream.between(0.050, 0.085),
            nose_length: stream.between(0.36, 0.46),
            nose_width: stream.between(0.11, 0.18),
            mouth_y: stream.between(0.54, 0.59),
            mouth_width: stream.between(0.26, 0.32),
            lip: stream.between(0.055, 0.085),
            mouth_rest: 0.12 * stream.normal(),
            hairline: stream.between(-0.78, -0.62),
            long_hair: stream.chance(0.45),
            fringe: if stream.chance(0.35) { stream.between(0.05, 0.2) } else { 0.0 },
            beard: if stream.chance(0.2) { stream.between(0.2, 0.7) as f32 } else { 0.0 },
            glasses: stream.chance(0.18),
            hair: hair(stream),
            iris: pick(
                stream,
                &[[0.25, 0.15, 0.08], [0.30, 0.45, 0.60], [0.30, 0.42, 0.25], [0.12, 0.08, 0.06]],
            ),
            lips: [skin[0] * 0.9 + 0.1 * red, skin[1] * (0.85 - red), skin[2] * (0.9 - red)],
            skin,
        }
    }
}

fn skin(stream: &mut Stream) -> Rgb {
    const TONES: [Rgb; 6] = [
        [0.98, 0.86, 0.77],
        [0.93, 0.76, 0.63],
        [0.84, 0.64, 0.49],
        [0.70, 0.49, 0.35],
        [0.52, 0.35, 0.24],
        [0.36, 0.24, 0.17],
    ];
    let place = stream.between(0.0, (TONES.len() - 1) as f64);
    let (tone, rest) = (place as usize, place.fract() as f32);
    std::array::from_fn(|c| TONES[tone][c] * (1.0 - rest) + TONES[tone + 1][c] * rest)
}

fn hair(stream: &mut Stream) -> Rgb {
    let base = pick(
        stream,
        &[
            [0.08, 0.06, 0.05],
            [0.22, 0.14, 0.09],
            [0.40, 0.25, 0.13],
            [0.72, 0.55, 0.30],
            [0.55, 0.22, 0.10],
            [0.62, 0.61, 0.60],
        ],
    );
    base.map(|v| v * stream.between(0.85, 1.15) as f32)
}

fn pick(stream: &mut Stream, colours: &[Rgb]) -> Rgb {
    colours[stream.below(colours.len() as u64) as usize]
}
