//! The one reader and the one writer of CSV tables, and the only file that knows the crate `csv`.
//!
//! Programs write the same table in many ways. All of these are read: commas, semicolons or tabs between fields; LF,
//! CRLF or CR between lines; quotes as in RFC 4180, also after a space; UTF-8 with or without a byte order mark, UTF-16
//! with one; a spreadsheet's line `sep=;`; column names in upper or lower case; a decimal comma where commas do not
//! separate fields.

mod text;

use std::io::{self, BufReader, Cursor, Read};
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord, Trim};
use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use text::{Dialect, FieldStarts, LineEnds, first_line};

/// Names that the column of image names may have; the first one found is used.
const IMAGE_COLUMNS: [&str; 8] =
    ["image", "file", "filename", "file_name", "name", "path", "image_path", "id"];

/// How pandas, R and spreadsheets write a missing value, in lower case.
const MISSING: [&str; 7] = ["", "na", "nan", "n/a", "<na>", "null", "none"];

/// "True" in lower case, also as spreadsheets write it in some other languages.
const TRUE: [&str; 8] = ["true", "t", "yes", "y", "wahr", "vrai", "verdadero", "vero"];
const FALSE: [&str; 7] = ["false", "f", "no", "n", "falsch", "faux", "falso"];

/// What is wrong with a table, and in which line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TableError {
    /// From 1.
    pub line: u64,
    pub reason: String,
}

/// Reads a table row by row, so that memory does not grow with it.
#[derive(Debug)]
pub struct TableReader<R: Read> {
    rows: csv::Reader<FieldStarts<WholeText<R>>>,
    header: Header,
    format: Dialect,
    record: StringRecord,
}

/// The header's line, the rest, and a final line break.
type WholeText<R> = io::Chain<io::Chain<Cursor<Vec<u8>>, Text<R>>, &'static [u8]>;
type Text<R> = BufReader<LineEnds<DecodeReaderBytes<R, Vec<u8>>>>;

/// The column names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    names: Vec<String>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    record: &'a StringRecord,
    columns: usize,
    line: u64,
    decimal_comma: bool,
}

impl<R: Read> TableReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If there is no header, or the bytes are not text.
    pub fn new(bytes: R) -> Result<Self, TableError> {
        let decoded = DecodeReaderBytesBuilder::new().strip_bom(true).utf8_passthru(true).build(bytes);
        let mut text = BufReader::new(LineEnds::new(decoded));
        let (first, format) = first_line(&mut text)?;
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(format.separator);
        // Every row ends in a line break, the last one too, so that counting them counts the lines.
        let inner = Cursor::new(first).chain(text).chain(&b"\n"[..]);
        let mut rows = builder.from_reader(FieldStarts::new(inner, format.separator));
        let mut record = StringRecord::new();
        let read = rows.read_record(&mut record).map_err(|error| wrong(&error, format))?;
        debug_assert!(read, "the first line is not blank");
        let header = Header { names: record.iter().map(str::to_owned).collect() };
        Ok(Self { rows, header, format, record })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// From 1.
    pub fn header_line(&self) -> u64 {
        self.format.skipped + 1
    }

    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// If the row is not text, or a quote is not closed.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        let read = self.rows.read_record(&mut self.record);
        if !read.map_err(|error| wrong(&error, self.format))? {
            return Ok(None);
        }
        if self.record.as_slice().contains('\n') {
            let line = self.record.position().map_or(1, csv::Position::line) + self.format.skipped;
            let reason = "a field continues on the next line; a closing quote is missing".to_owned();
            return Err(TableError { line, reason });
        }
        Ok(Some(Row {
            record: &self.record,
            columns: self.header.names.len(),
            // The record's own position is before the blank lines that precede it.
            line: self.rows.position().line() - 1 + self.format.skipped,
            decimal_comma: self.format.separator != b',',
        }))
    }
}

impl Header {
    /// The place of the column `wanted`: the exact spelling first, then one that differs in case.
    pub fn place(&self, wanted: &str) -> Option<usize> {
        let other_case = || self.names.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        self.exact_place(wanted).or_else(other_case)
    }

    /// The place of the column `wanted` in exactly this spelling.
    pub fn exact_place(&self, wanted: &str) -> Option<usize> {
        self.names.iter().position(|name| name == wanted)
    }

    /// The place of the column of image names.
    pub fn image_place(&self) -> Option<usize> {
        IMAGE_COLUMNS.iter().find_map(|name| self.place(name))
    }

