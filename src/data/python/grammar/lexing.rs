//! The terminals of a text, by the lexer of the parser.

use ruff_python_ast::{Expr, Stmt};
use ruff_python_parser::Parsed;

use super::terminal::{Terminal, TerminalSet};
use crate::data::python::parser::parse;
use crate::data::python::{Lexeme, lexemes};

/// The terminal of one lexical token: a keyword, an operator, a name, a number, or a string as a whole
/// that can be read. `None` for anything else.
pub fn terminal(token: &str) -> Option<Terminal> {
    at_a_glance(token).unwrap_or_else(|| parsed(token))
}

/// The same where no parser is needed to see it: a decoder that writes tokens piece by piece asks for
/// thousands of them.
fn at_a_glance(token: &str) -> Option<Option<Terminal>> {
    if let Some(spelled) = Terminal::spelled(token) {
        return Some(Some(spelled));
    }
    let first = token.chars().next()?;
    if of_word(first) && !first.is_ascii_digit() {
        // What ends a word is the quote of a string that it is the prefix of, or not of the same token.
        return match token.split_once(|c| !of_word(c)) {
            None => Some(Some(Terminal::NAME)),
            Some((word, _)) => {
                let next = token[word.len()..].chars().next()?;
                let may_be = !next.is_ascii() || (QUOTES.contains(&next) && is_prefix(word));
                (!may_be).then_some(None)
            }
        };
    }
    if first.is_ascii_digit() || first == '.' {
        return Some(number(token));
    }
    if only_spelled(first) {
        return Some(None);
    }
    let inside = token.strip_prefix(first)?.strip_suffix(first)?;
    let is_plain = |c: char| c != first && c != '\\' && !c.is_control();
    let is_string = QUOTES.contains(&first) && inside.chars().all(is_plain);
    is_string.then_some(Some(Terminal::STRING))
}

/// The terminal of a number as the language's reference (section 2.4.4) has it.
fn number(token: &str) -> Option<Terminal> {
    for (letters, base) in BASES {
        if let Some(digits) = token
            .strip_prefix('0')
            .and_then(|x| x.strip_prefix(letters))
        {
            let digits = digits.strip_prefix('_').unwrap_or(digits);
            let rest = behind_digits(digits, |c| c.is_digit(base))?;
            return rest.is_empty().then_some(Terminal::NUMBER);
        }
    }
    let of = |c: char| c.is_ascii_digit();
    let rest = behind_digits(token, of);
    let mut is_whole = rest.is_some();
    let mut rest = rest.unwrap_or(token);
    if let Some(fraction) = rest.strip_prefix('.') {
        let behind = behind_digits(fraction, of);
        if behind.is_none() && !is_whole {
            return None;
        }
        (rest, is_whole) = (behind.unwrap_or(fraction), false);
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        (rest, is_whole) = (behind_digits(exponent, of)?, false);
    }
    match rest {
        "j" | "J" => Some(Terminal::IMAGINARY),
        "" if !is_whole || !token.starts_with('0') => Some(Terminal::NUMBER),
        // Zeros alone.
        "" => (token.chars().all(|c| matches!(c, '0' | '_'))).then_some(Terminal::NUMBER),
        _ => None,
    }
}

/// Letters behind the zero of whole numbers of other bases.
const BASES: [([char; 2], u32); 3] = [(['x', 'X'], 16), (['o', 'O'], 8), (['b', 'B'], 2)];

/// What stands behind digits, at least one, between which there may be one low line each.
fn behind_digits(text: &str, of: impl Fn(char) -> bool) -> Option<&str> {
    let mut rest = text.strip_prefix(&of)?;
    while let Some(next) = rest.strip_prefix('_').unwrap_or(rest).strip_prefix(&of) {
        rest = next;
    }
    Some(rest)
}

/// The terminal of a token by the parser.
fn parsed(token: &str) -> Option<Terminal> {
    let parsed = parse(token).filter(Parsed::has_valid_syntax)?;
    let [Stmt::Expr(statement)] = &parsed.syntax().body[..] else {
        return None;
    };
    let (terminal, range, is_one) = match &*statement.value {
        Expr::Name(name) => (Terminal::NAME, name.range, true),
        Expr::NumberLiteral(number) => match number.value.is_complex() {
            true => (Terminal::IMAGINARY, number.range, true),
            false => (Terminal::NUMBER, number.range, true),
        },
        Expr::StringLiteral(text) => (Terminal::STRING, text.range, text.value.iter().count() == 1),
        Expr::FString(text) => (
            Terminal::FSTRING,
            text.range,
            text.value.iter().count() == 1,
        ),
        Expr::BytesLiteral(text) => (Terminal::BYTES, text.range, text.value.iter().count() == 1),
        Expr::TString(text) => (
            Terminal::TEMPLATE,
            text.range,
            text.value.iter().count() == 1,
        ),
        _ => return None,
    };
    // Strings side by side are one expression, and brackets or white space are not in its range.
    let is_whole = range.to_std_range() == (0..token.len());
    (is_one && is_whole && !token.contains('\r')).then_some(terminal)
}

