//! The stem in the name of an image or of a table's row, by which landmarks are found.

use std::path::Path;

/// Extensions of image files, in lower case. Whatever follows other dots belongs to the stem.
const IMAGE_ENDINGS: [&str; 13] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "tif", "tiff", "webp", "ppm", "pgm", "avif"];

/// True if the name has the extension of an image file.
pub(super) fn is_of_image(name: &str) -> bool {
    ending(name).is_some_and(|ending| IMAGE_ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// The stem of an image file. Images are recognised by their content, so any extension counts unless it is a number:
/// `frame.0001` has none.
pub(super) fn stem_of_image(name: &str) -> &str {
    match ending(name) {
        Some(ending) if !ending.bytes().all(|byte| byte.is_ascii_digit()) => {
            &name[..name.len() - ending.len() - 1]
        }
        Some(_) | None => name,
    }
}

/// The stem of a name in a table, which may have no extension: `face.left` has none.
pub(super) fn stem_of_row(name: &str) -> &str {
    if is_of_image(name) { stem_of_image(name) } else { name }
}

fn ending(name: &str) -> Option<&str> {
    Path::new(name).extension()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 12: a stem may have dots.
    #[test]
    fn dots_belong_to_the_stem_unless_an_ending_follows() {
        for (name, of_image, of_row) in [
            ("1.jpg", "1", "1"),
            ("frame.0001.jpg", "frame.0001", "frame.0001"),
            ("frame.0001", "frame.0001", "frame.0001"),
            ("face.left.PNG", "face.left", "face.left"),
            ("face.left", "face", "face.left"),
            ("1.", "1.", "1."),
            (".jpg", ".jpg", ".jpg"),
        ] {
            assert_eq!((stem_of_image(name), stem_of_row(name)), (of_image, of_row), "{name}");
        }
        assert!(is_of_image("a.JPG") && !is_of_image("a.txt") && !is_of_image("jpg"));
    }
}
