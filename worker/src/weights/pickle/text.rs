//! The texts of protocol 0: quoted byte strings and decimal numbers.

use super::PickleError;

/// The bytes of a quoted Python string.
pub(super) fn unquote(line: &[u8], at: usize) -> Result<Vec<u8>, PickleError> {
    let bad = |problem| PickleError::Malformed { at, problem };
    let [quote @ (b'\'' | b'"'), inner @ .., last] = line else { return Err(bad("a string without quotes")) };
    if last != quote {
        return Err(bad("a string without its closing quote"));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(literal @ (b'\\' | b'\'' | b'"')) => literal,
            Some(b'x') => {
                let digits =
                    [rest.next(), rest.next()].map(|digit| digit.and_then(|d| (d as char).to_digit(16)));
                let [Some(high), Some(low)] = digits else { return Err(bad("an escape without two digits")) };
                (16 * high + low) as u8
            }
            _ => return Err(bad("an unknown escape")),
        });
    }
    Ok(bytes)
}

/// The text of a line in Python's `raw-unicode-escape`: latin-1, and `\u` or `\U` before four or eight digits.
pub(super) fn raw_unicode(line: &[u8], at: usize) -> Result<String, PickleError> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                rest = after;
                continue;
            }
        };
        let code = after.get(1..=digits).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
        text.push(code.ok_or(PickleError::Malformed { at, problem: "an escape that is not a character" })?);
        rest = &after[1 + digits..];
    }
    Ok(text)
}

/// A decimal number; `None` if it needs more than 64 bits.
pub(super) fn integer(line: &[u8], at: usize) -> Result<Option<i64>, PickleError> {
    let text = std::str::from_utf8(line).unwrap_or_default().trim_end_matches('L');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(PickleError::Malformed { at, problem: "a number without digits" });
    }
    Ok(text.parse().ok())
}
