//! Reads landmarks from plain text: bare lines, and iBUG's `.pts`.

use shared::expression::LANDMARKS;

use super::Points;

/// 68 lines `x y`, as DECA's demo writes them (yfeng95/DECA, `_kpt2d.txt`). Lines that start with `#` are comments, as in
/// NumPy's `savetxt` and `loadtxt`.
pub(super) fn lines(text: &str) -> Result<Points, String> {
    let lines = text.trim_end().lines().enumerate().map(|(i, line)| (i + 1, line));
    points(&lines.filter(|(_, line)| !line.starts_with('#')).collect::<Vec<_>>())
}

/// `version: 1`, `n_points: 68`, then the points between braces (ibug.doc.ic.ac.uk, 300 Faces in-the-Wild).
pub(super) fn pts(text: &str) -> Result<Points, String> {
    let filled = |(_, line): &(usize, &str)| !line.is_empty();
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())).filter(filled);
    let lines: Vec<(usize, &str)> = lines.collect();
    let brace = |brace: &str| lines.iter().position(|(_, line)| *line == brace);
    let (Some(open), Some(close)) = (brace("{"), brace("}")) else {
        return Err("the points do not lie between lines `{` and `}`".to_owned());
    };
    if let Some((at, line)) = lines.get(close + 1) {
        return Err(format!("line {at}: {line:?} follows the points"));
    }
    points(lines.get(open + 1..close).unwrap_or_default())
}

/// One point from each numbered line.
fn points(lines: &[(usize, &str)]) -> Result<Points, String> {
    if lines.len() != LANDMARKS {
        return Err(format!("{} lines of points instead of {LANDMARKS}", lines.len()));
    }
    let mut points = [[0.0; 2]; LANDMARKS];
    for ((at, line), point) in lines.iter().zip(&mut points) {
        *point = numbers(line).map_err(|reason| format!("line {at}: {reason}"))?;
    }
    Ok(points)
}

fn numbers(line: &str) -> Result<[f32; 2], String> {
    let mut numbers = line.split_whitespace();
    let mut point = [0.0; 2];
    for value in &mut point {
        let number = numbers.next().ok_or("fewer than two numbers")?;
        *value = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    }
    if numbers.next().is_some() { Err("more than two numbers".to_owned()) } else { Ok(point) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(first: &str) -> String {
        let rest = (1..LANDMARKS).map(|i| format!("{:.18e} {}\n", i as f64 / 100.0, -0.5));
        std::iter::once(format!("{first}\n")).chain(rest).collect()
    }

    #[test]
    fn reads_scientific_notation_and_ignores_a_trailing_line() {
        let points = lines(&(written("-1.25e-1 1.5") + "\r\n\n")).unwrap();
        assert_eq!((points[0], points[67]), ([-0.125, 1.5], [0.67, -0.5]));
        let commented = lines(&format!("# x y\n{}# end\n", written("-1.25e-1 1.5")));
        assert_eq!(commented, Ok(points));
    }

    #[test]
    fn malformed_files_are_explained() {
        for (first, reason) in [
            ("0.1", "line 1: fewer"),
            ("0 0 0", "line 1: more"),
            ("a b", "line 1: \"a\" is not a number"),
            ("0 0\n0 0", "69 lines"),
        ] {
            let error = lines(&written(first)).unwrap_err();
            assert!(error.contains(reason), "{first:?}: {error}");
        }
        assert!(lines("").unwrap_err().contains("0 lines"));
    }

    #[test]
    fn a_pts_file_may_be_spaced_and_named_either_way() {
        let body = written("30.5 41.25");
        for head in ["version: 1\nn_points: 68\n{\n", "version: 1\r\n\r\nnpoints:  68\r\n{\r\n"] {
            let points = pts(&format!("{head}{body}}}\n\n")).unwrap();
            assert_eq!((points[0], points[67]), ([30.5, 41.25], [0.67, -0.5]));
        }
        for (text, reason) in [
            (format!("version: 1\n{{\n{body}"), "between lines"),
            (format!("{{\n{body}0 0\n}}"), "69 lines"),
            (format!("}}\n{body}{{"), "follows"),
            (format!("{{\n{body}}}\n1 1"), "line 71: \"1 1\" follows"),
        ] {
            let error = pts(&text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
