//! Configurations, vocabularies and prompts.

use std::io::Cursor;
use std::path::PathBuf;

use rnnx::cli::args::Oov;
use rnnx::cli::generate::{GenerateRequest, ask};
use rnnx::data::chars::{CharVocab, Token};
use rnnx::data::vocab::Vocab;
use rnnx::data::words::{SPECIALS, UNK, WordVocab};
use rnnx::files::RunFolder;
use rnnx::programs::charlm::config::CharLmConfig;
use rnnx::programs::seq2seq::config::Seq2SeqConfig;
use rnnx::train::config_file::{read_table, to_toml};
use rnnx::train::settings::Config;

use super::{Slot, accepted, assert_survives, fuzz};

fn configurations<C: Config + std::fmt::Debug>(name: &str) {
    let (slot, copy) = (Slot::new("config.toml"), Slot::new("copy.toml"));
    let text = |config: &C| to_toml(C::settings(), &config.table().expect("a table"));
    let valid = text(&C::default());
    let short = b"seed = 3 # \xc3\xa9\n\"epochs\" = 2\nout = 'C:\\x'\nlearning-rate = 1e-3\n";
    let read = |path: PathBuf| read_table(C::settings(), &path).and_then(C::from_table);
    fuzz(name, &[valid.as_bytes(), short], |bytes| {
        let Some(config) = accepted(read(slot.put(bytes))) else {
            return;
        };
        assert_survives(&config, read(copy.put(text(&config).as_bytes())));
    });
}

#[test]
fn configurations_of_character_models() {
    configurations::<CharLmConfig>("config.toml, charlm");
}

#[test]
fn configurations_of_seq2seq_models() {
    configurations::<Seq2SeqConfig>("config.toml, seq2seq");
}

#[test]
fn vocabularies() {
    let slot = Slot::new("vocab.json");
    let chars = "a\tb\"\\c\n\u{e9}\u{1f980}".chars().map(Token::Char);
    let chars = CharVocab::new([Token::Unknown].into_iter().chain(chars), false);
    let chars = chars.expect("characters");
    let chars = chars.to_file().to_text();
    let words = [&SPECIALS[..], &["def", "\u{e9}\"", ""]].concat();
    let words = words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let words = Vocab::Words {
        source: words.clone(),
        target: words,
        tokenizers: Box::default(),
    };
    let words = words.to_text();
    fuzz(
        "vocab.json",
        &[chars.as_bytes(), words.as_bytes()],
        |bytes| {
            slot.put(bytes);
            let run = RunFolder::at(slot.folder());
            let read = accepted(Vocab::read(&run));
            let chars = accepted(Vocab::read_chars(&run));
            let words = accepted(Vocab::read_words(&run));
            assert!(read.is_some() || (chars.is_none() && words.is_none()));
            assert!(chars.is_none() || words.is_none());
            if let Some(vocab) = &read {
                slot.put(vocab.to_text().as_bytes());
                assert_survives(vocab, Vocab::read(&run));
            }
            if let Some(vocab) = chars {
                assert_eq!(Some(vocab.to_file()), read);
                for (id, token) in (0..).zip(vocab.tokens()) {
                    let found = match token {
                        Token::Unknown => vocab.unknown(),
                        Token::Char(c) => vocab.id(c),
                    };
                    assert_eq!(found, Some(id), "{token:?}");
                    vocab.decode_into(id, &mut Vec::new());
                }
            }
            for side in words.iter().flat_map(|(source, target)| [source, target]) {
                check_words(side);
            }
        },
    );
}

fn check_words(vocab: &WordVocab) {
    for (id, token) in vocab.tokens().iter().enumerate() {
        let expected = if id < SPECIALS.len() { UNK } else { id as u32 };
        assert_eq!(vocab.id(token), expected, "{token:?}");
    }
}

#[test]
fn answers_to_questions() {
    let vocab = CharVocab::from_tokens("\n abc".chars()).expect("characters");
    fuzz(
        "answers",
        &[b"7\n0.5\nabc\n", b"x\n\n-1\n2\r\nd\nabc"],
        |bytes| {
            for oov in [Oov::Error, Oov::Skip, Oov::Unk] {
                let mut request = GenerateRequest {
                    prompt: None,
                    escapes: oov == Oov::Skip,
                    stop: Vec::new(),
                    length: 5,
                    temperature: 1.0,
                    top_k: None,
                    top_p: None,
                    seed: 1,
                    streams: 1,
                    oov,
                    json: false,
                    quiet: true,
                };
                ask(
                    &mut Cursor::new(bytes),
                    &mut Vec::new(),
                    &vocab,
                    &mut request,
                )
                .expect("memory can be read and written");
                assert!(request.length > 0 && (0.0..=100.0).contains(&request.temperature));
                let known =
                    |prompt: Vec<u8>| prompt.into_iter().all(|c| vocab.id(c.into()).is_some());
                assert!(oov == Oov::Skip || request.prompt.is_none_or(known));
            }
        },
    );
}
