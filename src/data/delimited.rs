//! Tables of pairs: CSV and TSV.

use std::io::{self, BufRead, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::input::Input;
use super::pair_reading::{MAX_LINE, Reading};
use crate::{Error, Result};

/// Which column a field is.
enum Column<'a> {
    /// The one that the header calls so.
    Named(&'a str),
    /// Its number, from 0, in a table without a header.
    Number(usize),
}

impl<'a> Column<'a> {
    fn of(field: &'a str) -> Self {
        match field.parse::<usize>() {
            Ok(n) if n > 0 => Column::Number(n - 1),
            _ => Column::Named(field),
        }
    }
}

/// Reads the pairs of a table.
pub(super) fn read(input: Input, delimiter: u8, reading: &mut Reading) -> Result<()> {
    let mut table = Table::new(input, delimiter);
    let format = reading.format;
    let columns = match [&format.source_field, &format.target_field].map(|f| Column::of(f)) {
        [Column::Number(source), Column::Number(target)] => [source, target],
        [Column::Named(source), Column::Named(target)] => {
            let Some(line) = table.next(reading)? else {
                return Ok(());
            };
            let source = table.named(source, "source-field", line, reading)?;
            [source, table.named(target, "target-field", line, reading)?]
        }
        _ => {
            return Err(Error::Usage(format!(
                "{}: source-field {:?} and target-field {:?}: of a table give two names, which its \
                 first line has, or two numbers of columns, from 1, where it has no such line",
                reading.name, format.source_field, format.target_field
            )));
        }
    };
    while let Some(line) = table.next(reading)? {
        let [source, target] = columns.map(|column| table.field(column));
        let found = source.and_then(|source| Ok((source, target?)));
        let (source, target) = found.map_err(|what| reading.wrong(line, &what))?;
        reading.take(line, (source, target), None)?;
    }
    Ok(())
}

struct Table<'a> {
    reader: Reader<Quotes<'a>>,
    record: ByteRecord,
    is_quoted: bool,
}

impl<'a> Table<'a> {
    fn new(input: Input<'a>, delimiter: u8) -> Self {
        let is_quoted = delimiter == b',';
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(is_quoted)
            .has_headers(false)
            .flexible(true)
            .from_reader(Quotes { input, odd: false });
        Table {
            reader,
            record: ByteRecord::new(),
            is_quoted,
        }
    }

    /// Reads the next line that is not blank, or the lines of a record that has quoted ones, and
    /// returns the number of the first; none at the end.
    fn next(&mut self, reading: &Reading) -> Result<Option<u64>> {
        let line = self.reader.position().line();
        let more = self.reader.read_byte_record(&mut self.record);
        let more = more.map_err(|e| match e.into_kind() {
            ErrorKind::Io(e) => reading.failed(&self.reader.get_ref().input, line, e),
            other => reading.wrong(line, &format!("{other:?}")),
        })?;
        if !more {
            return Ok(None);
        }
        let line = self.record.position().map_or(line, |at| at.line());
        if self.record.as_slice().len() as u64 > MAX_LINE {
            let what = format!("the record is longer than {MAX_LINE} bytes");
            return Err(reading.wrong(line, &what));
        }
        // A quote that nothing closes takes the rest of the file into its field.
        let open = self.is_quoted && self.reader.is_done() && self.reader.get_ref().odd;
        if open && self.record.as_slice().contains(&b'\n') {
            let what =
                "a field begins with a quote (\") that nothing closes up to the end of the file";
            return Err(reading.wrong(line, what));
        }
        Ok(Some(line))
    }

    /// The column that the header, which was just read, calls so.
    fn named(&self, name: &str, setting: &str, line: u64, reading: &Reading) -> Result<usize> {
        let mut header = self.record.iter();
        let found = header.position(|field| field.trim_ascii() == name.as_bytes());
        found.ok_or_else(|| {
            let header = self
                .record
                .iter()
                .map(|f| String::from_utf8_lossy(f).into_owned());
            Error::Data(format!(
                "{}:{line}: the first line has no field {name:?}, it has {:?}: name the field with \
                 {setting}, or give numbers of columns, from 1, where the file has no such line",
                reading.name,
                header.collect::<Vec<_>>()
            ))
        })
    }

    /// A field of the record, or what is wrong with it.
    fn field(&self, column: usize) -> Result<&str, String> {
        let field = self.record.get(column).ok_or_else(|| {
            let n = self.record.len();
            format!("no column {}: the record has {n} fields", column + 1)
        })?;
        std::str::from_utf8(field).map_err(|e| {
            let at = e.valid_up_to() + 1;
            format!("column {}: byte {at} is not UTF-8", column + 1)
        })
    }
}

/// A file, and whether it has an odd number of quotes so far.
struct Quotes<'a> {
    input: Input<'a>,
    odd: bool,
}

impl Read for Quotes<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let from = self.input.fill_buf()?;
        let n = from.len().min(to.len());
        to[..n].copy_from_slice(&from[..n]);
        self.input.consume(n);
        let quotes = to[..n].iter().filter(|&&b| b == b'"').count();
        self.odd ^= quotes % 2 == 1;
        Ok(n)
    }
}