/// What is seen at a glance of the beginning of a token.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// What it can become, and maybe more.
    pub becomes: TerminalSet,
    /// Characters of ASCII that can stand behind it, and maybe more.
    ascii: u128,
    /// Whether others can.
    others: bool,
}

impl Begun {
    /// Of `part`, which is not empty.
    pub fn of(part: &str) -> Self {
        let ascii = |of: &dyn Fn(char) -> bool| {
            let chars = (0..128u8).filter(|&c| of(c.into()));
            chars.fold(0, |set, c| set | 1 << c)
        };
        let spelled = || Terminal::all().filter(|t| !t.is_class() && t.name().starts_with(part));
        let first = part.chars().next();
        let is_number = first.is_some_and(|c| c.is_ascii_digit());
        let is_word = part.chars().all(of_word) && !is_number;
        // What is the beginning of a prefix is one.
        let is_prefix = is_prefix(part);
        if is_number {
            return Begun {
                becomes: [Terminal::NUMBER, Terminal::IMAGINARY]
                    .into_iter()
                    .collect(),
                ascii: ascii(&|c| c.is_ascii_hexdigit() || "xXoOjJ._+-".contains(c)),
                others: false,
            };
        }
        if is_word {
            let names = spelled().chain([Terminal::NAME]);
            let strings = STRINGS.into_iter().filter(|_| is_prefix);
            return Begun {
                becomes: names.chain(strings).collect(),
                ascii: ascii(&|c| of_word(c) || (is_prefix && QUOTES.contains(&c))),
                others: true,
            };
        }
        if first.is_some_and(only_spelled) {
            let rests = spelled().map(|t| &t.name()[part.len()..]);
            let nexts = rests.filter_map(|rest| rest.bytes().next());
            return Begun {
                becomes: spelled().collect(),
                ascii: nexts.fold(0, |set, c| set | 1 << c),
                others: false,
            };
        }
        // An empty string, or the beginning of one with three quotes.
        let quotes = part.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let third = ["''", "\"\""]
            .contains(&quotes)
            .then(|| quotes.as_bytes()[0]);
        Begun {
            becomes: match part.contains(QUOTES) {
                true => STRINGS.into_iter().collect(),
                false => Terminal::all().collect(),
            },
            ascii: third.map_or(u128::MAX, |quote| 1 << quote),
            others: third.is_none(),
        }
    }

    /// Whether `rest` begins with a character that can stand behind it.
    pub fn goes_on(&self, rest: &str) -> bool {
        match rest.bytes().next() {
            Some(first) if first.is_ascii() => self.ascii >> first & 1 == 1,
            Some(_) => self.others,
            None => true,
        }
    }
}

/// Whether a string may have this before its quotes.
fn is_prefix(word: &str) -> bool {
    const PREFIXES: [&str; 11] = ["r", "u", "b", "f", "t", "br", "rb", "fr", "rf", "tr", "rt"];
    PREFIXES
        .iter()
        .any(|prefix| prefix.eq_ignore_ascii_case(word))
}

const QUOTES: [char; 2] = ['\'', '"'];
/// The terminals that have quotes.
const STRINGS: [Terminal; 4] = [
    Terminal::STRING,
    Terminal::FSTRING,
    Terminal::BYTES,
    Terminal::TEMPLATE,
];

fn of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether of what begins so operators alone are tokens.
fn only_spelled(first: char) -> bool {
    first.is_ascii() && !of_word(first) && first != '.' && !QUOTES.contains(&first)
}

