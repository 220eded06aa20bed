//! The natural order of names: digits compare as numbers, so `9.jpg` comes before `10.jpg`.

use std::cmp::Ordering;

/// Compares runs of digits by value, and everything else by character. Ties are broken by the plain order.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (run_a, run_b) = (digits(left), digits(right));
        let order = if !run_a.is_empty() && !run_b.is_empty() {
            (left, right) = (&left[run_a.len()..], &right[run_b.len()..]);
            value(run_a).cmp(&value(run_b))
        } else {
            let (mut rest_a, mut rest_b) = (left.chars(), right.chars());
            match (rest_a.next(), rest_b.next()) {
                (None, None) => return a.cmp(b),
                (next_a, next_b) => {
                    (left, right) = (rest_a.as_str(), rest_b.as_str());
                    next_a.cmp(&next_b)
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

/// Without leading zeros, more digits mean a larger number. Unlike a parse, this works for any length.
fn value(digits: &str) -> (usize, &str) {
    let significant = digits.trim_start_matches('0');
    (significant.len(), significant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let sorted = [
            "",
            "1.jpg",
            "01.jpg",
            "2.jpg",
            "10.jpg",
            "99999999999999999999998.jpg",
            "99999999999999999999999.jpg",
            "FEAR/9.jpg",
            "FEAR/10.jpg",
            "FEAR/10b.jpg",
            "SADNESS/1.jpg",
            "a",
            "a1",
            "a1b2",
            "a1b10",
            "ä",
        ];
        let mut names = sorted.to_vec();
        names.reverse();
        names.sort_by(|a, b| natural(a, b));
        // `1` and `01` are equal as numbers, so the plain order decides.
        let mut expected = sorted.to_vec();
        expected.swap(1, 2);
        assert_eq!(names, expected);
    }
}
