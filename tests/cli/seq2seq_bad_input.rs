//! What `rnnx train-seq2seq` cannot use: the message names the thing and the way out, and nothing is
//! lost.

use std::fs;

use rnnx::files::tensors::TensorFile;

use super::seq2seq::{pairs, place, train};
use super::support::{Place, age, snapshot};

// ---- pairs ---------------------------------------------------------------------------------

#[test]
fn files_of_pairs_that_cannot_be_used() {
    let place = place();
    let good = pairs(6, 1);
    let spoil = |name: &str, line: &str| place.write(name, format!("{good}{line}\n{good}"));
    spoil("broken.jsonl", "{\"docstring\": \"a");
    spoil("missing.jsonl", "{\"docstring\": \"a b\"}");
    spoil("nodoc.jsonl", "{\"code\": \"a b\"}");
    spoil("number.jsonl", "{\"docstring\": \"a\", \"code\": 3}");
    spoil("nocode.jsonl", "{\"docstring\": \"x\", \"code\": \"\"}");
    spoil("list.jsonl", "[1]");
    place.write("empty.jsonl", "");
    place.write("cut.jsonl.gz", b"\x1f\x8b\x08\x00\x00");
    place.write(
        "rare.jsonl",
        "{\"docstring\": \"a b\", \"code\": \"c d\"}\n",
    );
    for (file, words) in [
        ("broken.jsonl", &["broken.jsonl:7: ", "broken JSON"][..]),
        ("missing.jsonl", &["missing.jsonl:7: ", "no field \"code\""]),
        (
            "nodoc.jsonl",
            &["nodoc.jsonl:7: ", "no field \"docstring\""],
        ),
        (
            "number.jsonl",
            &["number.jsonl:7: ", "\"code\" is not a string"],
        ),
        ("nocode.jsonl", &["nocode.jsonl:7: ", "\"code\" is empty"]),
        ("list.jsonl", &["list.jsonl:7: ", "not a JSON object"]),
        ("empty.jsonl", &["empty.jsonl", "an empty split"]),
        ("cut.jsonl.gz", &["cut.jsonl.gz:1: ", "gzip", "cut off"]),
        ("none.jsonl", &["none.jsonl", "no such file"]),
    ] {
        for split in ["--train", "--valid", "--test"] {
            train(&place, "a", &format!("{split} {file}")).fails(3, words);
        }
    }
    let few = "--train rare.jsonl --model lstm";
    train(&place, "a", few).fails(3, &["nothing but its special tokens", "min-frequency"]);
    train(&place, "a", "--min-frequency 1000").fails(3, &["none occurs 1000 times"]);
    assert!(!place.path("a").exists());
    train(
        &place,
        "a",
        &format!("{few} --min-frequency 1 --max-steps 1"),
    )
    .ok();
}

#[test]
fn what_is_cut_or_known_already_is_told() {
    let place = place();
    let done = train(
        &place,
        "a",
        "--model rnn --max-steps 1 --max-source 4 --max-target 12",
    )
    .ok();
    let long = |key: &str, most: usize| {
        let mut long = 0;
        for file in ["train", "valid", "test"] {
            let text = fs::read_to_string(place.path(&format!("{file}.jsonl"))).unwrap();
            for line in text.lines() {
                let pair: serde_json::Value = serde_json::from_str(line).unwrap();
                long += usize::from(pair[key].as_str().unwrap().split(' ').count() > most);
            }
        }
        assert!(long > 0);
        long
    };
    let (sources, targets) = (long("docstring", 4), long("code", 12));
    let told = format!("cut {sources} sources to 4 tokens and {targets} targets to 12");
    assert!(done.stderr.contains(&told), "{told}: {}", done.stderr);
    assert!(
        !done.stderr.contains("are training pairs"),
        "{}",
        done.stderr
    );
    // Two of the test pairs are training pairs.
    let known: String = pairs(2, 1);
    let new: String = pairs(3, 1).replace("def", "async def");
    place.write("test.jsonl", known + &new);
    let done = train(&place, "b", "--model rnn --max-steps 1").ok();
    let note = "note: 2 of the 5 test pairs are training pairs, too";
    assert!(done.stderr.contains(note), "{}", done.stderr);
}

#[test]
fn one_file_without_the_others() {
    let place = place();
    for (flags, words) in [
        (
            "--train train.jsonl",
            ["train without valid and test", "all three"],
        ),
        (
            "--train train.jsonl --test test.jsonl",
            ["train and test without valid", "none"],
        ),
    ] {
        let done = place.run(&format!("train-seq2seq --out a {flags}"));
        done.fails(2, &words);
    }
    assert!(!place.path("a").exists());
}

// ---- flags ---------------------------------------------------------------------------------

