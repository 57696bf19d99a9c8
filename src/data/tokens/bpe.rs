//! Byte-pair encoding of tokens (Sennrich, Haddow and Birch 2016): a token is split into the pieces
//! that the learned merges leave of its characters. No piece has parts of two tokens.
//!
//! A piece that its token goes on behind ends with [`GOES_ON`], so joining is exact. No piece that ends a
//! token can be mistaken for one: merges that would make it end like that are never learned.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use serde::{Deserialize, Serialize};

use super::{python, words};

/// The end of a piece that another piece of the same token stands behind.
pub const GOES_ON: &str = "@@";

/// What is split into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// The tokens of [`words`].
    Words,
    /// The tokens of [`python`].
    Python,
}

impl Base {
    /// The tokens of a text.
    pub fn split(self, text: &str) -> Vec<String> {
        match self {
            Base::Words => words::split(text).into_iter().map(str::to_owned).collect(),
            Base::Python => python::split(text),
        }
    }

    /// The tokens that are never split.
    fn markers(self) -> &'static [&'static str] {
        match self {
            Base::Words => &[],
            Base::Python => &python::MARKERS,
        }
    }
}

/// Byte-pair encoding with its merges, the first learned first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct Bpe {
    over: Base,
    /// How many characters were seen in training.
    characters: usize,
    /// Characters as ends of a token, characters with more behind them, then what merges make.
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
    /// Two pieces, the place of their merge among all, and what they become.
    merges: HashMap<(u32, u32), (u32, u32)>,
}

/// As `vocab.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct File {
    over: Base,
    /// The characters that were seen in training.
    characters: String,
    /// The pieces that become one, the first learned first.
    merges: Vec<(String, String)>,
}

/// The piece of a character, with another piece behind it or not.
pub(super) fn piece(c: char, goes_on: bool) -> String {
    let mut piece = String::from(c);
    if goes_on {
        piece += GOES_ON;
    }
    piece
}

/// What two pieces become; none if the left one ends its token, or the outcome could be read as one that
/// goes on.
pub(super) fn merged(left: &str, right: &str) -> Option<String> {
    let whole = [left.strip_suffix(GOES_ON)?, right].concat();
    let ends = !right.ends_with(GOES_ON);
    (!ends || !whole.ends_with(GOES_ON)).then_some(whole)
}

/// Tokens of pieces. A last one that breaks off is kept.
pub(super) fn whole<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let (mut tokens, mut open) = (Vec::new(), None::<String>);
    for piece in pieces {
        if python::MARKERS.contains(&piece) {
            tokens.extend(open.take());
        }
        let mut token = open.take().unwrap_or_default();
        match piece.strip_suffix(GOES_ON) {
            Some(part) => {
                token += part;
                open = Some(token);
            }
            None => tokens.push(token + piece),
        }
    }
    tokens.extend(open);
    tokens
}

impl TryFrom<File> for Bpe {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        Bpe::new(file.over, file.characters.chars(), file.merges)
    }
}

impl From<Bpe> for File {
    fn from(bpe: Bpe) -> File {
        let mut merges: Vec<_> = bpe.merges.iter().collect();
        merges.sort_unstable_by_key(|(_, (rank, _))| *rank);
        let text = |id: u32| bpe.pieces[id as usize].clone();
        let merges = merges
            .iter()
            .map(|((left, right), _)| (text(*left), text(*right)));
        File {
            over: bpe.over,
            characters: bpe.pieces[..bpe.characters].concat(),
            merges: merges.collect(),
        }
    }
}

impl Bpe {
    /// The encoding with these characters and merges.
    ///
    /// # Errors
    /// Says what is wrong with them: a character is there twice, or a merge is of pieces that are not
    /// made before it or cannot be merged.
    pub fn new(
        over: Base,
        characters: impl IntoIterator<Item = char>,
        merges: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let characters: Vec<char> = characters.into_iter().collect();
        let mut bpe = Bpe {
            over,
            characters: characters.len(),
            pieces: Vec::new(),
            ids: HashMap::new(),
            merges: HashMap::new(),
        };
        for goes_on in [false, true] {
            for &c in &characters {
                let piece = piece(c, goes_on);
                if bpe.ids.contains_key(&piece) {
                    return Err(format!("the character {c:?} is there twice"));
                }
                bpe.id_of(piece)?;
            }
        }
        for (left, right) in merges {
            let id = |piece: &str| {
                let id = bpe.ids.get(piece).copied();
                id.ok_or_else(|| format!("a merge is of {piece:?}, which is no piece before it"))
            };
            let pair = (id(&left)?, id(&right)?);
            let made = bpe.merge(pair)?;
            made.ok_or_else(|| format!("{left:?} and {right:?} cannot be merged"))?;
        }
        Ok(bpe)
    }

