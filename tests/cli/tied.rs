//! A character LM with tied embeddings and variational dropout, from training to everything that reads
//! its weights.

use std::fs;

use rnnx::files::tensors::TensorFile;

use super::support::{Place, assert_same_run, json, python};

const TIED: &str = "--embedding-dim 16 --tie-embeddings --variational-dropout --learning-rate 0.02";

fn weights(place: &Place, file: &str) -> TensorFile {
    TensorFile::load(&place.path(file)).unwrap()
}

#[test]
fn it_trains_resumes_and_is_scored() {
    let place = Place::new();
    place.train("a", &format!("{TIED} --epochs 2")).ok();
    place.train("b", &format!("{TIED} --epochs 1")).ok();
    place
        .run("train-charlm --out b --resume --epochs 2 -q")
        .ok();
    assert_same_run(&place.path("a"), &place.path("b"));

    let file = weights(&place, "a/last/model.safetensors");
    assert!(!file.tensors.contains_key("out.weight"));
    assert_eq!(file.tensors["embedding.weight"].shape[1], 16);
    let scored = json(&place.run("eval a --json -q").ok().stdout);
    let log = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
    let last = json(log.lines().last().unwrap());
    assert_eq!(scored["loss"], last["valid_loss"]);
    for (flag, name) in [
        ("--no-tie-embeddings", "tie-embeddings"),
        ("--no-variational-dropout", "variational-dropout"),
    ] {
        place
            .run(&format!("train-charlm --out a --resume --epochs 3 {flag}"))
            .fails(2, &[name, "contradicts"]);
    }
}

/// Dropout is another one: the same seed trains other weights.
#[test]
fn variational_dropout_is_another_dropout() {
    let place = Place::new();
    place.train("a", "--epochs 1").ok();
    place.train("b", "--epochs 1 --variational-dropout").ok();
    let [a, b] = ["a", "b"].map(|run| weights(&place, &format!("{run}/last/model.safetensors")));
    assert_eq!(
        a.tensors.keys().collect::<Vec<_>>(),
        b.tensors.keys().collect::<Vec<_>>()
    );
    assert_ne!(a.tensors["out.weight"].data, b.tensors["out.weight"].data);
}

/// What reads the weights alone, without the configuration: the same numbers from the run and from a
/// copy of it whose output layer has the weight as its own.
#[test]
fn it_writes_and_scores_as_its_untied_copy() {
    let place = Place::with_run("a", &format!("{TIED} --epochs 2 --quiet"));
    place
        .run("export a --format torch -o a.safetensors -q")
        .ok();
    let file = weights(&place, "a.safetensors");
    let [shared, own] =
        ["embedding.weight", "out.weight"].map(|name| file.tensors[name].data.clone());
    assert_eq!(shared, own);
    place
        .train(
            "copy",
            "--embedding-dim 16 --max-steps 0 --init-from a.safetensors --vocab a/vocab.json",
        )
        .ok();
    let copy = weights(&place, "copy/last/model.safetensors");
    assert!(copy.tensors.contains_key("out.weight"));
    for line in [
        "generate RUN -n 80 -q --prompt def",
        "score RUN return -q",
        "eval RUN --text text.py -q",
    ] {
        let [tied, untied] =
            ["a", "copy"].map(|run| place.run(&line.replace("RUN", run)).ok().stdout);
        assert_eq!(tied, untied, "{line}");
        assert!(!tied.is_empty(), "{line}");
    }
    // Where both are still one, a tied run can begin with them, also with more characters.
    let again = format!("{TIED} --max-steps 0 --quiet");
    for (out, from) in [
        ("b", "a.safetensors --vocab a/vocab.json"),
        ("c", "copy"),
        ("d", "copy --corpus more.py --extend-vocab"),
    ] {
        place.write("more.py", python(19).replace("load", "Z\u{e9}"));
        place
            .train(out, &format!("{again} --init-from {from}"))
            .ok();
        let begun = weights(&place, &format!("{out}/last/model.safetensors"));
        assert!(!begun.tensors.contains_key("out.weight"), "{out}");
        let table = &begun.tensors["embedding.weight"].data;
        assert_eq!(table[..shared.len()], shared, "{out}");
        assert_eq!(table.len() > shared.len(), out == "d");
    }
    // An output layer of its own is not a tied model's.
    let own = "--embedding-dim 16 --max-steps 1 --quiet --init-from copy";
    place.train("own", own).ok();
    place
        .train("e", &format!("{TIED} --init-from own"))
        .fails(3, &["out.weight", "embedding.weight", "tied"]);
    place.run("explore a -q").ok();
    let page = fs::read_to_string(place.path("a/explore.html")).unwrap();
    assert!(page.contains("\"out_w\""));
    place.run("export a --format onnx -o a.onnx -q").ok();
    place.run("study a --quick --text text.py -q").ok();
}

/// A tied run is one that says so, not one whose output layer is lost.
#[test]
fn an_output_layer_that_is_missing_is_named() {
    let place = Place::with_run("a", "--embedding-dim 16 --max-steps 1 --quiet");
    let path = place.path("a/last/model.safetensors");
    let mut file = TensorFile::load(&path).unwrap();
    file.tensors.remove("out.weight").unwrap();
    file.save(&path).unwrap();
    for line in [
        "generate a",
        "score a return",
        "eval a",
        "explore a",
        "export a --format torch -o a.safetensors",
        "study a --quick --text text.py",
    ] {
        place.run(line).fails(3, &["out.weight", "missing"]);
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_flag_to_change() {
    let place = Place::new();
    place
        .train("a", "--tie-embeddings")
        .fails(2, &["tie-embeddings", "give embedding-dim = 16"]);
    place
        .train("a", "--variational-dropout --dropout 0")
        .fails(2, &["variational-dropout", "give a dropout above 0"]);
    assert!(!place.path("a").exists());
}
