//! Texts that no tokenizer expects.

use arbtest::arbtest;
use rnnx::data::tokens::bpe::Base;
use rnnx::data::tokens::{Tokenizer, key, learn};

fn all() -> [Tokenizer; 6] {
    let bpe = |over| Tokenizer::Bpe(learn(over, ["def", "self", "deself", "x"], 4).unwrap());
    [
        Tokenizer::Whitespace,
        Tokenizer::Words,
        Tokenizer::Python,
        bpe(Base::Words),
        bpe(Base::Python),
        Tokenizer::Chars,
    ]
}

/// What holds of every text: nothing but white space and comments goes, and none is left out where there is
/// more.
fn check(tokenizer: &Tokenizer, text: &str) {
    let tokens = tokenizer.split(text);
    let blank = text
        .chars()
        .all(|c| c.is_whitespace() || matches!(c, '\x1c'..='\x1f'));
    assert!(
        blank || !tokens.is_empty(),
        "{:?}: {text:?}",
        tokenizer.kind()
    );
    assert!(tokens.iter().all(|token| !token.is_empty()));
    let joined = tokenizer.join(&tokens);
    let dense = |text: &str| {
        text.chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
    };
    match tokenizer {
        Tokenizer::Chars => assert_eq!(joined, text),
        Tokenizer::Words => assert_eq!(dense(&joined), dense(text)),
        _ => {}
    }
    for token in &tokens {
        assert_eq!(key(&key(token)), key(token));
    }
    if let Tokenizer::Bpe(bpe) = tokenizer {
        let base = match serde_json::to_value(bpe).unwrap()["over"].as_str() {
            Some("words") => Tokenizer::Words,
            _ => Tokenizer::Python,
        };
        assert_eq!(tokenizer.whole(&tokens), base.split(text), "{text:?}");
    }
}

#[test]
fn arbitrary_texts_are_split_and_joined() {
    let tokenizers = all();
    arbtest(|u| {
        let text: String = u.arbitrary()?;
        tokenizers.iter().for_each(|t| check(t, &text));
        // Of what the rules are about.
        const PARTS: [&str; 26] = [
            "'", "\"", "'''", "\\", " ", "\n", "    ", "\t", "s", "n't", "r", "f", "(", ")", "[",
            "}", "{", ":", "#", "if", "x", "1", ".", "@@", "é", "\u{301}",
        ];
        let count = u.int_in_range(0..=30)?;
        let parts = (0..count).map(|_| u.choose(&PARTS).copied());
        let text = parts.collect::<Result<String, _>>()?;
        tokenizers.iter().for_each(|t| check(t, &text));
        Ok(())
    });
}

#[test]
fn one_character_of_every_kind() {
    for tokenizer in all() {
        for c in (0..=0x0010_ffff).step_by(101).filter_map(char::from_u32) {
            check(&tokenizer, &c.to_string());
        }
    }
}

/// None of the tokenizers takes a time that grows with the square of a line.
#[test]
fn a_line_of_a_megabyte() {
    const PARTS: [&str; 4] = ["'a ", "''' \" ", "( ", "@"];
    for part in PARTS {
        let text = part.repeat((1 << 20) / part.len());
        for tokenizer in all() {
            let tokens = tokenizer.split(&text);
            assert!(!tokenizer.join(&tokens).is_empty());
        }
    }
}
