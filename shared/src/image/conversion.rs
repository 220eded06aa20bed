//! What images were converted from.

use serde::{Deserialize, Serialize};

/// What an image had to be converted from on its way to upright 8-bit RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conversion {
    /// Turned or mirrored as its EXIF orientation asks.
    Turned,
    /// CMYK or YCCK, by formula; an embedded colour profile is not applied.
    Cmyk,
    SixteenBits,
    Grey,
    AlphaDropped,
    /// The content has another format than the name's extension says.
    Misnamed,
}

impl Conversion {
    /// A phrase that follows a count: "3 images were …".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Turned => "turned upright by their EXIF orientation",
            Self::Cmyk => "converted from CMYK",
            Self::SixteenBits => "reduced from 16 to 8 bits",
            Self::Grey => "grey, now in three equal channels",
            Self::AlphaDropped => "stripped of their alpha channel",
            Self::Misnamed => "of another format than their name's ending says",
        }
    }
}
