//! The two views of an image: emotion (basic augmentation) and appearance (colour jitter only), paper section 2.2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};
use crate::settings::Problem;

/// What `basic_augmentation: false` switches off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BasicOff {
    /// Jitter, flip, affine and erasing of the emotion view (the paper's words).
    All,
    /// Colour jitter only (the authors' code).
    Jitter,
}

/// How often the geometric draws of the emotion view are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AugmentationDraw {
    /// One draw per image.
    Image,
    /// One draw for the whole batch (the authors' code).
    Batch,
}

/// Channel order and scaling of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// RGB in [0, 1], minus `ImageNet`'s mean, over its deviation.
    Imagenet,
    /// BGR in [0, 255] minus `VGGFace2`'s mean, as its weights expect.
    Vggface2Bgr,
}

/// Image size and augmentation of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AugmentSpec {
    /// Height and width of the network's input in pixels.
    pub image_size: u32,
    /// Basic augmentation of the emotion view: the "Basic Aug" column of the paper's Table 2.
    pub basic_augmentation: bool,
    pub basic_off: BasicOff,
    pub augmentation_draw: AugmentationDraw,
    /// Colour jitter: largest relative change of brightness.
    pub jitter_brightness: f64,
    /// Colour jitter: largest relative change of contrast.
    pub jitter_contrast: f64,
    /// Colour jitter: largest relative change of saturation.
    pub jitter_saturation: f64,
    /// Colour jitter: largest turn of the hue, in turns (0.5 is the whole circle).
    pub jitter_hue: f64,
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Probability of the affine warp; 0 follows the list in paper section 3.2 to the letter.
    pub affine: f64,
    /// Largest rotation of the affine warp in degrees.
    pub affine_degrees: f64,
    /// Largest shift of the affine warp as a share of the image.
    pub affine_translate: f64,
    /// Smallest scale of the affine warp; the largest is 1.
    pub affine_scale: f64,
    /// Probability of erasing a rectangle.
    pub erasing: f64,
    pub normalization: Normalization,
}

impl Default for AugmentSpec {
    fn default() -> Self {
        Self {
            image_size: 224,
            basic_augmentation: true,
            basic_off: BasicOff::All,
            augmentation_draw: AugmentationDraw::Image,
            jitter_brightness: 0.5,
            jitter_contrast: 0.5,
            jitter_saturation: 0.5,
            jitter_hue: 0.5,
            flip: 0.5,
            affine: 0.7,
            affine_degrees: 20.0,
            affine_translate: 0.2,
            affine_scale: 0.8,
            erasing: 0.5,
            normalization: Normalization::Imagenet,
        }
    }
}

impl AugmentSpec {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        Problem::unless(
            (16..=1024).contains(&self.image_size),
            problems,
            "image_size",
            "must lie between 16 and 1024",
        );
        for (name, value, most) in [
            ("jitter_brightness", self.jitter_brightness, 1.0),
            ("jitter_contrast", self.jitter_contrast, 1.0),
            ("jitter_saturation", self.jitter_saturation, 1.0),
            ("jitter_hue", self.jitter_hue, 0.5),
            ("flip", self.flip, 1.0),
            ("affine", self.affine, 1.0),
            ("affine_degrees", self.affine_degrees, 180.0),
            ("affine_translate", self.affine_translate, 1.0),
            ("erasing", self.erasing, 1.0),
        ] {
            let text = format!("must lie between 0 and {most}");
            Problem::unless((0.0..=most).contains(&value), problems, name, &text);
        }
        let scale = self.affine_scale > 0.0 && self.affine_scale <= 1.0;
        Problem::unless(scale, problems, "affine_scale", "must be above 0 and at most 1");
    }

    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        let jitter = ["jitter_brightness", "jitter_contrast", "jitter_saturation", "jitter_hue"];
        let warp = ["affine_degrees", "affine_translate", "affine_scale"];
        match (self.basic_augmentation, self.basic_off) {
            (true, _) => drop(&["basic_off"], Irrelevant::Because("basic_augmentation")),
            // The appearance view keeps its jitter.
            (false, BasicOff::All) => {
                let off = Irrelevant::Because("basic_augmentation");
                drop(&["flip", "affine", "erasing", "augmentation_draw"], off);
                drop(&warp, off);
            }
            (false, BasicOff::Jitter) => drop(&jitter, Irrelevant::Because("basic_off")),
        }
        if self.affine == 0.0 {
            drop(&warp, Irrelevant::Because("affine"));
        }
    }
}