/// Every numeric flag with values that it must refuse, with exit code 2, before anything is done.
const REFUSED: &[(&str, &str)] = &[
    ("--max-source", "0 -1 nan 99999999999"),
    ("--max-target", "0 -1 nan 99999999999"),
    ("--min-frequency", "0 -1 nan 99999999999999999999"),
    ("--bucket-batches", "0 -1 nan 99999999999"),
    ("--embedding-dim", "0 -1 nan 999999999"),
    ("--hidden-size", "0 -1 nan 2.5 999999999"),
    ("--num-layers", "0 -1 nan 17"),
    ("--num-heads", "0 -1 nan 1025"),
    ("--dropout", "-0.1 1 1.5 nan inf"),
    ("--output-dropout", "-0.1 1 1.5 nan inf"),
    ("--label-smoothing", "-0.1 1 1.5 nan inf"),
    ("--epochs", "0 -1 nan 99999999999999999999"),
    ("--max-steps", "-1 nan 99999999999999999999"),
    ("--batch-size", "0 -1 nan 99999999999"),
    ("--learning-rate", "0 -1 nan inf 1e30"),
    ("--clip-norm", "-1 nan inf"),
    ("--teacher-forcing", "-0.1 1.5 nan inf"),
    ("--beam", "0 -1 nan 1.5 9999"),
    ("--seed", "-1 nan 99999999999999999999"),
    ("--log-every", "0 -1 nan 99999999999999999999"),
    ("--checkpoint-every", "0 -1 nan 99999999999999999999"),
    ("--threads", "0 -1 nan 99999999"),
];

#[test]
fn numbers_out_of_range() {
    let place = place();
    for (flag, values) in REFUSED {
        for value in values.split(' ') {
            let shown = format!("'{value}'");
            let done = train(&place, "a", &format!("{flag} {value}"));
            done.fails(2, &[flag, &shown, "give a ", "number"]);
        }
    }
    train(&place, "a", "--model gpt").fails(2, &["--model", "'gpt'", "attention"]);
    train(&place, "a", "--resume --force").fails(2, &["--resume", "--force"]);
    let huge = "--hidden-size 16384 --embedding-dim 16384 --batch-size 65536 --model attention";
    train(&place, "a", huge).fails(2, &["GB of memory", "lower batch-size", "hidden-size"]);
    train(&place, "a", "--device cuda").fails(4, &["device cuda", "device cpu"]);
    assert!(!place.path("a").exists());
}

#[test]
fn a_configuration_file_of_another_kind() {
    let place = place();
    place.write("char.toml", "corpus = []\nkind = \"charlm\"\n");
    place.write("all.toml", "seed = 1\nmodel = \"all\"\n");
    place.write("typo.toml", "\ntecher-forcing = 1.0\n");
    place.write(
        "pairs.toml",
        "train = \"train.jsonl\"\nkind = \"seq2seq\"\n",
    );
    let refuse = |file: &str, words: &[&str]| {
        train(&place, "a", &format!("--config {file}")).fails(2, words);
    };
    refuse(
        "char.toml",
        &[
            "char.toml:2: kind = \"charlm\"",
            "a seq2seq model",
            "train-seq2seq",
        ],
    );
    refuse(
        "all.toml",
        &["all.toml:2: model = \"all\"", "rnn or lstm or attention"],
    );
    refuse(
        "typo.toml",
        &["typo.toml:2: ", "did you mean \"teacher-forcing\"?"],
    );
    let done = place.train("a", "--config pairs.toml");
    done.fails(
        2,
        &[
            "pairs.toml:2: kind = \"seq2seq\"",
            "a character LM",
            "train-charlm",
        ],
    );
    assert!(!place.path("a").exists());
}

// ---- runs ----------------------------------------------------------------------------------

#[test]
fn a_run_of_another_kind() {
    let place = place();
    train(&place, "words", "--model lstm --max-steps 1 --quiet").ok();
    place.train("chars", "--max-steps 1 --quiet").ok();
    let before = snapshot(&place.path(""));
    train(&place, "chars", "--resume --model lstm")
        .fails(3, &["chars", "kind \"charlm\"", "train-seq2seq"]);
    train(&place, "chars", "--resume").fails(3, &["chars", "kind \"charlm\""]);
    place
        .train("words", "--resume")
        .fails(3, &["words", "kind \"seq2seq\"", "train-charlm"]);
    place
        .run("generate words --prompt x")
        .fails(3, &["words/vocab.json", "seq2seq"]);
    train(&place, "b", "--model lstm --init-from chars").fails(3, &["chars/vocab.json"]);
    place
        .train("b", "--init-from words")
        .fails(3, &["words/vocab.json"]);
    let weights = "chars/last/model.safetensors";
    train(&place, "b", &format!("--model lstm --init-from {weights}"))
        .fails(3, &["chars/vocab.json"]);
    // Another of the three models.
    train(&place, "b", "--model rnn --init-from words").fails(3, &["encoder.rnn.weight"]);
    train(&place, "words", "--resume --model rnn")
        .fails(2, &["model = \"rnn\" contradicts", "model = \"lstm\""]);
    // A state of another program in the place of the run's.
    assert!(snapshot(&place.path("")) == before);
    age(&place.path("words"));
    let state = place.path("words/last/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"seq2seq\"", "\"charlm\"")).unwrap();
    place
        .run("train-seq2seq --out words --resume")
        .fails(3, &["state.json", "`charlm`"]);
}

