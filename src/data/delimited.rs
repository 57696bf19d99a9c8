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
                begin: 0,
                delimiter,
                place: is_quoted.then_some(Place::Start),
                read: 0,
                line_feeds: VecDeque::new(),
                counted: 0,
            });
        Table {
            reader,
            record: ByteRecord::new(),
        }
    }

    /// Reads the next line that is not blank, or the lines of a record that has quoted ones, and
    /// returns the number of the first; none at the end.
    fn next(&mut self, reading: &Reading) -> Result<Option<u64>> {
        let (line, begin) = (self.reader.position().line(), self.reader.position().byte());
        self.reader.get_mut().begin = begin;
        let more = self.reader.read_byte_record(&mut self.record);
        let more = more.map_err(|e| match e.into_kind() {
            ErrorKind::Io(e) => {
                let file = self.reader.get_mut();
                match file.is_too_long() {
                    true => reading.wrong(file.line(), &too_long()),
                    false => reading.failed(&file.input, line, e),
                }
            }
            other => reading.wrong(line, &format!("{other:?}")),
        })?;
        if !more {
            return Ok(None);
        }
        let inner = self.record.as_slice().iter().filter(|b| **b == b'\n');
        let (inner, end) = (inner.count() as u64, self.reader.position().byte());
        let file = self.reader.get_mut();
        let open = inner > 0
            && file
                .ends_quoted(end)
                .map_err(|e| reading.failed(&file.input, line, e))?;
        // The line feed at the end of an open field ends no record.
        let in_field = open && self.record.as_slice().ends_with(b"\n");
        let line = file.first_line(end, inner) + u64::from(in_field);
        if end - begin > MAX_LINE {
            return Err(reading.wrong(line, &too_long()));
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

fn too_long() -> String {
    format!("the record is longer than {MAX_LINE} bytes")
}

/// Where in a field a byte stands, as the table's reader has it: a quote begins a quoted part at a field's
/// start alone, and ends it where no second one follows; elsewhere it is a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before its first byte.
    Start,
    /// In it.
    Plain,
    /// In its quoted part.
    Quoted,
    /// Behind a quote in that: its end, or the first of two.
    Quote,
}

impl Place {
    fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Place::Start | Place::Quote, b'"') => Place::Quoted,
            (Place::Quoted, b'"') => Place::Quote,
            (Place::Quoted, _) => Place::Quoted,
            (_, b'\n' | b'\r') => Place::Start,
            (_, byte) if byte == delimiter => Place::Start,
            _ => Place::Plain,
        }
    }
}

/// A file that is watched while it is read.
struct Watched<'a> {
    input: Input<'a>,
    /// Where the record begins that is read.
    begin: u64,
    delimiter: u8,
    /// Where in a field the bytes read end; none where quotes are characters like others.
    place: Option<Place>,
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

    /// Whether more of the record is there than one may have. Then it is not read on: what one holds is
    /// held in memory.
    fn is_too_long(&self) -> bool {
        self.read - self.begin > MAX_LINE
    }

    /// The number of the line in which a record begins whose end is not known.
    fn line(&mut self) -> u64 {
        let mut begin = self.begin;
        // Blank lines before it, or what is left of the end of the last one.
        while self.line_feeds.pop_front_if(|at| *at == begin).is_some() {
            (begin, self.counted) = (begin + 1, self.counted + 1);
        }
        self.counted + 1
    }

    /// Whether the file ends at byte `at`, in a field that a quote has begun.
    fn ends_quoted(&mut self, at: u64) -> io::Result<bool> {
        let quoted = self.place == Some(Place::Quoted);
        Ok(quoted && self.read == at && self.input.fill_buf()?.is_empty())
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.is_too_long() {
            return Err(io::Error::other(too_long()));
        }
        let from = self.input.fill_buf()?;
        let n = from.len().min(to.len());
        to[..n].copy_from_slice(&from[..n]);
        self.input.consume(n);
        let places = |wanted: u8| {
            let bytes = to[..n].iter().zip(self.read..);
            bytes.filter(move |(b, _)| **b == wanted).map(|(_, at)| at)
        };
        self.line_feeds.extend(places(b'\n'));
        self.read += n as u64;
        let delimiter = self.delimiter;
        let after = |place, byte: &u8| Place::after(place, *byte, delimiter);
        self.place = self.place.map(|place| to[..n].iter().fold(place, after));
        Ok(n)
    }
}