    /// The first few column names, for messages.
    pub fn shown(&self) -> String {
        const SHOWN: usize = 6;
        let more = if self.names.len() > SHOWN { ", …" } else { "" };
        format!("`{}`{more}", self.names[..self.names.len().min(SHOWN)].join("`, `"))
    }
}

impl<'a> Row<'a> {
    /// From 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The field at `place`; `None` if the row is too short.
    pub fn get(&self, place: usize) -> Option<&'a str> {
        self.record.get(place)
    }

    /// The field at `place`; `None` if it is empty or says that there is no value.
    pub fn value(&self, place: usize) -> Option<&'a str> {
        self.get(place).filter(|text| !is_missing(text))
    }

    /// Checks that the row has no more fields than the header; otherwise its fields do not belong to the columns.
    ///
    /// # Errors
    /// The reason, when the row has too many fields.
    pub fn check_width(&self) -> Result<(), String> {
        let mut fields = self.record.len();
        while fields > self.columns && self.record.get(fields - 1) == Some("") {
            fields -= 1;
        }
        if fields > self.columns {
            return Err(format!("{fields} fields under a header of {}", self.columns));
        }
        Ok(())
    }

    /// The number at `place`, with a decimal comma where commas do not separate the fields.
    ///
    /// # Errors
    /// The reason, when the row is too short or the field is not a number.
    pub fn number<T: FromStr>(&self, place: usize) -> Result<T, String> {
        let text = self.get(place).ok_or("the row is too short")?;
        let parsed = if self.decimal_comma && text.contains(',') && !text.contains('.') {
            text.replacen(',', ".", 1).parse()
        } else {
            text.parse()
        };
        parsed.map_err(|_| format!("{text:?} is not a number"))
    }

    /// The yes or no at `place`, as a number or a word; `None` if there is no value.
    ///
    /// # Errors
    /// The reason, when the field is neither.
    pub fn flag(&self, place: usize) -> Result<Option<bool>, String> {
        let Some(text) = self.value(place) else { return Ok(None) };
        let word = text.to_ascii_lowercase();
        match self.number::<f64>(place) {
            Ok(number) => Ok(Some(number > 0.0)), // -1 stands for "no" where 0 is a value.
            Err(_) if TRUE.contains(&word.as_str()) => Ok(Some(true)),
            Err(_) if FALSE.contains(&word.as_str()) => Ok(Some(false)),
            Err(_) => Err(format!("{text:?} is neither yes nor no")),
        }
    }
}

/// Writes lines of fields, with quotes where they are needed.
pub fn write(lines: &[Vec<String>]) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for line in lines {
        if let Err(error) = writer.write_record(line) {
            unreachable!("writing to memory failed: {error}");
        }
    }
    match writer.into_inner().map(String::from_utf8) {
        Ok(Ok(text)) => text,
        other => unreachable!("writing to memory failed: {other:?}"),
    }
}

fn is_missing(text: &str) -> bool {
    MISSING.contains(&text.to_ascii_lowercase().as_str())
}

