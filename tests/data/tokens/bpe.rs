//! Byte-pair encoding.

use super::bars;
use rnnx::data::tokens::bpe::{Base, Bpe};
use rnnx::data::tokens::{Tokenizer, learn};

/// The pieces of "low low low lower lowest newer newer" by hand. Marked @@ are those that go on.
///
/// ```text
/// pairs: l@@ o@@ 5   o@@ w 3   o@@ w@@ 2   w@@ e@@ 4 (lower, lowest, newer twice)   e@@ r 3   ...
/// 1. l@@ o@@ -> lo@@ (5)          lo@@ w 3, lo@@ w@@ 2
/// 2. w@@ e@@ -> we@@ (4)          lo@@ we@@ 2, we@@ r 3, we@@ s@@ 1, e@@ we@@ 2
/// 3. of lo@@ w, we@@ r (3 each) the one whose left piece is older: lo@@ is, -> low
/// 4. we@@ r -> wer (3)            lo@@ wer 1, e@@ wer 2
/// 5. n@@ e@@ (2) and e@@ wer (2): e@@ is older than n@@ (e before n) -> ewer
/// 6. n@@ ewer -> newer (2)
/// 7. lo@@ we@@ 1, ... : nothing is there twice
/// ```
const TEXT: &str = "low low low lower lowest newer newer";

fn learned(merges: usize) -> Bpe {
    learn(Base::Words, TEXT.split(' '), merges).unwrap()
}

#[test]
fn a_small_text_is_learned_as_by_hand() {
    let json = serde_json::to_value(learned(100)).unwrap();
    let merges = [
        ["l@@", "o@@"],
        ["w@@", "e@@"],
        ["lo@@", "w"],
        ["we@@", "r"],
        ["e@@", "wer"],
        ["n@@", "ewer"],
    ];
    assert_eq!(json["merges"], serde_json::json!(merges));
    assert_eq!(json["characters"], "elnorstw");
    assert_eq!(json["over"], "words");
}

#[test]
fn pieces_are_those_of_the_first_merges() {
    let bpe = learned(4);
    assert_eq!(bpe.merges(), 4);
    let split = |text: &str| bars(&bpe.split(text));
    assert_eq!(split("low lower slow w"), "low|lo@@|wer|s@@|low|w");
    assert_eq!(split("newer wewe xlow"), "n@@|e@@|wer|we@@|w@@|e|x@@|low");
    assert_eq!(split(""), "");
}

#[test]
fn joining_is_exact_whatever_the_characters() {
    // A token may end as a piece that goes on does.
    let text = "a@@ a@@ @@ @@@ a@ b@@c b@@c 'x @@' 'x @@'";
    let words = Tokenizer::Words.split(text);
    let whitespace = Tokenizer::Whitespace.split(text);
    for tokens in [words, whitespace] {
        let bpe = learn(Base::Words, tokens.iter().map(String::as_str), 50).unwrap();
        let pieces = bpe.split(text);
        let joined = bpe.join(pieces.iter().map(String::as_str));
        assert_eq!(joined, Tokenizer::Words.split(text).join(" "));
        // What ends a token never reads as if the token went on.
        let json = serde_json::to_value(&bpe).unwrap();
        let merges = json["merges"].as_array().unwrap();
        assert!(!merges.is_empty());
        for merge in merges {
            let [left, right] = [0, 1].map(|side| merge[side].as_str().unwrap());
            let whole = left.strip_suffix("@@").unwrap().to_owned() + right;
            assert_eq!(whole.ends_with("@@"), right.ends_with("@@"), "{merge}");
        }
    }
}

#[test]
fn only_characters_that_were_never_seen_are_outside_of_the_pieces() {
    let bpe = learned(100);
    let known: Vec<&str> = bpe.pieces().collect();
    let unknown: Vec<String> = bpe
        .split("slower worst télos owl! lowlow")
        .into_iter()
        .filter(|piece| !known.contains(&piece.as_str()))
        .collect();
    assert_eq!(unknown, ["é@@", "!"]);
}

#[test]
fn markers_of_python_stay_whole_and_join_as_code() {
    let code = "def low(lower):\n    lower = 1\n    return lower";
    let tokens = Tokenizer::Python.split(code);
    let bpe = learn(Base::Python, tokens.iter().map(String::as_str), 100).unwrap();
    let pieces = bpe.split(code);
    assert_eq!(pieces.iter().filter(|p| *p == "<NEWLINE>").count(), 2);
    assert!(pieces.contains(&"lower".to_owned()));
    let tokenizer = Tokenizer::Bpe(bpe);
    assert_eq!(tokenizer.whole(&pieces), tokens);
    assert_eq!(tokenizer.join(&pieces), code);
    // A model may break a token off.
    assert_eq!(
        tokenizer.join(&["lo@@", "<NEWLINE>", "lo@@", "<INDENT>"]),
        "lo\nlo"
    );
    assert_eq!(tokenizer.join(&["lo@@"]), "lo");
}

#[test]
fn the_file_keeps_the_encoding_and_damage_is_refused() {
    let tokenizer = Tokenizer::Bpe(learned(5));
    let json = serde_json::to_string(&tokenizer).unwrap();
    assert_eq!(serde_json::from_str::<Tokenizer>(&json).unwrap(), tokenizer);
    for (from, to, part) in [
        ("elno", "elne", "'e' is there twice"),
        (
            "[\"l@@\",\"o@@\"]",
            "[\"l@@\",\"o@\"]",
            "\"o@\", which is no piece",
        ),
        ("[\"l@@\",\"o@@\"]", "[\"l\",\"o@@\"]", "cannot be merged"),
        ("\"words\"", "\"chars\"", "unknown variant"),
    ] {
        assert!(json.contains(from), "{json}");
        let error = serde_json::from_str::<Tokenizer>(&json.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn the_order_of_the_text_does_not_matter() {
    let mut words: Vec<&str> = TEXT.split(' ').collect();
    words.reverse();
    assert_eq!(learn(Base::Words, words, 100).unwrap(), learned(100));
}
