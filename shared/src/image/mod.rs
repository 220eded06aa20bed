//! Decodes an image file to a square of RGB bytes: the only file that knows the decoders and the resampler.

mod clutter;
mod conversion;
mod jpeg;

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

pub use clutter::is_clutter;
pub use conversion::Conversion;

const MOST_BYTES: u64 = 64 << 20;
const MOST_PIXELS_A_SIDE: u32 = 16_384;
const MOST_MEMORY: u64 = 256 << 20;

/// One decoded image.
#[derive(Debug)]
pub struct Picture {
    /// S x S x 3 bytes, RGB.
    pub pixels: Vec<u8>,
    /// Width and height of the file's image, upright.
    pub source: [u32; 2],
    pub conversions: Vec<Conversion>,
}

/// Decodes `path` by its content, whatever its name says, turns it upright and resamples it to `size` x `size` x 3
/// bytes (bilinear with antialiasing, as Pillow does). The sides are scaled separately, so landmarks in [-1, 1] stay
/// valid.
///
/// # Errors
/// The reason, when the image cannot be read or decoded completely, or is too large.
pub fn square_rgb(path: &Path, size: u32) -> Result<Picture, String> {
    let bytes = read(path)?;
    // A decoder that panics on a broken file must not end an import that takes hours.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(&bytes)));
    let Decoded { rgb, format, mut conversions } =
        decoded.unwrap_or_else(|_| Err("the decoder crashed on it".to_owned()))?;
    let named = path.extension().and_then(ImageFormat::from_extension);
    if named.is_some_and(|named| named != format) {
        conversions.push(Conversion::Misnamed);
    }
    let pixels = resize(&rgb, size)?;
    Ok(Picture { pixels, source: rgb.dimensions().into(), conversions })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let about = fs::metadata(path).map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("not a file".to_owned());
    }
    if about.len() > MOST_BYTES {
        return Err(format!("{} bytes are too many for an image", about.len()));
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    if bytes.is_empty() { Err("the file is empty".to_owned()) } else { Ok(bytes) }
}

/// An image as its file shows it, upright.
#[derive(Debug)]
struct Decoded {
    rgb: RgbImage,
    format: ImageFormat,
    conversions: Vec<Conversion>,
}

fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let words = |e: ImageError| e.to_string();
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("not a JPEG or PNG image")?;
    if !matches!(format, ImageFormat::Jpeg | ImageFormat::Png) {
        return Err(format!("not a JPEG or PNG image but {format:?}"));
    }
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        return Err("the JPEG data is truncated".to_owned());
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(words)?;
    let (width, height) = decoder.dimensions();
    if width.max(height) > MOST_PIXELS_A_SIDE || decoder.total_bytes() > MOST_MEMORY {
        return Err(format!("{width} x {height} pixels are too many"));
    }
    let orientation = decoder.orientation().map_err(words)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(words)?;
    let conversions = conversions(&picture, orientation, format, bytes);
    picture.apply_orientation(orientation);
    Ok(Decoded { rgb: picture.into_rgb8(), format, conversions })
}

fn conversions(
    picture: &DynamicImage,
    orientation: Orientation,
    format: ImageFormat,
    bytes: &[u8],
) -> Vec<Conversion> {
    let color = picture.color();
    let deep = color.bytes_per_pixel() > color.channel_count();
    let cmyk = format == ImageFormat::Jpeg && jpeg::components(bytes) == Some(4);
    [
        (orientation != Orientation::NoTransforms, Conversion::Turned),
        (cmyk, Conversion::Cmyk),
        (deep, Conversion::SixteenBits),
        (!color.has_color(), Conversion::Grey),
        (color.has_alpha(), Conversion::AlphaDropped),
    ]
    .into_iter()
    .filter_map(|(happened, conversion)| happened.then_some(conversion))
    .collect()
}

