//! An image file to a square of RGB bytes: the only file that knows the decoders and the resampler.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{ImageFormat, ImageReader, Limits, RgbImage};

const MOST_BYTES: u64 = 64 << 20;
const MOST_PIXELS_A_SIDE: u32 = 16_384;
const MOST_MEMORY: u64 = 256 << 20;

/// Decodes `path` by its content, whatever its name says, and resamples it to `size` x `size` x 3 bytes (bilinear
/// with antialiasing, as Pillow does). The sides are scaled separately, so landmarks in [-1, 1] stay true. The
/// reason if it cannot be decoded completely.
pub fn square_rgb(path: &Path, size: u32) -> Result<Vec<u8>, String> {
    let bytes = read(path)?;
    let picture = decode(&bytes)?;
    resize(&picture, size)
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

fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("not a JPEG or PNG image")?;
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err("the JPEG data is truncated".to_owned());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS_A_SIDE);
    limits.max_image_height = Some(MOST_PIXELS_A_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    Ok(reader.decode().map_err(|e| e.to_string())?.to_rgb8())
}

/// The decoder fills what is missing at the end of a JPEG with grey. Within coded image data a marker byte is always
/// escaped, so the data is complete just when an end marker follows the last start of scan.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let marker = |code: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, code]);
    let (start_of_scan, end_of_image) = (marker(0xDA), marker(0xD9));
    start_of_scan.is_some_and(|start| end_of_image.is_some_and(|end| end > start))
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
    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let picture =
            RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 10, y as u8 * 15, (x * y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_truncation_is_found() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let whole = encoded(format);
            assert_eq!(decode(&whole).unwrap().dimensions(), (24, 16));
            // A PNG without its last chunk is still complete.
            let last = if format == ImageFormat::Png { whole.len() - 13 } else { whole.len() };
            for length in 0..last {
                assert!(decode(&whole[..length]).is_err(), "{format:?} cut at {length}");
            }
        }
    }

    #[test]
    fn a_checkerboard_shrinks_to_grey() {
        let board = RgbImage::from_fn(64, 32, |x, y| image::Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
        let small = resize(&board, 8).unwrap();
        assert_eq!(small.len(), 8 * 8 * 3);
        assert!(small.iter().all(|v| (120..=136).contains(v)), "{small:?}");
    }

    #[test]
    fn the_right_size_is_kept_bit_for_bit() {
        let picture = RgbImage::from_fn(9, 9, |x, y| image::Rgb([x as u8, y as u8, 7]));
        assert_eq!(resize(&picture, 9).unwrap(), picture.into_raw());
    }
}