fn wrong(error: &csv::Error, format: Dialect) -> TableError {
    let line = error.position().map_or(1, csv::Position::line) + format.skipped;
    let reason = if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
        "it is not UTF-8 text; save the table as UTF-8".to_owned()
    } else {
        error.to_string()
    };
    TableError { line, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, TableError> {
        let mut table = TableReader::new(bytes)?;
        let mut rows = vec![(0, table.header().names.clone())];
        while let Some(row) = table.next_row()? {
            rows.push((row.line(), (0..row.record.len()).map(|i| row.get(i).unwrap().to_owned()).collect()));
        }
        Ok(rows)
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
    }

    /// Case 13: one table in all the ways that programs write it.
    #[test]
    fn every_way_to_write_a_table_is_read_the_same() {
        let plain = "image,expression\nä b.jpg,3\n2.jpg,\n";
        let quoted = "\"image\",\"expression\"\n\"ä b.jpg\",\"3\"\n\"2.jpg\",\"\"\n";
        let expected = rows(plain.as_bytes()).unwrap();
        assert_eq!(expected[1], (2, vec!["ä b.jpg".to_owned(), "3".to_owned()]));
        for text in [
            quoted.to_owned(),
            quoted.replace(',', ", "),
            quoted.replace(',', " ,  "),
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\r"),
            format!("\u{feff}{plain}"),
            plain.replace(',', ";"),
            plain.replace(',', "\t"),
            plain.replace(',', " , "),
            plain.trim_end().to_owned(),
        ] {
            assert_eq!(rows(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
        for bytes in [utf16(quoted, u16::to_le_bytes), utf16(quoted, u16::to_be_bytes)] {
            assert_eq!(rows(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        let lines =
            |text: &str| rows(text.as_bytes()).unwrap()[1..].iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(lines("a,b\n1,2\n\n\n3,4\n"), [2, 5]);
        assert_eq!(lines("\n\na,b\r\n1,2\r\n\r\n3,4\r\n"), [4, 6]);
        assert_eq!(lines("sep=;\na;b\n1;2\n"), [3]);
        assert_eq!(lines("a,b\r1,2\r3,4"), [2, 3]);
    }

    #[test]
    fn quotes_keep_separators_and_quotes_in_a_field() {
        let fields = |text: &str| rows(text.as_bytes()).unwrap()[1].1.clone();
        assert_eq!(fields("a,b\n \"x, \"\"y\"\"\", 2\n"), ["x, \"y\"", "2"]);
        assert_eq!(fields("a;b\n\"\"\"x\"\"\";2,5\n"), ["\"x\"", "2,5"]);
        let lines = [vec!["a b".to_owned(), "c".to_owned()], vec!["x, \"y\"".to_owned(), "\"z\"".to_owned()]];
        assert_eq!(rows(write(&lines).as_bytes()).unwrap()[1].1, lines[1]);
    }

    #[test]
    fn what_is_no_table_is_said_to_be_none() {
        for (bytes, line, reason) in [
            (&b""[..], 1, "the table is empty"),
            (b" \n\r\n", 1, "the table is empty"),
            (b"PK\x03\x04\0\0", 1, "not a text file"),
            (b"image,expression\n\xe4.jpg,1\n", 2, "not UTF-8"),
            (b"image,expression\na.jpg,1\n\"b.jpg,2\nc.jpg,3\n", 3, "closing quote"),
            (&vec![b'a'; 1 << 20], 1, "too long"),
        ] {
            let error = rows(bytes).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    /// Case 5: numbers and yes or no as other programs write them.
    #[test]
    fn fields_are_read_as_numbers_and_as_yes_or_no() {
        let of = |text: &str| -> (Result<f64, String>, Result<Option<bool>, String>) {
            let text = format!("x;y\n{text};\n");
            let mut table = TableReader::new(text.as_bytes()).unwrap();
            let row = table.next_row().unwrap().unwrap();
            (row.number(0), row.flag(0))
        };
        for (text, number, flag) in [
            ("0", Some(0.0), Some(false)),
            ("0.0", Some(0.0), Some(false)),
            ("0,00", Some(0.0), Some(false)),
            ("1.0", Some(1.0), Some(true)),
            ("1e0", Some(1.0), Some(true)),
            ("False", None, Some(false)),
            ("FALSE", None, Some(false)),
            ("TRUE", None, Some(true)),
            ("wahr", None, Some(true)),
            ("NA", None, None),
        ] {
            let (found, answer) = of(text);
            assert_eq!((found.ok(), answer), (number, Ok(flag)), "{text}");
        }
        assert_eq!(of("perhaps").1, Err("\"perhaps\" is neither yes nor no".to_owned()));
    }

    #[test]
    fn columns_are_found_in_any_case_and_as_spelled_first() {
        let header = TableReader::new(&b" FileName ,X_0,x_0\n"[..]).unwrap().header().clone();
        assert_eq!((header.place("x_0"), header.place("X_0"), header.place("y_0")), (Some(2), Some(1), None));
        assert_eq!((header.image_place(), header.exact_place("filename")), (Some(0), None));
        assert_eq!(header.shown(), "`FileName`, `X_0`, `x_0`");
    }

    #[test]
    fn a_row_may_be_shorter_than_the_header_and_not_longer() {
        let widths = |text: &str| {
            TableReader::new(text.as_bytes()).unwrap().next_row().unwrap().unwrap().check_width()
        };
        assert_eq!(widths("a,b\n1\n"), Ok(()));
        assert_eq!(widths("a,b\n1,2,,\n"), Ok(()));
        assert_eq!(widths("a,b\n1,2,3\n"), Err("3 fields under a header of 2".to_owned()));
    }
}