fn resize(picture: &RgbImage, size: u32) -> Result<Vec<u8>, String> {
    let (width, height) = picture.dimensions();
    if (width, height) == (size, size) {
        return Ok(picture.as_raw().clone());
    }
    let source =
        ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3).map_err(|e| e.to_string())?;
    let mut square = Image::new(size, size, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut square, &options).map_err(|e| e.to_string())?;
    Ok(square.into_vec())
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb, Rgba};

    use super::*;

    fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// 24 x 16: red increases to the right, green downwards.
    fn ramp() -> RgbImage {
        RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8 * 10, y as u8 * 15, 0]))
    }

    /// The reason why `bytes` under `name` are refused, or what they were converted from.
    fn import(name: &str, bytes: &[u8]) -> Result<Picture, String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        square_rgb(&path, 8)
    }

    fn check(name: &str, bytes: &[u8], rgb: [u8; 3], conversions: &[Conversion]) {
        let picture = import(name, bytes).unwrap();
        assert_eq!(picture.conversions, conversions, "{name}");
        for pixel in picture.pixels.chunks(3) {
            assert!(
                pixel.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) < 6),
                "{name}: {pixel:?} is not {rgb:?}"
            );
        }
    }

    #[test]
    fn every_truncation_is_found() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let whole = encoded(ramp(), format);
            assert_eq!(decode(&whole).unwrap().rgb.dimensions(), (24, 16));
            // A PNG without its last chunk is still complete.
            let last = if format == ImageFormat::Png { whole.len() - 13 } else { whole.len() };
            for length in 0..last {
                assert!(decode(&whole[..length]).is_err(), "{format:?} cut at {length}");
            }
        }
    }

    #[test]
    fn other_kinds_of_pictures_become_rgb_and_are_named() {
        let png = |picture: DynamicImage| encoded(picture, ImageFormat::Png);
        let rgb = RgbImage::from_pixel(8, 8, Rgb([200, 0, 40]));
        check("plain.png", &png(rgb.clone().into()), [200, 0, 40], &[]);
        check("a PNG.jpg", &png(rgb.into()), [200, 0, 40], &[Conversion::Misnamed]);
        let grey = image::GrayImage::from_pixel(8, 8, Luma([90]));
        check("grey.png", &png(grey.clone().into()), [90; 3], &[Conversion::Grey]);
        check("grey.jpg", &encoded(grey, ImageFormat::Jpeg), [90; 3], &[Conversion::Grey]);
        let deep = image::ImageBuffer::from_pixel(8, 8, Rgb([51_400_u16, 0, 10_280]));
        check("deep.png", &png(deep.into()), [200, 0, 40], &[Conversion::SixteenBits]);
        let veiled = image::RgbaImage::from_pixel(8, 8, Rgba([200, 0, 40, 10]));
        check("veiled.png", &png(veiled.into()), [200, 0, 40], &[Conversion::AlphaDropped]);
    }

    #[test]
    fn a_cmyk_jpeg_becomes_rgb() {
        // Inverted, as Photoshop stores it, so 255 is no ink. Half of the light passes the yellow ink.
        for color in [jpeg_encoder::ColorType::Cmyk, jpeg_encoder::ColorType::CmykAsYcck] {
            let mut bytes = Vec::new();
            let inks = [0, 255, 127, 55].repeat(16 * 16);
            jpeg_encoder::Encoder::new(&mut bytes, 95).encode(&inks, 16, 16, color).unwrap();
            let expected = import("cmyk.jpg", &bytes).unwrap();
            assert_eq!(expected.conversions, [Conversion::Cmyk]);
            check("cmyk.jpg", &bytes, [200, 0, 100], &[Conversion::Cmyk]);
        }
    }

    /// `jpeg` with an EXIF block (TIFF 6.0, big-endian) that says `orientation`.
    fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn the_exif_orientation_is_applied() {
        let whole = encoded(ramp(), ImageFormat::Jpeg);
        let lit = |orientation: u8| {
            let decoded = decode(&oriented(&whole, orientation)).unwrap();
            assert_eq!(decoded.conversions.contains(&Conversion::Turned), orientation > 1, "{orientation}");
            let (width, height) = decoded.rgb.dimensions();
            let corners = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)];
            let bright = |channel: usize| {
                corners.map(|(x, y)| decoded.rgb.get_pixel(x, y)[channel] > 100).map(u8::from)
            };
            ((width, height), bright(0), bright(1))
        };
        // Corners clockwise from the top left; red marks the ramp's right side, green its bottom.
        assert_eq!(lit(1), ((24, 16), [0, 1, 1, 0], [0, 0, 1, 1]));
        assert_eq!(lit(2), ((24, 16), [1, 0, 0, 1], [0, 0, 1, 1]));
        assert_eq!(lit(3), ((24, 16), [1, 0, 0, 1], [1, 1, 0, 0]));
        assert_eq!(lit(6), ((16, 24), [0, 0, 1, 1], [1, 0, 0, 1]));
        assert_eq!(lit(8), ((16, 24), [1, 1, 0, 0], [0, 1, 1, 0]));
    }

    #[test]
    fn absurd_sizes_are_refused_before_memory_is_taken() {
        let mut jpeg = encoded(ramp(), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
        assert_eq!(import("wide.jpg", &jpeg).unwrap_err(), "65500 x 65500 pixels are too many");
        let mut png = encoded(ramp(), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]);
        let checksum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(import("wide.png", &png).unwrap_err(), "100000 x 100000 pixels are too many");
    }

    /// PNG's checksum (PNG specification, annex D).
    fn crc32(bytes: &[u8]) -> u32 {
        let turn = |crc: u32| (0..8).fold(crc, |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)));
        !bytes.iter().fold(!0, |crc, &byte| turn(crc ^ u32::from(byte)))
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        for (bytes, reason) in [
            (&b""[..], "the file is empty"),
            (b"not an image", "not a JPEG or PNG image"),
            (b"GIF89a\x08\0\x08\0", "not a JPEG or PNG image but Gif"),
        ] {
            assert_eq!(import("x.jpg", bytes).unwrap_err(), reason);
        }
        let mut png = encoded(ramp(), ImageFormat::Png);
        let middle = png.len() / 2;
        png[middle] ^= 0x10;
        assert!(import("flipped.png", &png).is_err());
        // A file that can be opened but not read, even by root.
        let unreadable = square_rgb(Path::new("/proc/self/mem"), 8).unwrap_err();
        assert!(unreadable.contains("os error"), "{unreadable}");
    }

    #[test]
    fn a_checkerboard_shrinks_to_grey() {
        let board = RgbImage::from_fn(64, 32, |x, y| Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
        let small = resize(&board, 8).unwrap();
        assert_eq!(small.len(), 8 * 8 * 3);
        assert!(small.iter().all(|v| (120..=136).contains(v)), "{small:?}");
    }

    #[test]
    fn the_right_size_is_kept_bit_for_bit() {
        let picture = RgbImage::from_fn(9, 9, |x, y| Rgb([x as u8, y as u8, 7]));
        assert_eq!(resize(&picture, 9).unwrap(), picture.into_raw());
    }
}
