//! Tables of pairs: CSV and TSV.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::input::Input;
use super::pair_reading::{MAX_LINE, Reading, SIGNATURE};
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
    let mut signature = None;
    let columns = match [&format.source_field, &format.target_field].map(|f| Column::of(f)) {
        [Column::Number(source), Column::Number(target)] => [source, target],
        [Column::Named(source), Column::Named(target)] => {
            let Some(line) = table.next(reading)? else {
                return Ok(());
            };
            let source = table.named(source, "source-field", line, reading)?;
            signature = table.column(SIGNATURE);
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
        // Records may end before it.
        let signature = signature.filter(|&column| column < table.record.len());
        let signature = signature.map(|column| table.field(column)).transpose();
        let found = source.and_then(|source| Ok((source, target?, signature?)));
        let (source, target, signature) = found.map_err(|what| reading.wrong(line, &what))?;
        // A table has no other way to leave one out.
        let signature = signature.filter(|text| !text.trim().is_empty());
        reading.take(line, (source, target), signature.map(str::to_owned))?;
    }
    Ok(())
}

struct Table<'a> {
    reader: Reader<Watched<'a>>,
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
            .from_reader(Watched {
                input,
                odd: false,
                read: 0,
                line_feeds: VecDeque::new(),
                counted: 0,
            });
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
        let inner = self.record.as_slice().iter().filter(|b| **b == b'\n');
        let (inner, end) = (inner.count() as u64, self.reader.position().byte());
        let file = self.reader.get_mut();
        let open = self.is_quoted && inner > 0 && file.odd;
        let open = open
            && file
                .has_ended(end)
                .map_err(|e| reading.failed(&file.input, line, e))?;
        // The line feed at the end of an open field ends no record.
        let in_field = open && self.record.as_slice().ends_with(b"\n");
        let line = file.first_line(end, inner) + u64::from(in_field);
        if self.record.as_slice().len() as u64 > MAX_LINE {
            let what = format!("the record is longer than {MAX_LINE} bytes");
            return Err(reading.wrong(line, &what));
        }
        // A quote that nothing closes takes the rest of the file into its field.
        if open {
            let what =
                "a field begins with a quote (\") that nothing closes up to the end of the file";
            return Err(reading.wrong(line, what));
        }
        Ok(Some(line))
    }

    /// The column that the header, which was just read, calls so, if there is one.
    fn column(&self, name: &str) -> Option<usize> {
        let mut header = self.record.iter();
        header.position(|field| field.trim_ascii() == name.as_bytes())
    }

    /// The same of one that must be there.
    fn named(&self, name: &str, setting: &str, line: u64, reading: &Reading) -> Result<usize> {
        self.column(name).ok_or_else(|| {
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

/// A file that is watched while it is read.
struct Watched<'a> {
    input: Input<'a>,
    /// Whether it has an odd number of quotes so far.
    odd: bool,
    /// Bytes read.
    read: u64,
    /// Where the line feeds stand that [`Watched::first_line`] has not counted.
    line_feeds: VecDeque<u64>,
    /// Those that it has.
    counted: u64,
}

impl Watched<'_> {
    /// The number of the line in which a record begins that ends at byte `end` and has `inner` line
    /// feeds in its fields. (The table's reader counts blank lines before it to it, and of a `\r\n` the
    /// second half to the next one.)
    fn first_line(&mut self, end: u64, inner: u64) -> u64 {
        let mut terminated = false;
        while let Some(at) = self.line_feeds.pop_front_if(|at| *at < end) {
            self.counted += 1;
            terminated = at + 1 == end;
        }
        self.counted + u64::from(!terminated) - inner
    }
}

impl Watched<'_> {
    /// Whether nothing stands behind byte `at`.
    fn has_ended(&mut self, at: u64) -> io::Result<bool> {
        Ok(self.read == at && self.input.fill_buf()?.is_empty())
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let from = self.input.fill_buf()?;
        let n = from.len().min(to.len());
        to[..n].copy_from_slice(&from[..n]);
        self.input.consume(n);
        let quotes = to[..n].iter().filter(|&&b| b == b'"').count();
        self.odd ^= quotes % 2 == 1;
        let line_feeds = to[..n]
            .iter()
            .zip(self.read..)
            .filter(|(b, _)| **b == b'\n');
        self.line_feeds.extend(line_feeds.map(|(_, at)| at));
        self.read += n as u64;
        Ok(n)
    }
}
