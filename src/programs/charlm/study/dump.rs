//! What a model says of every character of every file: all that most measures need.

use rayon::prelude::*;

use super::predictor::Predictor;
use super::source::SourceFile;
use super::syntax::{BracketKind, LogicalLine};
use crate::data::chars::CharVocab;
use crate::{Error, Result, interrupt};

/// Characters between two looks at whether the user wants an end.
const LOOK_EVERY: usize = 4096;
/// Roll-outs of an indentation end at this width, or where a line is wider at once.
const WIDEST: usize = 256;

/// What is said when the user wants an end.
pub const INTERRUPTED: &str = "the study is interrupted; what is measured is kept, and the same \
                               command goes on from there";

/// The ids of the characters that measures ask for; none where the vocabulary lacks one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// Closers, in the order of [`BracketKind::ALL`].
    pub closers: [Option<u16>; 3],
    /// `'` and `"`.
    pub quotes: [Option<u16>; 2],
    /// A blank.
    pub space: Option<u16>,
}

impl Symbols {
    /// Those of a vocabulary.
    pub fn of(vocab: &CharVocab) -> Self {
        Symbols {
            closers: BracketKind::ALL.map(|kind| vocab.id(kind.closer())),
            quotes: ['\'', '"'].map(|c| vocab.id(c)),
            space: vocab.id(' '),
        }
    }
}

/// What a model says of one character, all before it read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// The probability of the character that stands there.
    pub p: f32,
    /// The likeliest character; of several the one with the lowest id.
    pub argmax: u32,
    /// The probability of each closer, in the order of [`BracketKind::ALL`].
    pub closers: [f32; 3],
    /// The probability of `'` and of `"`.
    pub quotes: [f32; 2],
    /// The probability of a blank.
    pub space: f32,
}

impl Position {
    /// -log2 of the probability of what stands there; of 0 as of the least number in f32, 126 bits.
    pub fn bits(&self) -> f64 {
        bits(self.p)
    }

    /// The probability of a closer of this type.
    pub fn closer(&self, kind: BracketKind) -> f64 {
        f64::from(self.closers[kind as usize])
    }

    /// The probability of any closer.
    pub fn any_closer(&self) -> f64 {
        self.closers.iter().copied().map(f64::from).sum()
    }

    /// The probability of this quote.
    pub fn quote(&self, c: char) -> f64 {
        f64::from(self.quotes[usize::from(c == '"')])
    }
}

/// -log2 of a probability; of 0 as of the least number in f32, 126 bits.
pub fn bits(p: f32) -> f64 {
    -f64::from(p.max(f32::MIN_POSITIVE)).log2()
}

/// What a model says of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDump {
    /// Of every character.
    pub positions: Vec<Position>,
    /// Of every logical line how many blanks the model puts at its start where each character is the
    /// likeliest one; none where white space other than blanks is there.
    pub greedy_widths: Vec<Option<usize>>,
}

/// Reads each file from its start with the model that `make` gives for it.
///
/// # Errors
/// Those of `make`; [`Error::Interrupted`].
pub fn dump<'a>(
    files: &'a [SourceFile],
    symbols: Symbols,
    make: impl Fn(&'a SourceFile) -> Result<Box<dyn Predictor + 'a>> + Sync,
) -> Result<Vec<FileDump>> {
    let each = files.par_iter().map(|file| {
        let mut predictor = make(file)?;
        dump_file(file, symbols, &mut *predictor)
    });
    each.collect()
}

fn dump_file(
    file: &SourceFile,
    symbols: Symbols,
    predictor: &mut dyn Predictor,
) -> Result<FileDump> {
    let mut positions = Vec::with_capacity(file.ids.len());
    let mut greedy_widths = Vec::with_capacity(file.syntax.lines.len());
    let mut lines = file.syntax.lines.iter().peekable();
    let mut probabilities = vec![0.0; predictor.vocab()];
    predictor.reset();
    for (at, &id) in file.ids.iter().enumerate() {
        if at % LOOK_EVERY == 0 && interrupt::asked() {
            return Err(Error::Interrupted(INTERRUPTED.into()));
        }
        predictor.predict(&mut probabilities);
        positions.push(position(&probabilities, id, symbols));
        if let Some(line) = lines.next_if(|line| line.text == at) {
            greedy_widths.push(greedy_width(line, &positions, symbols, predictor));
        }
        predictor.read(id);
    }
    Ok(FileDump {
        positions,
        greedy_widths,
    })
}

fn position(probabilities: &[f32], id: u32, symbols: Symbols) -> Position {
    let of = |id: Option<u16>| id.map_or(0.0, |id| probabilities[usize::from(id)]);
    Position {
        p: probabilities[id as usize],
        argmax: argmax(probabilities),
        closers: symbols.closers.map(of),
        quotes: symbols.quotes.map(of),
        space: of(symbols.space),
    }
}

/// The id of the largest; of several the lowest.
pub fn argmax(probabilities: &[f32]) -> u32 {
    let mut best = 0;
    for (id, p) in probabilities.iter().enumerate() {
        if *p > probabilities[best] {
            best = id;
        }
    }
    best as u32
}

/// Before the first character of a line's text is read: how many blanks the likeliest line has. What
/// is there says so, unless the model wants more than there are: then it writes on.
fn greedy_width(
    line: &LogicalLine,
    positions: &[Position],
    symbols: Symbols,
    predictor: &mut dyn Predictor,
) -> Option<usize> {
    let space = u32::from(symbols.space.filter(|_| !line.has_tabs)?);
    let written = &positions[line.start..=line.text];
    if let Some(width) = written.iter().position(|p| p.argmax != space) {
        return Some(width);
    }
    predictor.hold();
    let mut width = written.len();
    let mut probabilities = vec![0.0; predictor.vocab()];
    loop {
        predictor.read(space);
        predictor.predict(&mut probabilities);
        if argmax(&probabilities) != space || width >= WIDEST {
            break;
        }
        width += 1;
    }
    predictor.rewind();
    Some(width)
}