    /// The same pieces of other tokens.
    pub fn over(self, over: Base) -> Self {
        Bpe { over, ..self }
    }

    /// All pieces and markers that there can be, but for characters that were never seen.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        let markers = self.over.markers().iter().copied();
        markers.chain(self.pieces.iter().map(String::as_str))
    }

    /// Merges that were learned.
    pub fn merges(&self) -> usize {
        self.merges.len()
    }

    /// The number of the piece of a character that was seen.
    pub(super) fn start(&self, c: char, goes_on: bool) -> Option<u32> {
        self.ids.get(&piece(c, goes_on)).copied()
    }

    /// Learns a merge, the last one unless it is known. Returns what it makes; none where it cannot be.
    pub(super) fn merge(&mut self, pair: (u32, u32)) -> Result<Option<u32>, String> {
        let [left, right] = [pair.0, pair.1].map(|id| &self.pieces[id as usize]);
        let Some(made) = merged(left, right) else {
            return Ok(None);
        };
        let made = self.id_of(made)?;
        let rank = u32::try_from(self.merges.len()).map_err(|_| "too many merges")?;
        self.merges.entry(pair).or_insert((rank, made));
        Ok(Some(made))
    }

    /// The number of a piece, a new one unless it is known.
    fn id_of(&mut self, piece: String) -> Result<u32, String> {
        if let Some(id) = self.ids.get(&piece) {
            return Ok(*id);
        }
        let id = u32::try_from(self.pieces.len()).map_err(|_| "too many pieces")?;
        self.ids.insert(piece.clone(), id);
        self.pieces.push(piece);
        Ok(id)
    }

    /// The pieces of a text.
    pub fn split(&self, text: &str) -> Vec<String> {
        let tokens = self.over.split(text);
        let mut pieces = Vec::with_capacity(2 * tokens.len());
        for token in &tokens {
            match self.over.markers().contains(&&**token) {
                true => pieces.push(token.clone()),
                false => self.encode(token, &mut pieces),
            }
        }
        pieces
    }

    /// The text of pieces: of `python` code, of `words` words with blanks between them.
    pub fn join<'a>(&self, pieces: impl IntoIterator<Item = &'a str>) -> String {
        let tokens = whole(pieces);
        match self.over {
            Base::Words => tokens.join(" "),
            Base::Python => python::join(tokens.iter().map(String::as_str)),
        }
    }

    /// Adds the pieces of a token: its characters, of which the merge that was learned first goes
    /// first, from left to right.
    fn encode(&self, token: &str, out: &mut Vec<String>) {
        let chars: Vec<char> = token.chars().collect();
        let starts = chars.iter().enumerate();
        let mut at: Vec<Option<u32>> = starts
            .map(|(n, &c)| self.start(c, n + 1 < chars.len()))
            .collect();
        // Pieces are linked by the places of their first characters.
        let mut next: Vec<usize> = (1..=chars.len()).collect();
        let mut before: Vec<Option<usize>> = (0..chars.len()).map(|n| n.checked_sub(1)).collect();
        let pair = |at: &[Option<u32>], next: &[usize], n: usize| {
            let pair = (at[n]?, (*at.get(next[n])?)?);
            let (rank, made) = self.merges.get(&pair)?;
            Some(Reverse((*rank, n, pair, *made)))
        };
        let mut heap: BinaryHeap<_> = (0..chars.len())
            .filter_map(|n| pair(&at, &next, n))
            .collect();
        while let Some(Reverse((rank, n, known, made))) = heap.pop() {
            if pair(&at, &next, n) != Some(Reverse((rank, n, known, made))) {
                continue; // one of the two has become another piece
            }
            let right = next[n];
            (at[n], at[right]) = (Some(made), None);
            next[n] = next[right];
            if let Some(before) = before.get_mut(next[n]) {
                *before = Some(n);
            }
            heap.extend(pair(&at, &next, n));
            heap.extend(before[n].and_then(|n| pair(&at, &next, n)));
        }
        let mut n = 0;
        while n < chars.len() {
            out.push(match at[n] {
                Some(id) => self.pieces[id as usize].clone(),
                None => piece(chars[n], n + 1 < chars.len()),
            });
            n = next[n];
        }
    }
}
