//! Decoding under a grammar: what an untrained model writes is Python.

use super::beams::beam_scores;
use super::decode::SCORE;
use super::for_each_kind;
use rnnx::data::python::grammar::{Start, Terminal};
use rnnx::data::python::{parses, parses_as_line};
use rnnx::data::syntax::{Form, Syntax};
use rnnx::data::tokens::bpe::Base;
use rnnx::data::tokens::{Bpe, Tokenizer, TokenizerKind};
use rnnx::data::words::{SPECIALS, UNK, WordVocab};
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::decode::{
    DecodeOptions, Hypothesis, Search, SourceIds, decode, decode_n_best,
};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::Model;

/// Tokens of Python, of parts of it, and of none.
#[rustfmt::skip]
const TOKENS: &[&str] = &[
    "<NEWLINE>", "<INDENT>", "<DEDENT>", "x", "self", "match", "_", "print", "1", "0x1f", "2j",
    "1.5e3", "'a'", "\"b c\"", "f'{x!r}'", "b'd'", "'''e\nf'''", "r'\\d'", "(", ")", "[", "]", "{",
    "}", ",", ":", ".", "=", "==", "+", "-", "*", "**", "@", "->", ":=", "+=", ";", "if", "else",
    "elif", "for", "in", "while", "def", "class", "return", "import", "from", "as", "try", "except",
    "finally", "with", "lambda", "not", "and", "is", "yield", "await", "async", "pass", "raise",
    "del", "None", "True", "'open", "f'{x'", "0777", "$", "?", "<>", "b'é'", "'\\N{no}'", "x y",
    "# no", "foo(x,", "):", "self.x", "x=1", "a[0].b", "é", "...", "not in", "\\",
];

fn vocab() -> WordVocab {
    WordVocab::from_tokens(TOKENS.iter().copied(), 1).unwrap()
}

/// Pieces of Python's tokens.
fn pieces() -> (WordVocab, Tokenizer) {
    let characters = "abdefijmnoprstuxy_019.'\"\\{}()[]:,=*+-!é";
    let text = |parts: &[&str]| (parts[0].to_owned(), parts[1].to_owned());
    let merges = [
        ["i@@", "n"],
        ["i@@", "f"],
        ["n@@", "o@@"],
        ["no@@", "t"],
        ["f@@", "'@@"],
        ["'@@", "'"],
    ];
    let merges = merges.iter().map(|pair| text(pair));
    let bpe = Bpe::new(Base::Python, characters.chars(), merges).unwrap();
    let vocab = WordVocab::from_tokens(bpe.pieces(), 1).unwrap();
    (vocab, Tokenizer::Bpe(bpe))
}

/// A model that chooses nearly at random, and sources for it.
fn model(kind: ModelKind, vocab: &WordVocab, seed: u64) -> (Seq2Seq, Vec<Vec<u32>>) {
    let sizes = Seq2SeqSizes {
        source_vocab: 12,
        target_vocab: vocab.len(),
        embedding: 5,
        hidden: 6,
        layers: 1,
        heads: 1,
        copy: false,
        tied: false,
    };
    let sources = (0..16).map(|n| (0..1 + n % 5).map(|i| 4 + (n * 3 + i * 5) % 8).collect());
    (Seq2Seq::new::<f32>(kind, sizes, seed), sources.collect())
}

fn written(
    (model, sources): &(Seq2Seq, Vec<Vec<u32>>),
    search: Search,
    max_length: usize,
    syntax: &Syntax,
) -> Vec<Hypothesis> {
    let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    let options = DecodeOptions {
        search,
        syntax: Some(syntax),
        length_penalty: 0.3,
        ..DecodeOptions::greedy(max_length)
    };
    let n = search.width();
    decode_n_best(model, &sources, options, n).unwrap().concat()
}

/// What untrained models write, greedily and in beams, is text of the grammar, and they write all
/// sorts of it.
fn all_parses(vocab: &WordVocab, tokenizer: &Tokenizer) {
    let kind = tokenizer.kind();
    let (mut texts, mut longest) = (Vec::new(), 0);
    for (n, start) in [Start::Module, Start::Statement, Start::Line]
        .into_iter()
        .enumerate()
    {
        let syntax = Syntax::new(start, kind, vocab).unwrap();
        for_each_kind(|model_kind| {
            let model = model(model_kind, vocab, 3 + n as u64);
            for (search, max_length) in [
                (Search::Greedy, 1),
                (Search::Greedy, 40),
                (Search::Beam(3), 2),
                (Search::Beam(4), 13),
            ] {
                for output in written(&model, search, max_length, &syntax) {
                    assert!(output.score.is_finite());
                    let tokens = output.tokens.iter().map(|&id| vocab.token(id));
                    let text = tokenizer.join(&tokens.collect::<Vec<_>>());
                    let parses = match start {
                        Start::Line => parses_as_line(&text),
                        Start::Module | Start::Statement => parses(&text),
                    };
                    assert!(parses, "{kind} {start:?} {model_kind} {search:?}: {text}");
                }
            }
        });
        for seed in 0..40 {
            let model = model(ModelKind::Lstm, vocab, seed);
            for output in written(&model, Search::Greedy, 20, &syntax) {
                longest = longest.max(output.tokens.len());
                texts.push(output.tokens);
            }
        }
    }
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 100, "{} different texts", texts.len());
    assert_eq!(longest, 20, "some run to the largest length");
}

