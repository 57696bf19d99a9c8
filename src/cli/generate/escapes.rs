//! Escapes in a prompt and in `--stop`, for characters that a shell makes hard to write.

use crate::data::chars::CharVocab;

/// What may follow a backslash.
const KNOWN: &str = r"\n, \t, \\, \xNN (two hexadecimal digits) or \u{N} (a code point)";

/// A character as it was written, or a byte: that of a `\xNN`, or one that is not UTF-8.
enum Piece {
    Char(char),
    Byte(u8),
}

/// The characters of a text as the vocabulary counts them, as [`CharVocab::symbols`]; with `escapes`,
/// `\xNN` is the byte NN to a vocabulary of bytes and the character U+00NN to another.
///
/// # Errors
/// The first byte that is not UTF-8, unless the vocabulary is of bytes; the first escape that is none, and
/// its position.
pub(super) fn symbols(text: &[u8], vocab: &CharVocab, escapes: bool) -> Result<Vec<char>, String> {
    let pieces = pieces(text, escapes)?;
    if vocab.is_of_bytes() {
        let of = |piece: Piece| match piece {
            Piece::Char(c) => vocab.symbols(c.encode_utf8(&mut [0; 4])),
            Piece::Byte(byte) => vec![char::from(byte)],
        };
        return Ok(pieces.into_iter().flat_map(of).collect());
    }
    if let Err(e) = str::from_utf8(text) {
        let byte = e.valid_up_to() + 1;
        return Err(format!("byte {byte} is not UTF-8"));
    }
    let chars = pieces.into_iter().map(|piece| match piece {
        Piece::Char(c) => c,
        Piece::Byte(n) => char::from(n),
    });
    Ok(vocab.symbols(&chars.collect::<String>()))
}

fn pieces(text: &[u8], escapes: bool) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut position) = (Vec::with_capacity(text.len()), 1);
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            let (piece, length) = match c {
                '\\' if escapes => escape(rest).ok_or_else(|| {
                    let shown = shown(rest);
                    format!("{shown} at position {position} is no escape: write {KNOWN}")
                })?,
                c => (Piece::Char(c), c.len_utf8()),
            };
            pieces.push(piece);
            position += rest[..length].chars().count();
            rest = &rest[length..];
        }
        pieces.extend(chunk.invalid().iter().copied().map(Piece::Byte));
        position += chunk.invalid().len();
    }
    Ok(pieces)
}

/// The escape that a text begins with, and its bytes; None if it is none.
fn escape(text: &str) -> Option<(Piece, usize)> {
    let simple = |c| Some((Piece::Char(c), 2));
    match text[1..].chars().next()? {
        'n' => simple('\n'),
        't' => simple('\t'),
        '\\' => simple('\\'),
        'x' => Some((Piece::Byte(hexadecimal(text.get(2..4)?)? as u8), 4)),
        'u' => {
            let (digits, _) = text[2..].strip_prefix('{')?.split_once('}')?;
            let c = char::from_u32(hexadecimal(digits)?)?;
            Some((Piece::Char(c), digits.len() + 4))
        }
        _ => None,
    }
}

/// A number of one to six digits; no sign, as the parser of the library would take.
fn hexadecimal(digits: &str) -> Option<u32> {
    let fits = (1..=6).contains(&digits.len());
    let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| fits && all)
}

/// The part of a text to name for a wrong escape at its beginning.
fn shown(text: &str) -> String {
    let longest = match text[1..].chars().next() {
        Some('u') => text.find('}').map_or(3, |end| end + 1).min(12),
        Some('x') => 4,
        _ => 2,
    };
    text.chars().take(longest).collect()
}
