//! Configurations, vocabularies and prompts.

use std::io::Cursor;

use rnnx::cli::generate::{GenerateRequest, ask};
use rnnx::data::vocab::{CharVocab, Vocab};
use rnnx::data::words::{SPECIALS, UNK, WordVocab};
use rnnx::files::RunFolder;
use rnnx::programs::charlm::config::CharLmConfig;
use rnnx::programs::seq2seq::config::Seq2SeqConfig;
use rnnx::train::config_file::{read, to_toml};
use rnnx::train::settings::Config;

use super::{Slot, accepted, assert_survives, fuzz};

fn configurations<C: Config + std::fmt::Debug>(name: &str) {
    let (slot, copy) = (Slot::new("config.toml"), Slot::new("copy.toml"));
    let text = |config: &C| to_toml(C::settings(), &config.table().expect("a table"));
    let valid = text(&C::default());
    let short = b"seed = 3 # \xc3\xa9\n\"epochs\" = 2\nout = 'C:\\x'\nlearning-rate = 1e-3\n";
    fuzz(name, &[valid.as_bytes(), short], |bytes| {
        let Some(config) = accepted(read::<C>(&slot.put(bytes))) else {
            return;
        };
        assert_survives(&config, read(&copy.put(text(&config).as_bytes())));
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
    let chars = CharVocab::from_text(b"a\tb\"\\c\n").expect("characters");
    let chars = chars.to_file().to_text();
    let words = [&SPECIALS[..], &["def", "\u{e9}\"", ""]].concat();
    let words = words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let words = Vocab::Words {
        source: words.clone(),
        target: words,
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
                let text: String = vocab.tokens().collect();
                let ids = accepted(vocab.encode_all(text.as_bytes())).expect("its own tokens");
                assert_eq!(
                    ids.iter().map(|&id| vocab.decode(id)).collect::<String>(),
                    text
                );
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
    let tokens: Vec<char> = "\n abc".chars().collect();
    fuzz(
        "answers",
        &[b"7\n0.5\nabc\n", b"x\n\n-1\n2\r\nd\nabc"],
        |bytes| {
            for oov_skip in [false, true] {
                let mut request = GenerateRequest {
                    prompt: None,
                    length: 5,
                    temperature: 1.0,
                    top_k: None,
                    top_p: None,
                    seed: 1,
                    streams: 1,
                    oov_skip,
                    json: false,
                    quiet: true,
                };
                ask(
                    &mut Cursor::new(bytes),
                    &mut Vec::new(),
                    &tokens,
                    &mut request,
                )
                .expect("memory can be read and written");
                assert!(request.length > 0 && (0.0..=100.0).contains(&request.temperature));
                let known = |prompt: String| prompt.chars().all(|c| tokens.contains(&c));
                assert!(oov_skip || request.prompt.is_none_or(known));
            }
        },
    );
}
