//! Inputs: valid bytes with some damage, or bytes from nothing.

use arbtest::arbitrary::{Result, Unstructured};

/// Damages of one input, at most.
const EDITS: usize = 6;

/// Numbers at which readers go wrong.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "-0.0",
    "0.5",
    "1e999",
    "1e-400",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "nan",
    "null",
    "true",
    "\"NaN\"",
];

/// Pieces of the formats.
const PIECES: [&[u8]; 36] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"\"",
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b"\t",
    b"\0",
    b" ",
    b":",
    b",",
    b"=",
    b"#",
    b"/",
    b"../",
    b"\xff",
    b"\xc3\xa9",
    b"\xf4\x8f\xbf\xbf",
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\ud800",
    b"\"\"\"",
    b"f\"{",
    b"def f(a):\n",
    b"    ",
    b"lambda: ",
    b"not ",
    b"if x:\n",
    b"PK\x01\x02",
    b"\x1f\x8b\x08",
    b"null",
];

/// An input made from the random bytes of `u`.
pub fn input(u: &mut Unstructured, valid: &[&[u8]]) -> Result<Vec<u8>> {
    let mut bytes = match u.ratio(1, 10)? {
        true => u.bytes(u.len().min(512))?.to_vec(),
        false => u.choose(valid)?.to_vec(),
    };
    for _ in 0..u.int_in_range(0..=EDITS)? {
        edit(u, valid, &mut bytes)?;
    }
    Ok(bytes)
}

fn edit(u: &mut Unstructured, valid: &[&[u8]], bytes: &mut Vec<u8>) -> Result<()> {
    let at = u.int_in_range(0..=bytes.len())?;
    let end = u.int_in_range(at..=bytes.len().min(at + 64))?;
    match u.int_in_range(0..=8)? {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << u.int_in_range(0..=7)?;
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u.arbitrary()?;
            }
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            insert(bytes, at, &copy);
        }
        5 => insert(bytes, at, u.choose(&PIECES)?),
        // Nesting, or a name of absurd length.
        6 => insert(
            bytes,
            at,
            &u.choose(&PIECES)?.repeat(u.int_in_range(1..=2000)?),
        ),
        7 => number(u, bytes, at)?,
        _ => {
            let other = *u.choose(valid)?;
            let from = u.int_in_range(0..=other.len())?;
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
    Ok(())
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    drop(bytes.splice(at..at, new.iter().copied()));
}

/// Another number in the place of the next one in text, or over the next eight bytes.
fn number(u: &mut Unstructured, bytes: &mut Vec<u8>, at: usize) -> Result<()> {
    let number = *u.choose(&NUMBERS)?;
    let digit = |b: &u8| b.is_ascii_digit();
    match bytes[at..].iter().position(digit) {
        Some(skipped) if u.arbitrary()? => {
            let from = at + skipped;
            let count = bytes[from..].iter().take_while(|b| digit(b)).count();
            drop(bytes.splice(from..from + count, number.bytes()));
        }
        _ => {
            let value: u64 = number.parse().unwrap_or(u64::MAX >> 1);
            let over = at..bytes.len().min(at + 8);
            drop(bytes.splice(over, value.to_le_bytes()));
        }
    }
    Ok(())
}