/// The terminals of a text without white space; `None` if it holds anything but whole tokens, such as
/// the beginning of a string or a comment.
pub fn terminals(text: &str) -> Option<Vec<Terminal>> {
    let mut rest = text;
    let terminals = lexemes(text).into_iter().map(|lexeme| match lexeme {
        Lexeme::Token(token) => {
            rest = rest.strip_prefix(&*token)?;
            terminal(&token)
        }
        _ => None,
    });
    let terminals = terminals.collect::<Option<Vec<Terminal>>>();
    terminals.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Reader, Stream};
    use std::collections::HashMap;

    const ALPHABET: [&str; 26] = [
        "a", "_", "b", "f", "r", "1", "0", "'", "\"", "\\", "(", "{", "}", ".", " ", "\n", "é",
        "\u{1}", "#", "if", "7", "x", "e", "-", "*", ")",
    ];

    /// Up to six draws from the alphabet.
    fn draw(draws: &mut Reader) -> String {
        let length = draws.below(7);
        let drawn = (0..length).map(|_| ALPHABET[draws.below(26) as usize]);
        drawn.collect()
    }

    /// No beginning of a token is taken for that of another kind, or for none.
    #[test]
    fn what_has_begun_becomes_what_is_seen_of_it() {
        let mut draws = Stream::new(2, Purpose::Sample, 0).reader();
        let quoted = [
            "", "f", "b", "rb", "u", "F", "f'", "b\"", "'", "''", "\"\"", "t", "Rt",
        ];
        let drawn = (0..100_000).map(|_| {
            let (start, quote) = (draws.below(13) as usize, draws.below(3) as usize);
            let inside = draw(&mut draws);
            [
                inside.clone(),
                [quoted[start], &inside, ["", "'", "\""][quote]].concat(),
            ]
        });
        let drawn: Vec<String> = drawn.flatten().collect();
        let spelled = Terminal::all().filter(|t| !t.is_class());
        let spelled = spelled.map(|t| t.name().to_owned());
        let (mut tokens, mut refused) = (HashMap::new(), 0);
        for token in drawn.into_iter().chain(spelled) {
            let becomes = terminal(&token);
            for (at, _) in token.char_indices().skip(1) {
                let begun = Begun::of(&token[..at]);
                let can = begun.goes_on(&token[at..]);
                match becomes {
                    Some(t) => assert!(can && begun.becomes.contains(t), "{token:?} at {at}"),
                    None => refused += usize::from(!can),
                }
            }
            *tokens.entry(becomes).or_insert(0) += 1;
        }
        // 200,000 draws, of which most are no token: the answer is not always yes.
        assert!(refused > 50_000, "{refused}");
        for kind in [Terminal::NAME, Terminal::NUMBER].iter().chain(&STRINGS) {
            assert!(
                tokens.get(&Some(*kind)) > Some(&100),
                "{kind:?}: {tokens:?}"
            );
        }
    }

    #[test]
    fn numbers_are_what_the_parser_says() {
        const PARTS: [&str; 17] = [
            "0", "1", "7", "9", "_", ".", "e", "E", "+", "-", "j", "J", "x", "o", "b", "a", "0x",
        ];
        let mut draws = Stream::new(3, Purpose::Sample, 0).reader();
        let mut seen = HashMap::new();
        for _ in 0..100_000 {
            let length = 1 + draws.below(7);
            let drawn = (0..length).map(|_| PARTS[draws.below(17) as usize]);
            let token: String = drawn.collect();
            if !token.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                continue;
            }
            assert_eq!(number(&token), parsed(&token), "{token:?}");
            *seen.entry(number(&token).map(Terminal::name)).or_insert(0) += 1;
        }
        for kind in [None, Some(Terminal::NUMBER), Some(Terminal::IMAGINARY)] {
            let times = seen.get(&kind.map(Terminal::name)).copied();
            assert!(times > Some(300), "{kind:?}: {times:?}");
        }
    }

    #[test]
    fn what_is_seen_at_a_glance_is_what_the_parser_says() {
        let mut draws = Stream::new(1, Purpose::Sample, 0).reader();
        let mut seen = HashMap::new();
        for _ in 0..100_000 {
            let token = draw(&mut draws);
            // The parser knows keywords and operators as parts of something alone.
            if Terminal::spelled(&token).is_some() {
                continue;
            }
            let Some(glance) = at_a_glance(&token) else {
                continue;
            };
            assert_eq!(glance, parsed(&token), "{token:?}");
            *seen.entry(glance.map(Terminal::name)).or_insert(0) += 1;
        }
        let kinds = [Terminal::NAME, Terminal::NUMBER, Terminal::STRING].map(Some);
        for kind in [None].into_iter().chain(kinds) {
            let times = seen.get(&kind.map(Terminal::name)).copied();
            assert!(times > Some(100), "{kind:?}: {times:?}");
        }
    }
}
