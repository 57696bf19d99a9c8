//! `rnnx import`: models that Keras saved (`tests/golden/keras_lm.py`), and files that it did not.

use std::fs;
use std::io::{Cursor, Read, Write};

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::runs::{assert_near, charlm};
use super::support::Place;

const MODELS: [&str; 2] = ["sequential", "functional"];

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/keras_lm.json")).unwrap()
}

/// A place with the models of Keras, and vocabularies of their five tokens.
fn place() -> Place {
    let place = Place::new();
    for name in MODELS {
        let packed = golden()["models"][name]["file"]
            .as_str()
            .unwrap()
            .to_owned();
        let packed = BASE64_STANDARD.decode(packed).unwrap();
        let mut file = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut file).unwrap();
        place.write(&format!("{name}.keras"), file);
    }
    let tokens = json!(["\n", "a", "b", "c", "é"]);
    place.write("list.json", tokens.to_string());
    let vocab = json!({"kind": "char", "tokens": tokens});
    place.write("vocab.json", vocab.to_string());
    place
}

#[test]
fn a_model_of_keras_computes_the_same_here() {
    let (place, golden) = (place(), golden());
    let ids: Vec<Vec<u32>> = serde_json::from_value(golden["ids"].clone()).unwrap();
    for (name, vocab) in MODELS.into_iter().zip(["list.json", "vocab.json"]) {
        let line = format!("import {name}.keras --vocab {vocab} -o {name}");
        let done = place.run(&line).ok();
        assert_eq!(done.stdout, format!("{name}\n"));
        let told = "2 LSTM layers of 4 units, embedding 3, vocabulary 5";
        assert!(done.stderr.contains(told), "{}", done.stderr);
        let (logits, _) = charlm(&place.weights(name), std::slice::from_ref(&ids));
        assert_near(name, &golden["models"][name]["logits"], &logits[0]);
    }
    assert_ne!(
        golden["models"]["sequential"]["logits"],
        golden["models"]["functional"]["logits"]
    );
}

/// What a run can do without data of its own, and what it says where it needs some.
#[test]
fn an_imported_run_is_a_run() {
    let place = place();
    place
        .run("import sequential.keras --vocab list.json -o a -q")
        .ok();
    let config = fs::read_to_string(place.path("a/config.toml")).unwrap();
    for line in [
        "hidden-size = 4",
        "embedding-dim = 3",
        "num-layers = 2",
        "dropout = 0.2",
    ] {
        assert!(config.lines().any(|l| l == line), "{line}: {config}");
    }
    let vocab = place.json("a/vocab.json");
    assert_eq!(
        (&vocab["kind"], &vocab["tokens"][4]),
        (&json!("char"), &json!("é"))
    );
    let text = place.run("generate a -n 40 -q").ok().stdout;
    assert!(text.chars().count() >= 40, "{text}");
    place.write("some.txt", "abcé\nab\n");
    place.run("eval a --text some.txt -q").ok();
    let scored = place.run("score a --file some.txt --json -q").ok().stdout;
    let scored: Value = serde_json::from_str(&scored).unwrap();
    assert_eq!(scored["characters"], 8);
    for line in ["eval a", "eval a --corpus some.txt"] {
        place.run(line).fails(2, &["a was imported", "--text FILE"]);
    }
    place
        .run("report a")
        .fails(2, &["a was imported", "--init-from a"]);
    place.run("inspect a").ok();
    place.run("export a --format onnx -o a.onnx -q").ok();
    place.write("train.txt", "ab cé\nab a\n".replace(' ', "").repeat(60));
    let data = "--corpus train.txt --seq-length 8 --batch-size 4 --max-steps 2 --quiet";
    place
        .run("train-charlm --resume --out a --max-steps 2")
        .fails(3, &["--init-from", "--out ANOTHER"]);
    let sizes = "--embedding-dim 3 --hidden-size 4 --num-layers 2";
    place
        .run(&format!(
            "train-charlm --init-from a --out b {sizes} {data}"
        ))
        .ok();
    // It gives way only if that is said.
    let again = "import functional.keras --vocab list.json -o a -q";
    place.run(again).fails(2, &["--force"]);
    let before = place.weights("a");
    place.run(&format!("{again} --force")).ok();
    assert!(place.weights("a") != before);
}

// ---- what is refused -----------------------------------------------------------------------

/// A `.keras` file with other members; one without content is left out.
fn with(place: &Place, members: &[(&str, Option<Vec<u8>>)]) {
    let bytes = fs::read(place.path("sequential.keras")).unwrap();
    let mut old = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut new = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..old.len() {
        let mut member = old.by_index(index).unwrap();
        let name = member.name().unwrap().into_owned();
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        let content = match members.iter().find(|(changed, _)| *changed == name) {
            Some((_, changed)) => changed.clone(),
            None => Some(content),
        };
        if let Some(content) = content {
            new.start_file(name, SimpleFileOptions::default()).unwrap();
            new.write_all(&content).unwrap();
        }
    }
    place.write("other.keras", new.finish().unwrap().into_inner());
}

fn member(place: &Place, name: &str) -> Vec<u8> {
    let bytes = fs::read(place.path("sequential.keras")).unwrap();
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut content = Vec::new();
    zip.by_name(name)
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    content
}

#[track_caller]
fn refused(place: &Place, file: &str, words: &[&str]) {
    let line = format!("import {file} --vocab list.json -o a");
    place.run(&line).fails(3, &[&[file], words].concat());
    assert!(!place.path("a").exists());
}