#[test]
fn all_that_untrained_models_write_in_python_tokens_parses() {
    all_parses(&vocab(), &Tokenizer::Python);
}

#[test]
fn all_that_untrained_models_write_in_words_between_blanks_parses() {
    all_parses(&vocab(), &Tokenizer::Whitespace);
}

/// The words of the same, and the parts of their operators.
#[test]
fn all_that_untrained_models_write_in_words_parses() {
    let parts = TOKENS
        .iter()
        .flat_map(|token| Tokenizer::Words.split(token));
    let words: Vec<String> = parts.collect();
    assert!(!words.iter().any(|word| word == "==") && words.iter().any(|word| word == "\"b c\""));
    let vocab = WordVocab::from_tokens(words.iter().map(String::as_str), 1).unwrap();
    all_parses(&vocab, &Tokenizer::Words);
}

#[test]
fn all_that_untrained_models_write_in_pieces_parses() {
    let (vocab, tokenizer) = pieces();
    all_parses(&vocab, &tokenizer);
}

/// What a model copies is held to the grammar, too: strings and names of a description, not its words
/// between them. Beside it stands a source whose unknown tokens have the same ids in another order.
#[test]
fn what_is_copied_is_held_to_the_grammar() {
    let vocab = vocab();
    let syntax = Syntax::new(Start::Line, TokenizerKind::Python, &vocab).unwrap();
    let sizes = Seq2SeqSizes {
        source_vocab: 12,
        target_vocab: vocab.len(),
        embedding: 5,
        hidden: 6,
        layers: 1,
        heads: 1,
        copy: true,
        tied: false,
    };
    let tokens = [
        "call",
        "foo",
        "'a string'",
        "<UNK>",
        "it's",
        "0x",
        "def",
        "=>",
    ];
    let mut reversed = tokens;
    reversed.reverse();
    let of = |tokens: [&str; 8]| Extended::new(&vocab, &tokens.map(str::to_owned), &[]);
    let extended = [of(tokens), of(reversed)];
    let ids: Vec<u32> = (4..12).collect();
    let sources = extended.each_ref().map(|extended| SourceIds {
        ids: &ids,
        extended: Some(extended),
    });
    let mut copied = [0; 2];
    for seed in 0..60 {
        let kind = [ModelKind::Attention, ModelKind::Transformer][seed as usize % 2];
        let model = Seq2Seq::new::<f32>(kind, sizes, seed);
        for search in [Search::Greedy, Search::Beam(3)] {
            let options = DecodeOptions {
                search,
                syntax: Some(&syntax),
                ..DecodeOptions::greedy(20)
            };
            let outputs = decode(&model, &sources, options).unwrap();
            for (n, (output, extended)) in outputs.iter().zip(&extended).enumerate() {
                let tokens = extended.tokens(&vocab, &output.tokens);
                let text = Tokenizer::Python.join(&tokens);
                assert!(
                    parses_as_line(&text),
                    "{kind} {seed} {search:?} {n}: {text}"
                );
                let is_copied = |id: &&u32| **id as usize >= vocab.len();
                copied[n] += output.tokens.iter().filter(is_copied).count();
            }
        }
    }
    assert!(copied[0] > 0 && copied[1] > 0, "something is copied");
}

#[test]
fn a_beam_under_a_grammar_is_never_below_greedy() {
    let vocab = vocab();
    let syntax = Syntax::new(Start::Line, TokenizerKind::Python, &vocab).unwrap();
    let model = model(ModelKind::Attention, &vocab, 1);
    let best = |search| {
        let sources: Vec<&[u32]> = model.1.iter().map(Vec::as_slice).collect();
        let options = DecodeOptions {
            search,
            syntax: Some(&syntax),
            ..DecodeOptions::greedy(12)
        };
        decode(&model.0, &sources, options).unwrap()
    };
    for (beam, greedy) in best(Search::Beam(3)).iter().zip(best(Search::Greedy)) {
        assert!(beam.score >= greedy.score, "{beam:?} {greedy:?}");
    }
}

