//! The words of a description: names and numbers whole, quoted strings whole, punctuation apart.
//!
//! A quote opens a string where
//! - it stands at the start, behind white space or behind punctuation that closes nothing: not behind
//!   a letter, as an apostrophe does;
//! - what follows is no clitic, as in `self 's value` (but `'s'` is a string);
//! - there is a partner before the end: behind an opening quote with white space right behind it, a
//!   quote with white space on both sides (`the string ' is not a file ' ,`), or else the next one
//!   that no letter or digit follows. A backslash takes the meaning from what is behind it.
//!
//! A prefix of Python's (`r`, `b`, `u`, `f` and their pairs) that touches the quote belongs to the string.
//! Three quotes open what three quotes close.

use unicode_normalization::char::is_combining_mark;

/// What an apostrophe may shorten a word to, behind another word.
const CLITICS: [&str; 7] = ["s", "t", "re", "ve", "ll", "d", "m"];

/// The words of a text.
pub fn split(text: &str) -> Vec<&str> {
    let mut scan = Scan {
        text,
        unclosed: [[false; 2]; 2],
    };
    let (mut tokens, mut at, mut before) = (Vec::new(), 0, None);
    while let Some(c) = text[at..].chars().next() {
        let end = match c {
            _ if c.is_whitespace() => at + c.len_utf8(),
            '\'' | '"' => scan.quote(at, before),
            _ if is_word(c) => {
                let end = scan.word(at);
                let prefixed = scan.rest(end).starts_with(['\'', '"'])
                    && is_prefix(&text[at..end])
                    && opens_behind(before)
                    && scan.clitic(end).is_none();
                let string = prefixed.then(|| scan.string(end)).flatten();
                string.unwrap_or_else(|| scan.contraction(at, end))
            }
            _ => at + c.len_utf8(),
        };
        if !c.is_whitespace() {
            tokens.push(&text[at..end]);
        }
        before = text[at..end].chars().next_back();
        at = end;
    }
    tokens
}

/// Whether a character is part of a word.
fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric() || is_combining_mark(c)
}

/// Whether a word is a prefix of Python's string literals.
pub(super) fn is_prefix(word: &str) -> bool {
    const PREFIXES: [&str; 11] = ["r", "u", "b", "f", "t", "br", "rb", "fr", "rf", "tr", "rt"];
    PREFIXES
        .iter()
        .any(|prefix| prefix.eq_ignore_ascii_case(word))
}

/// Whether a quote behind this character may open a string.
fn opens_behind(before: Option<char>) -> bool {
    before.is_none_or(|c| !is_word(c) && !matches!(c, ')' | ']' | '}' | '\'' | '"'))
}

/// A text that is read.
struct Scan<'a> {
    text: &'a str,
    /// Whether no partner was found for an earlier quote, by its character and by whether white space
    /// stood behind it: then a later one has none, and the rest need not be searched again.
    unclosed: [[bool; 2]; 2],
}

impl<'a> Scan<'a> {
    fn rest(&self, at: usize) -> &'a str {
        &self.text[at..]
    }

    /// The end of what begins with the quote at `at`, behind the character `before`: a string, a
    /// clitic, or the quote alone.
    fn quote(&mut self, at: usize, before: Option<char>) -> usize {
        if let Some(end) = self.clitic(at) {
            return end;
        }
        let string = opens_behind(before).then(|| self.string(at)).flatten();
        string.unwrap_or(at + 1)
    }

    /// The end of the word at `at`. A number goes on behind a point, if digits do.
    fn word(&self, at: usize) -> usize {
        let digits = |at: usize| {
            let rest = self.rest(at);
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()
        };
        let mut end = at + digits(at);
        while end > at && self.rest(end).starts_with('.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        let rest = self.rest(end);
        end + rest.len() - rest.trim_start_matches(is_word).len()
    }

    /// The end of a word with its `'t` (`don't`), if it is one that has it.
    fn contraction(&self, at: usize, end: usize) -> usize {
        let behind = self.text[at..end].ends_with(['n', 'N']) && self.rest(end).starts_with('\'');
        let negated = self.rest(end).get(1..).is_some_and(|rest| {
            let t = rest.starts_with(['t', 'T']);
            t && !rest[1..].starts_with(|c| is_word(c) || c == '\'')
        });
        if behind && negated { end + 2 } else { end }
    }

    /// The end of a clitic, at a quote.
    fn clitic(&self, at: usize) -> Option<usize> {
        let rest = self.rest(at).strip_prefix('\'')?;
        let end = at + 1 + rest.len() - rest.trim_start_matches(is_word).len();
        let word = &self.text[at + 1..end];
        let is = CLITICS
            .iter()
            .any(|clitic| clitic.eq_ignore_ascii_case(word));
        let mut behind = self.rest(end).chars();
        let ends = match behind.next() {
            None => true,
            Some(c) if c.is_whitespace() => true,
            Some(',' | '.' | ';' | ':' | '!' | '?' | ')') => {
                behind.next().is_none_or(char::is_whitespace)
            }
            Some(_) => false,
        };
        (is && ends).then_some(end)
    }

    /// The end of the string that the quote at `at` opens, if it has a partner.
    fn string(&mut self, at: usize) -> Option<usize> {
        let rest = self.rest(at);
        let quote = rest.chars().next()?;
        let marks = rest.chars().take(3).take_while(|c| *c == quote).count();
        if marks == 3
            && let Some(found) = rest[3..].find(&rest[..3])
        {
            return Some(at + 6 + found);
        }
        if marks == 2 {
            return Some(at + 2);
        }
        let spaced = rest[1..].starts_with(char::is_whitespace);
        if spaced && let Some(end) = self.partner(at, quote, true) {
            return Some(end);
        }
        self.partner(at, quote, false)
    }

    /// The end of the string that begins at `at`, where its other quote has white space on both sides
    /// (`spaced`), or is only followed by no word.
    fn partner(&mut self, at: usize, quote: char, spaced: bool) -> Option<usize> {
        let none = &mut self.unclosed[usize::from(quote == '"')][usize::from(spaced)];
        if *none {
            return None;
        }
        let (mut before, mut escaped) = (quote, false);
        for (n, c) in self.text[at + 1..].char_indices() {
            if c == quote && !escaped {
                let next = self.text[at + 2 + n..].chars().next();
                let closes = match spaced {
                    true => before.is_whitespace() && next.is_none_or(char::is_whitespace),
                    false => next.is_none_or(|c| !is_word(c)),
                };
                if closes {
                    return Some(at + 2 + n);
                }
            }
            escaped = c == '\\' && !escaped;
            before = c;
        }
        *none = true;
        None
    }
}
