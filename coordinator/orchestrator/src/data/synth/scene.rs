//! The scene: what is behind the head, in front of it, and the effects of light and camera.

use shared::rng::Stream;

use super::canvas::Canvas;
use super::identity::{Identity, Rgb};
use super::paint::shade;

/// A gradient with a few soft shapes.
pub(super) fn background(stream: &mut Stream, canvas: &mut Canvas) {
    let colours = [colour(stream, 0.1, 0.9), colour(stream, 0.1, 0.9)];
    let angle = stream.between(0.0, std::f64::consts::TAU) as f32;
    let (sin, cos) = angle.sin_cos();
    canvas.gradient([[-cos, -sin], [cos, sin]], colours);
    for _ in 0..stream.below(5) {
        let centre = [stream.between(-1.0, 1.0) as f32, stream.between(-1.0, 1.0) as f32];
        let radii = [stream.between(0.1, 0.6) as f32, stream.between(0.1, 0.6) as f32];
        let alpha = stream.between(0.2, 0.8) as f32;
        let angle = stream.between(0.0, 3.0) as f32;
        canvas.ellipse(centre, radii, angle, colour(stream, 0.05, 0.95), alpha);
    }
    let shirt = colour(stream, 0.1, 0.9);
    canvas.ellipse([0.0, 1.25], [0.9, 0.5], 0.0, shirt, 1.0);
}

/// Sometimes a hand, an object or strands of hair hide a part of the face.
pub(super) fn occlusion(stream: &mut Stream, identity: &Identity, canvas: &mut Canvas) {
    let at = |stream: &mut Stream| [stream.between(-0.7, 0.7) as f32, stream.between(-0.5, 0.9) as f32];
    if stream.chance(0.06) {
        hand(stream, at, identity.skin, canvas);
    }
    if stream.chance(0.06) {
        let radii = [stream.between(0.1, 0.3) as f32, stream.between(0.08, 0.2) as f32];
        let angle = stream.between(0.0, 3.0) as f32;
        canvas.ellipse(at(stream), radii, angle, colour(stream, 0.05, 0.95), 1.0);
    }
    if stream.chance(0.10) {
        for _ in 0..=stream.below(4) {
            let x = stream.between(-0.6, 0.6) as f32;
            let bend = stream.between(-0.25, 0.25) as f32;
            let end = stream.between(-0.2, 0.4) as f32;
            let strand = [[x, -0.75], [x + bend, -0.3], [x + 1.3 * bend, end]];
            canvas.line(&strand, stream.between(0.015, 0.05) as f32, shade(identity.hair, 0.9), 0.95);
        }
    }
}

fn hand(stream: &mut Stream, at: impl Fn(&mut Stream) -> [f32; 2], skin: Rgb, canvas: &mut Canvas) {
    let [x, y] = at(stream);
    let size = stream.between(0.6, 1.1) as f32;
    let angle = stream.between(-0.6, 0.6) as f32;
    let tone = shade(skin, 0.92);
    for finger in 0..4 {
        let across = (finger as f32 - 1.5) * 0.1 * size;
        let tip = [x + across + 0.3 * size * angle.sin(), y - 0.28 * size * angle.cos()];
        let line = [[x + across, y], tip];
        canvas.line(&line, 0.11 * size, shade(skin, 0.6), 1.0);
        canvas.line(&line, 0.09 * size, tone, 1.0);
    }
    canvas.ellipse([x, y + 0.12 * size], [0.22 * size, 0.2 * size], angle, tone, 1.0);
}

/// Light from one side, colour cast, contrast, blur and sensor noise, on H x W x 3 components in [0, 1].
pub(super) fn develop(stream: &mut Stream, mut rgb: Vec<f32>, size: usize) -> Vec<u8> {
    let (sin, cos) = stream.between(0.0, std::f64::consts::TAU).sin_cos();
    let strength = stream.between(0.0, 0.35);
    let exposure = stream.between(0.7, 1.2);
    let cast: [f64; 3] = std::array::from_fn(|_| 1.0 + 0.08 * stream.normal());
    for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let x = 2.0 * (i % size) as f64 / size as f64 - 1.0;
        let y = 2.0 * (i / size) as f64 / size as f64 - 1.0;
        let light = exposure * (1.0 + strength * (x * cos + y * sin));
        for (value, cast) in pixel.iter_mut().zip(cast) {
            *value *= (light * cast) as f32;
        }
    }
    let sigma = stream.between(0.0, 0.010) * size as f64;
    blur(&mut rgb, size, sigma);
    let noise = stream.between(0.0, 0.03) as f32;
    rgb.iter().map(|v| ((v + noise * grain(stream)).clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect()
}

/// Approximately standard normal, from one draw: the sum of four uniform 16-bit numbers.
fn grain(stream: &mut Stream) -> f32 {
    let bits = stream.next_u64();
    let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xFFFF).sum();
    // Four uniforms on [0, 1) have mean 2 and variance 1/3.
    (sum as f32 / 65_536.0 - 2.0) * 1.732
}

/// Gaussian blur, rows then columns.
fn blur(rgb: &mut [f32], size: usize, sigma: f64) {
    if sigma < 0.2 {
        return;
    }
    let radius = (2.5 * sigma).ceil() as isize;
    let mut kernel: Vec<f32> =
        (-radius..=radius).map(|i| (-((i * i) as f64) / (2.0 * sigma * sigma)).exp() as f32).collect();
    let sum: f32 = kernel.iter().sum();
    for weight in &mut kernel {
        *weight /= sum;
    }
    for step in [3, 3 * size] {
        let other = if step == 3 { 3 * size } else { 3 };
        let source = rgb.to_vec();
        for line in 0..size {
            for position in 0..size as isize {
                for channel in 0..3 {
                    let at =
                        |p: isize| line * other + p.clamp(0, size as isize - 1) as usize * step + channel;
                    let offsets = (-radius..=radius).zip(&kernel);
                    rgb[at(position)] = offsets.map(|(d, weight)| source[at(position + d)] * weight).sum();
                }
            }
        }
    }
}

fn colour(stream: &mut Stream, low: f64, high: f64) -> Rgb {
    std::array::from_fn(|_| stream.between(low, high) as f32)
}