#[test]
fn folders_of_one_run_and_of_three() {
    let place = place();
    train(&place, "one", "--model lstm --max-steps 1 --quiet").ok();
    train(&place, "three", "--max-steps 1 --quiet").ok();
    let before = snapshot(&place.path(""));
    train(&place, "one", "").fails(2, &["one is the run of one model", "--out"]);
    train(&place, "one", "--model lstm").fails(2, &["one already holds a run", "--resume"]);
    train(&place, "three", "--model lstm").fails(2, &["three holds files", "not a run"]);
    train(&place, "three", "--model lstm --resume").fails(3, &["three", "config.toml"]);
    train(&place, "four", "--resume").fails(3, &["four: no such run", "attention"]);
    train(&place, "four", "--init-from one").fails(2, &["--init-from", "--model"]);
    let done = train(&place, "three", "--resume --hidden-size 11");
    done.fails(2, &["hidden-size = 11 contradicts", "hidden-size = 10"]);
    assert!(snapshot(&place.path("")) == before);
    // What stands in the way of the last model is told before the first one trains.
    place.write("five/attention/cat.jpg", "miaow");
    train(&place, "five", "").fails(2, &["five/attention holds files", "--out"]);
    assert!(!place.path("five/rnn").exists());
}

/// Spoils a file of a run and expects that resuming refuses it and changes nothing.
fn spoiled(place: &Place, file: &str, spoil: impl Fn(Vec<u8>) -> Vec<u8>, words: &[&str]) {
    let path = place.path("a").join(file);
    let good = fs::read(&path).unwrap();
    fs::write(&path, spoil(good.clone())).unwrap();
    let before = snapshot(&place.path("a"));
    let done = place.run("train-seq2seq --out a --resume --max-steps 9");
    done.fails(3, words);
    assert!(snapshot(&place.path("a")) == before, "{file}");
    fs::write(&path, good).unwrap();
}

#[test]
fn damaged_checkpoints() {
    let place = place();
    train(&place, "a", "--model attention --max-steps 7 --quiet").ok();
    // As an older version left it: what has no checksum is looked at all the more.
    age(&place.path("a"));
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 100].to_vec();
    spoiled(
        &place,
        "last/model.safetensors",
        cut,
        &["model.safetensors", "truncated"],
    );
    spoiled(
        &place,
        "last/optimizer.safetensors",
        cut,
        &["optimizer.safetensors", "truncated"],
    );
    let digit = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"teacher-forcing\": 7", "\"teacher-forcing\": 8")
            .into()
    };
    spoiled(
        &place,
        "last/state.json",
        digit,
        &["state.json", "counters contradict"],
    );
    let fewer = |bytes: Vec<u8>| {
        let mut vocab: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        vocab["target"].as_array_mut().unwrap().pop();
        vocab.to_string().into()
    };
    spoiled(&place, "vocab.json", fewer, &["decoder.embedding.weight"]);
    let chars = |_| b"{\"kind\":\"char\",\"tokens\":[\"a\"]}".to_vec();
    spoiled(&place, "vocab.json", chars, &["vocab.json", "character LM"]);
    place
        .run("train-seq2seq --out a --resume --max-steps 9")
        .ok();
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run() {
    let place = place();
    train(&place, "a", "--model lstm --max-steps 1 --quiet").ok();
    let path = place.path("a/last/model.safetensors");
    let mut file = TensorFile::load(&path).unwrap();
    for value in &mut file.tensors.get_mut("out.weight").unwrap().data {
        *value = 3e38;
    }
    for value in &mut file.tensors.get_mut("decoder.rnn.bias_ih_l0").unwrap().data {
        *value = 20.0;
    }
    file.save(&place.path("huge.safetensors")).unwrap();
    let done = train(
        &place,
        "b",
        "--model lstm --init-from huge.safetensors --vocab a/vocab.json",
    );
    done.fails(5, &["diverged", "step 1", "no checkpoint", "learning-rate"]);
}