#[test]
fn other_layers_are_named() {
    let place = place();
    let config = member(&place, "config.json");
    let config: Value = serde_json::from_slice(&config).unwrap();
    // Input, embedding, LSTM, dropout, LSTM, dense.
    let setting = |at: usize, key: &str, value: Value| {
        let mut changed = config.clone();
        changed["config"]["layers"][at]["config"][key] = value;
        changed
    };
    let class = |at: usize, name: &str| {
        let mut changed = config.clone();
        changed["config"]["layers"][at]["class_name"] = json!(name);
        changed
    };
    let without = |at: usize| {
        let mut changed = config.clone();
        changed["config"]["layers"]
            .as_array_mut()
            .unwrap()
            .remove(at);
        changed
    };
    let cases = [
        (class(2, "GRU"), "GRU"),
        (class(4, "Bidirectional"), "Bidirectional"),
        (class(5, "Flatten"), "Flatten"),
        (without(1), "LSTM"),
        (without(5), "lacks layers"),
        (
            setting(2, "activation", json!("relu")),
            "activation = \"relu\"",
        ),
        (
            setting(2, "recurrent_activation", json!("hard_sigmoid")),
            "hard_sigmoid",
        ),
        (
            setting(4, "return_sequences", json!(false)),
            "return_sequences = false",
        ),
        (
            setting(4, "go_backwards", json!(true)),
            "go_backwards = true",
        ),
        (setting(4, "use_bias", json!(false)), "use_bias = false"),
        (setting(1, "mask_zero", json!(true)), "mask_zero = true"),
        (
            setting(5, "activation", json!("relu")),
            "\"linear\" or \"softmax\"",
        ),
        (setting(4, "units", json!(8)), "4 and 8 units"),
        (
            setting(5, "units", json!(6)),
            "6 units for the 5 characters",
        ),
        (setting(2, "units", json!("many")), "units = \"many\""),
        (
            setting(1, "output_dim", json!(7)),
            "layers/embedding/vars/0 has the shape",
        ),
        (
            setting(1, "output_dim", json!(1u64 << 62)),
            "layers/embedding/vars/0",
        ),
        (json!({"class_name": "Diffuser"}), "Diffuser"),
        (json!([]), "null"),
    ];
    for (changed, words) in cases {
        with(&place, &[("config.json", Some(changed.to_string().into()))]);
        refused(&place, "other.keras", &[words]);
    }
    // Probabilities of the same logits.
    let softmax = setting(5, "activation", json!("softmax")).to_string();
    with(&place, &[("config.json", Some(softmax.into()))]);
    place
        .run("import other.keras --vocab list.json -o b -q")
        .ok();
    place
        .run("import sequential.keras --vocab list.json -o c -q")
        .ok();
    assert!(place.weights("b").tensors == place.weights("c").tensors);
}

#[test]
fn damaged_files_and_other_files_are_refused() {
    let place = place();
    refused(&place, "none.keras", &["no such file"]);
    refused(&place, "text.py", &["zip archive", "model.save"]);
    let whole = fs::read(place.path("sequential.keras")).unwrap();
    place.write("cut.keras", &whole[..whole.len() / 2]);
    refused(&place, "cut.keras", &["zip archive"]);
    for name in ["config.json", "model.weights.h5"] {
        with(&place, &[(name, None)]);
        refused(&place, "other.keras", &[&format!("holds no {name}")]);
        let content = member(&place, name);
        with(
            &place,
            &[(name, Some(content[..content.len() / 3].to_vec()))],
        );
        refused(&place, "other.keras", &[name, "damaged"]);
    }
    // A weight that is no number.
    let mut weights = member(&place, "model.weights.h5");
    let first = place.path("sequential");
    place
        .run("import sequential.keras --vocab list.json -o sequential -q")
        .ok();
    let bias = place.weights("sequential").tensors["out.bias"].data.clone();
    assert!(first.is_dir());
    let bytes: Vec<u8> = bias.iter().flat_map(|x| x.to_le_bytes()).collect();
    let at = weights.windows(bytes.len()).position(|part| part == bytes);
    weights[at.unwrap()..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    with(&place, &[("model.weights.h5", Some(weights))]);
    place
        .run("import other.keras --vocab list.json -o a")
        .fails(3, &["out.bias", "NaN"]);
}

#[test]
fn the_vocabulary_has_to_fit() {
    let place = place();
    place.write("four.json", r#"["a","b","c","d"]"#);
    place.write("twice.json", r#"["a","b","c","d","a"]"#);
    place.write("words.json", r#"["a","b","c","d","ee"]"#);
    place.write("numbers.json", "[1, 2]");
    let cases = [
        ("none.json", "no such vocabulary"),
        (
            "four.json",
            "4 tokens, but embedding.weight of sequential.keras has 5 rows",
        ),
        ("twice.json", "there twice"),
        ("words.json", "\"ee\", not one character"),
        ("numbers.json", "not a JSON list of characters"),
        ("text.py", "not a vocabulary"),
    ];
    for (file, words) in cases {
        let line = format!("import sequential.keras --vocab {file} -o a");
        place.run(&line).fails(3, &[file, words]);
    }
    place
        .run("import sequential.keras -o a")
        .fails(2, &["--vocab"]);
    assert!(!place.path("a").exists());
}
