//! Pairs of brackets in files, and what may stand in an opener's place.

use super::draws::Draw;
use super::network::{Network, State};
use crate::data::chars::CharVocab;
use crate::programs::charlm::study::source::SourceFile;
use crate::programs::charlm::study::syntax::{Bracket, BracketKind};

/// The ids of brackets and of a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BracketIds {
    /// Opener and closer of each of [`BracketKind::ALL`].
    pub pairs: [(u32, u32); 3],
    /// The blank's.
    pub blank: u32,
}

impl BracketIds {
    /// The ids in a vocabulary; none where it lacks one of them.
    pub fn of(vocab: &CharVocab) -> Option<Self> {
        let id = |c| vocab.id(c).map(u32::from);
        let pair = |kind: BracketKind| Some((id(kind.opener())?, id(kind.closer())?));
        let [round, square, curly] = BracketKind::ALL.map(pair);
        Some(BracketIds {
            pairs: [round?, square?, curly?],
            blank: id(' ')?,
        })
    }

    /// Opener and closer of a type.
    pub fn pair(&self, kind: BracketKind) -> (u32, u32) {
        self.pairs[kind as usize]
    }

    /// The type that an opener is swapped for: `(` and `[` for each other, `{` for `[`.
    pub fn swapped(&self, kind: BracketKind) -> (u32, u32) {
        self.pair(match kind {
            BracketKind::Round | BracketKind::Curly => BracketKind::Square,
            BracketKind::Square => BracketKind::Round,
        })
    }
}

/// A pair of brackets in one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The file's number.
    pub file: usize,
    /// The opener's place.
    pub open: usize,
    /// The closer's place.
    pub close: usize,
    /// Its type's number in [`BracketKind::ALL`].
    kind: usize,
}

impl Pair {
    /// Its type.
    pub fn kind(&self) -> BracketKind {
        BracketKind::ALL[self.kind]
    }

    /// Characters from the opener to the closer.
    pub fn distance(&self) -> usize {
        self.close - self.open
    }
}

/// The number of a distance's bin: 1, 2 to 3, 4 to 7, and so on.
pub fn bin(distance: usize) -> usize {
    distance.ilog2() as usize
}

/// Pairs with at least one character before them, whose closer is among the first `chars` of its file.
pub fn pairs(files: &[&SourceFile], chars: usize) -> Vec<Pair> {
    let all = files.iter().enumerate().flat_map(|(file, source)| {
        let pair = move |bracket: &Bracket| Pair {
            file,
            open: bracket.open,
            close: bracket.close,
            kind: bracket.kind as usize,
        };
        source.syntax.brackets.iter().map(pair)
    });
    all.filter(|pair| pair.open > 0 && pair.close < chars)
        .collect()
}

/// At most `n` of the pairs, in the order of the text. `number` tells draws apart.
pub fn draw(mut pairs: Vec<Pair>, n: usize, number: u32) -> Vec<Pair> {
    Draw::Pairs.stream(number).reader().shuffle(&mut pairs);
    pairs.truncate(n);
    pairs.sort_unstable();
    pairs
}

/// Reads one file as far as its pairs (of that file, in the order of their openers), and calls `with` for
/// each with the state before its opener.
pub fn walk<N: Network>(
    network: &N,
    file: &SourceFile,
    pairs: &[Pair],
    mut with: impl FnMut(&Pair, &State),
) {
    let (mut lane, mut at) = (network.begin(), 0);
    for pair in pairs {
        network.read_all(&mut lane, &file.ids[at..pair.open]);
        at = pair.open;
        with(pair, &lane.state);
    }
}
