use std::fs;

use rnnx::data::vocab::Vocab;
use rnnx::data::words::{EOS, PAD, SOS, SPECIALS, UNK, WordVocab};
use rnnx::files::RunFolder;
use rnnx::{Error, Result};
use serde_json::{Value, json};

use super::assert_fails;

fn vocab(text: &str, min_frequency: usize) -> Result<WordVocab> {
    WordVocab::from_tokens(text.split(' '), min_frequency)
}

#[test]
fn words_that_occur_often_enough_are_sorted_behind_the_specials() -> Result<()> {
    let vocab = vocab("b a é b Z é b a once Z zz", 2)?;
    let all: Vec<&str> = (0..vocab.len() as u32).map(|id| vocab.token(id)).collect();
    assert_eq!(all[..4], SPECIALS);
    assert_eq!(all[4..], ["Z", "a", "b", "é"]);
    assert_eq!([PAD, SOS, EOS, UNK].map(|id| vocab.token(id)), SPECIALS);
    assert_eq!(
        vocab.encode(["é", "a", "once", "b", ""]),
        [7, 5, UNK, 6, UNK]
    );
    assert_eq!(vocab.id("Z"), 4);
    Ok(())
}

#[test]
fn a_token_that_spells_like_a_special_is_an_unknown_word() -> Result<()> {
    let vocab = vocab("<PAD> <PAD> <EOS> <EOS> <UNK> <UNK> x x <pad> <pad>", 2)?;
    assert_eq!(vocab.len(), 6);
    assert_eq!(vocab.encode(["<PAD>", "<SOS>", "<EOS>", "<UNK>"]), [UNK; 4]);
    assert_eq!(vocab.encode(["<pad>", "x"]), [4, 5]);
    assert_fails(
        WordVocab::from_tokens(["<UNK>", "<UNK>"], 1),
        3,
        &["nothing but its special tokens"],
    );
    Ok(())
}

#[test]
fn a_vocabulary_of_nothing_but_specials_is_refused() {
    assert_fails(
        vocab("a b c", 2),
        3,
        &[
            "3 different tokens none occurs 2 times",
            "lower min-frequency",
        ],
    );
    assert_fails(WordVocab::from_tokens([], 1), 3, &["0 different tokens"]);
}

#[test]
fn json_keeps_both_sides() -> Result<()> {
    let (source, target) = (vocab("get the the get", 2)?, vocab("\"x\" = =", 1)?);
    let file = Vocab::Words {
        source: source.tokens().to_vec(),
        target: target.tokens().to_vec(),
        tokenizers: Box::default(),
    };
    assert_eq!(
        json!(file).to_string(),
        r#"{"kind":"words","source":["<PAD>","<SOS>","<EOS>","<UNK>","get","the"],"target":["<PAD>","<SOS>","<EOS>","<UNK>","\"x\"","="]}"#
    );
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    folder.write_vocab(&file.to_text())?;
    assert_eq!(Vocab::read_words(&folder)?, (source, target));
    Ok(())
}

#[test]
fn a_file_that_is_no_vocabulary_of_words_is_refused_with_its_reason() {
    let good = json!(["<PAD>", "<SOS>", "<EOS>", "<UNK>", "a"]);
    let words = |target| json!({ "kind": "words", "source": good, "target": target });
    let list = |last: &[&str]| words(json!([&SPECIALS[..], last].concat()));
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    let read = |value: Value| {
        fs::write(folder.vocab_path(), value.to_string()).unwrap();
        Vocab::read_words(&folder)
    };
    for (value, part) in [
        (
            json!({"kind": "char", "tokens": ["a"]}),
            "is of a character LM",
        ),
        (
            json!({"kind": "bytes"}),
            "unknown variant `bytes`, expected `char` or `words`",
        ),
        (json!({"source": []}), "missing field `kind`"),
        (json!(7), "not a vocabulary"),
        (json!({"kind": "words"}), "missing field `source`"),
        (
            json!({"kind": "words", "source": good}),
            "missing field `target`",
        ),
        (words(json!({})), "map, expected a sequence"),
        (
            words(json!([])),
            "\"target\": it does not start with <PAD> <SOS> <EOS> <UNK>",
        ),
        (
            words(json!(["<PAD>", "<EOS>", "<SOS>", "<UNK>", "a"])),
            "does not start with <PAD> <SOS>",
        ),
        (list(&[]), "nothing but its special tokens"),
        (
            list(&["a", "b", "a"]),
            "\"a\" is there twice, as tokens 4 and 6",
        ),
        (
            list(&["a", "<EOS>"]),
            "\"<EOS>\" is there twice, as tokens 2 and 5",
        ),
        (words(json!(["<PAD>", 7])), "integer `7`, expected a string"),
    ] {
        let result = read(value);
        assert!(matches!(result, Err(Error::Checkpoint { .. })), "{part}");
        assert_fails(result, 3, &["vocab.json", part]);
    }
}
