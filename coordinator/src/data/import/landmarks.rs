//! Landmark text files: 68 lines `x y` in [-1, 1], as DECA writes them (yfeng95/DECA, `kpt2d.txt`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use shared::expression::LANDMARKS;
use shared::pack::Landmarks;

/// No landmark file is longer.
const MOST_BYTES: u64 = 64 * 1024;
/// A point may lie outside of the picture, but this far out the numbers must be of another unit.
const FARTHEST: f32 = 4.0;

/// Reads the first of `paths` that exists; `None` if none does, the reason if that one cannot be used.
pub(super) fn read(paths: &[PathBuf]) -> Result<Option<Landmarks>, String> {
    for path in paths {
        match text(path) {
            Ok(text) => {
                return parse(&text).map(Some).map_err(|e| format!("landmarks {}: {e}", path.display()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("landmarks {}: {e}", path.display())),
        }
    }
    Ok(None)
}

fn text(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<Landmarks, String> {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').trim_end().lines().collect();
    if lines.len() != LANDMARKS {
        return Err(format!("{} lines instead of {LANDMARKS}", lines.len()));
    }
    let mut points = [[0.0_f32; 2]; LANDMARKS];
    for (i, (line, point)) in lines.iter().zip(&mut points).enumerate() {
        let at = |reason: &str| format!("line {}: {reason}", i + 1);
        let mut numbers = line.split_whitespace();
        for value in point.iter_mut() {
            let number = numbers.next().ok_or_else(|| at("fewer than two numbers"))?;
            *value = number.parse().map_err(|_| at(&format!("{number:?} is not a number")))?;
            if !value.is_finite() {
                return Err(at(&format!("{number} is not a finite number")));
            }
            if value.abs() > FARTHEST {
                return Err(at(&format!("{number} is far outside of [-1, 1]; are these pixels?")));
            }
        }
        if numbers.next().is_some() {
            return Err(at("more than two numbers"));
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(first: &str) -> String {
        let rest = (1..LANDMARKS).map(|i| format!("{:.18e} {}\n", i as f64 / 100.0, -0.5));
        std::iter::once(format!("{first}\n")).chain(rest).collect()
    }

    #[test]
    fn reads_scientific_notation_and_ignores_a_trailing_line() {
        let points = parse(&(lines("-1.25e-1 1.5") + "\r\n\n")).unwrap();
        assert_eq!((points[0], points[67]), ([-0.125, 1.5], [0.67, -0.5]));
    }

    #[test]
    fn malformed_files_are_explained() {
        for (first, reason) in [
            ("NaN 0", "finite"),
            ("0 inf", "finite"),
            ("112 64", "pixels"),
            ("0.1", "fewer"),
            ("0 0 0", "more"),
            ("a b", "not a number"),
            ("0 0\n0 0", "69 lines"),
        ] {
            let error = parse(&lines(first)).unwrap_err();
            assert!(error.contains(reason), "{first:?}: {error}");
        }
        assert!(parse("").is_err());
    }
}
