//! The bytes of a table before they are rows: line breaks, spaces before fields, and what the first line says.

use std::io::{self, BufRead, Read};

use super::TableError;

/// The most bytes that the first line may have. With 68 landmarks in two and three dimensions it has a few thousand.
const MOST_HEADER: u64 = 1 << 20;

/// How a table is written, as its first lines show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) separator: u8,
    /// Lines before the header.
    pub(super) skipped: u64,
}

/// The header's line, and what it says about the table.
pub(super) fn first_line(text: &mut impl BufRead) -> Result<(Vec<u8>, Dialect), TableError> {
    let (mut skipped, mut told) = (0, None);
    loop {
        let line = quoted_line(text).map_err(|reason| TableError { line: skipped + 1, reason })?;
        if line.is_empty() {
            return Err(TableError { line: 1, reason: "the table is empty".to_owned() });
        }
        match line.trim_ascii() {
            [b's', b'e', b'p', b'=', separator] => told = Some(*separator),
            [] => {}
            header => {
                let separator = told.unwrap_or_else(|| separator(header));
                return Ok((line, Dialect { separator, skipped }));
            }
        }
        skipped += 1;
    }
}

/// One line with its line break; line breaks between quotes do not end it.
fn quoted_line(text: &mut impl BufRead) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    loop {
        let room = MOST_HEADER - line.len() as u64;
        let read = text.by_ref().take(room).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
        let open = occurrences(&line, b'"') % 2 == 1;
        if line.contains(&0) {
            return Err("it is not a text file; save the table as CSV in UTF-8".to_owned());
        }
        if line.len() as u64 == MOST_HEADER {
            return Err("the first line is too long for a header".to_owned());
        }
        if read == 0 || !open {
            return Ok(line);
        }
    }
}

/// The separator that occurs most often outside quotes; a comma if there is none.
fn separator(header: &[u8]) -> u8 {
    let outside = header.split(|&byte| byte == b'"').step_by(2).collect::<Vec<_>>().concat();
    // Of equal counts the last one wins.
    [b'\t', b';', b','].into_iter().max_by_key(|&separator| occurrences(&outside, separator)).unwrap_or(b',')
}

#[expect(clippy::naive_bytecount, reason = "a header is short")]
fn occurrences(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|&&byte| byte == wanted).count()
}

/// Turns CRLF and CR into LF, so that lines are counted right.
#[derive(Debug)]
pub(super) struct LineEnds<R> {
    inner: R,
    after_cr: bool,
}

impl<R> LineEnds<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, after_cr: false }
    }
}

impl<R: Read> Read for LineEnds<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(out)?;
            let mut kept = 0;
            for i in 0..read {
                let byte = out[i];
                if !(byte == b'\n' && self.after_cr) {
                    out[kept] = if byte == b'\r' { b'\n' } else { byte };
                    kept += 1;
                }
                self.after_cr = byte == b'\r';
            }
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}

/// Drops the spaces before each field, so that a quote after them is recognised.
#[derive(Debug)]
pub(super) struct FieldStarts<R> {
    inner: R,
    separator: u8,
    at: At,
}

/// Where in a field the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Plain,
    Quoted,
    /// After a quote within a quoted field: it ends the field unless another quote follows.
    Quote,
}

impl At {
    fn after(self, byte: u8, separator: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) | (Self::Start | Self::Quote, b'"') => Self::Quoted,
            (Self::Start, b' ') => Self::Start,
            (Self::Start | Self::Plain | Self::Quote, _) if byte == separator || byte == b'\n' => Self::Start,
            (Self::Start | Self::Plain | Self::Quote, _) => Self::Plain,
        }
    }
}

impl<R> FieldStarts<R> {
    pub(super) fn new(inner: R, separator: u8) -> Self {
        Self { inner, separator, at: At::Start }
    }
}

impl<R: Read> Read for FieldStarts<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(out)?;
            let mut kept = 0;
            for i in 0..read {
                let byte = out[i];
                if !(self.at == At::Start && byte == b' ') {
                    out[kept] = byte;
                    kept += 1;
                }
                self.at = self.at.after(byte, self.separator);
            }
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }
}