/// What a beam leaves unasked is what it would not have taken.
#[test]
fn a_beam_under_a_grammar_is_that_which_asks_for_all_tokens() {
    let (in_pieces, _) = pieces();
    for (kind, vocab) in [
        (TokenizerKind::Python, vocab()),
        (TokenizerKind::Bpe, in_pieces),
    ] {
        let syntax = Syntax::new(Start::Statement, kind, &vocab).unwrap();
        for (seed, length_penalty) in [(1, 0.0), (2, 1.0), (3, 0.5)] {
            let mut model = model(ModelKind::Lstm, &vocab, seed);
            let values = model.0.params_mut().values_mut();
            let values = values.data_mut::<f32>().unwrap();
            values.iter_mut().for_each(|x| *x *= 2.0);
            let options = |search| DecodeOptions {
                search,
                length_penalty,
                syntax: Some(&syntax),
                ..DecodeOptions::greedy(9)
            };
            let sources: Vec<&[u32]> = model.1.iter().map(Vec::as_slice).collect();
            let of = |search| decode(&model.0, &sources, options(search)).unwrap();
            let both = of(Search::Beam(3)).into_iter().zip(of(Search::Greedy));
            for ((beam, greedy), source) in both.zip(&sources) {
                let found = beam_scores(&model.0, source, 3, options(Search::Beam(3)))[0];
                let want = found.max(greedy.score);
                assert!(
                    (beam.score - want).abs() < SCORE,
                    "{kind} {seed}: {beam:?} {want}"
                );
            }
        }
    }
}

#[test]
fn what_is_no_token_of_python_is_never_written() {
    let vocab = vocab();
    let python = Syntax::new(Start::Module, TokenizerKind::Python, &vocab).unwrap();
    let blanks = Syntax::new(Start::Module, TokenizerKind::Whitespace, &vocab).unwrap();
    let never = [
        "'open",
        "f'{x'",
        "0777",
        "$",
        "?",
        "b'é'",
        "'\\N{no}'",
        "x y",
        "# no",
        "not in",
        "\\",
    ];
    for token in never {
        assert_eq!(python.form_of(vocab.id(token)), &Form::Never, "{token}");
        assert_eq!(blanks.form_of(vocab.id(token)), &Form::Never, "{token}");
    }
    assert_eq!(python.form_of(vocab.id("<>")), &Form::Never);
    for id in 0..SPECIALS.len() as u32 {
        assert_eq!(
            python.form_of(id),
            &Form::Never,
            "{}",
            SPECIALS[id as usize]
        );
    }
    assert_eq!(vocab.id("never seen"), UNK);
    for (token, terminals) in [
        ("foo(x,", 4),
        ("):", 2),
        ("self.x", 3),
        ("a[0].b", 6),
        ("x=1", 3),
    ] {
        assert_eq!(python.form_of(vocab.id(token)), &Form::Never, "{token}");
        let form = blanks.form_of(vocab.id(token));
        assert!(
            matches!(form, Form::Whole(all) if all.len() == terminals),
            "{token}: {form:?}"
        );
    }
    let newline = vocab.id("<NEWLINE>");
    assert_eq!(
        python.form_of(newline),
        &Form::Whole([Terminal::NEWLINE].into())
    );
    let compared = Form::Whole(
        ["<", "NAME", ">"]
            .map(|name| Terminal::of(name).unwrap())
            .into(),
    );
    assert_eq!(blanks.form_of(newline), &compared, "a blank ends no line");
}

#[test]
fn refused() {
    let words = |tokens: &[&str]| WordVocab::from_tokens(tokens.iter().copied(), 1).unwrap();
    let few = words(&["=", "(", ")x"]);
    let error = Syntax::new(Start::Line, TokenizerKind::Python, &few).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("min-frequency"), "{error}");

    let error = Syntax::new(Start::Line, TokenizerKind::Chars, &vocab()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("chars"), "{error}");

    let long = words(&["del", "x"]);
    let long_line = Syntax::new(Start::Line, TokenizerKind::Python, &long).unwrap();
    assert_eq!(long_line.shortest(), Some(1));
    let only = words(&["(", ")"]);
    let brackets = Syntax::new(Start::Line, TokenizerKind::Python, &only).unwrap();
    let (model, sources) = model(ModelKind::Rnn, &only, 1);
    let options = DecodeOptions {
        syntax: Some(&brackets),
        ..DecodeOptions::greedy(1)
    };
    let error = decode(&model, &[&sources[0][..]], options).unwrap_err();
    assert!(error.to_string().contains("too few"), "{error}");
}
