//! What is answered quickly is what the definitions say.

use std::collections::HashMap;

use super::*;
use crate::rng::{Purpose, Stream};

/// Whether a token may be written, by what a [`Form`] is.
fn by_definition(next: &Next, form: &Form) -> bool {
    let (recogniser, part) = (&next.written.recogniser, &*next.written.part);
    match form {
        Form::Never => false,
        Form::Whole(terminals) => {
            let mut longer = recogniser.clone();
            let pushed = part.is_empty() && terminals.iter().all(|&t| longer.push(t));
            pushed && longer.shortest_end().is_some_and(|n| n < next.room)
        }
        Form::Last(piece, _) => {
            let terminal = terminal(&[part, piece].concat());
            terminal.is_some_and(|t| next.allowed.contains(t))
        }
        Form::Inner(piece, _) => {
            let longer = [part, piece].concat();
            next.syntax.pieces.ways(&longer).any(|(terminal, pieces)| {
                let behind = recogniser.shortest_behind(terminal);
                behind.is_some_and(|n| n + usize::from(pieces) < next.room)
            })
        }
    }
}

/// Walks through texts at random, and compares the two at every step for every token and several rooms. The
/// answers for each kind of form: false, true.
fn walk(kind: TokenizerKind, tokens: &[String], texts: usize) -> HashMap<&'static str, [usize; 2]> {
    let vocab = WordVocab::from_tokens(tokens.iter().map(String::as_str), 1).unwrap();
    let syntax = Syntax::new(Start::Module, kind, &vocab).unwrap();
    let mut draws = Stream::new(5, Purpose::Sample, 0).reader();
    let mut answers = HashMap::new();
    for _ in 0..texts {
        let mut written = syntax.begin();
        for room in (1..=40).rev() {
            for room in [1, 2, 3, 4, room] {
                let next = written.next(&syntax, room);
                for id in 0..syntax.tokens() as u32 {
                    let form = syntax.form_of(id);
                    let want = by_definition(&next, form);
                    let part = &next.written.part;
                    let token = vocab.token(id);
                    assert_eq!(next.may_follow(id), want, "{part:?} {token:?} {room}");
                    assert_eq!(next.may_be(form), want, "{part:?} {token:?} {room}");
                    let what = match form {
                        Form::Never => "never",
                        Form::Whole(_) => "whole",
                        Form::Last(..) if part.is_empty() => "last, alone",
                        Form::Last(..) => "last",
                        Form::Inner(..) if part.is_empty() => "inner, first",
                        Form::Inner(..) => "inner",
                    };
                    answers.entry(what).or_insert([0; 2])[usize::from(want)] += 1;
                }
            }
            let next = written.next(&syntax, room);
            let ids = (0..syntax.tokens() as u32).filter(|&id| next.may_follow(id));
            let ids: Vec<u32> = ids.collect();
            let Some(&id) = ids.get(draws.below(ids.len().max(1) as u32) as usize) else {
                break;
            };
            assert!(written.push(syntax.form_of(id)));
        }
    }
    answers
}

#[test]
fn pieces_may_follow_as_their_definition_says() {
    let parts = [
        "a", "b", "e", "f", "i", "n", "r", "x", "j", "_", "0", "1", "9", ".", "'", "\"", "''", "(",
        ")", "[", "]", "{", "}", ",", ":", "=", "*", "<", "-", "+", "!", "if", "in", "not", "é",
        "\\", " ", "'a'", "x'", "1e", "0x",
    ];
    let both = parts
        .iter()
        .flat_map(|part| [(*part).to_owned(), format!("{part}{GOES_ON}")]);
    let markers = [NEWLINE, INDENT, DEDENT].map(str::to_owned);
    let tokens: Vec<String> = both.chain(markers).collect();
    let answers = walk(TokenizerKind::Bpe, &tokens, 60);
    for what in ["last, alone", "last", "inner, first", "inner"] {
        let times = answers[what];
        assert!(times.iter().all(|&n| n > 500), "{what}: {times:?}");
    }
}

#[test]
fn whole_tokens_may_follow_as_their_definition_says() {
    let tokens = [
        NEWLINE, INDENT, DEDENT, "x", "y", "=", "==", "(", ")", "[", "]", ":", ",", "if", "else:",
        "return", "self.x", "foo(x,", "bar(y,", "x)", "y):", "x=1", "a[0].b", "def", "f(x):",
        "g(y):", "not", "in", "'a'", "1", "'open", "$",
    ];
    let tokens = tokens.map(str::to_owned);
    for kind in [TokenizerKind::Python, TokenizerKind::Whitespace] {
        let answers = walk(kind, &tokens, 60);
        assert!(answers["whole"].iter().all(|&n| n > 500), "{answers:?}");
    }
}
