//! The Transformer from training to text.

use std::collections::BTreeSet;
use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};

use super::seq2seq::{json_lines, place, train};
use super::support::assert_same_run;

/// Two layers of three heads.
const SMALL: &str = "--model transformer --num-layers 2 --num-heads 3";

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn it_trains_goes_on_scores_and_writes() {
    let place = place();
    for (run, flags) in [
        ("plain", ""),
        ("copying", "--copy --tie-embeddings --beam 2"),
    ] {
        train(&place, run, &format!("{SMALL} {flags} --epochs 2")).ok();
        train(&place, "parts", &format!("{SMALL} {flags} --epochs 1")).ok();
        place
            .run("train-seq2seq --out parts --resume --epochs 2 -q")
            .ok();
        assert_same_run(&place.path(run), &place.path("parts"));
        fs::remove_dir_all(place.path("parts")).unwrap();

        let scored = object(&place.run(&format!("eval {run} --json -q")).ok().stdout);
        let tested = json_lines(&place, &format!("{run}/metrics.jsonl"));
        let tested = tested.last().unwrap();
        assert_eq!(
            (&scored["model"], &scored["loss"], &scored["bleu"]),
            (&json!("transformer"), &tested["loss"], &tested["bleu"])
        );
        for pair in json_lines(&place, &format!("{run}/samples/test.jsonl")) {
            let sources = pair["source"].as_array().unwrap().len();
            let rows = pair["attention"].as_array().unwrap();
            assert!(
                !rows.is_empty() && rows.iter().all(|r| r.as_array().unwrap().len() == sources)
            );
            assert_eq!(pair["copied"].is_array(), run == "copying");
        }
        let page = fs::read_to_string(place.path(&format!("{run}/report.html"))).unwrap();
        assert!(page.contains("Attention weights of"), "{run}");
        let done = place.run(&format!("translate {run} -q --attention map.svg load"));
        done.ok();
        assert!(
            fs::read_to_string(place.path("map.svg"))
                .unwrap()
                .contains("<svg")
        );
    }
}

/// The names of torch's layers.
#[test]
fn its_weights_go_to_torch_and_not_into_graphs() {
    let place = place();
    train(&place, "a", &format!("{SMALL} --max-steps 0")).ok();
    place
        .run("export a --format torch -o a.safetensors -q")
        .ok();
    let file = TensorFile::load(&place.path("a.safetensors")).unwrap();
    let of_attention = [
        "in_proj_weight",
        "in_proj_bias",
        "out_proj.weight",
        "out_proj.bias",
    ];
    let mut names = BTreeSet::new();
    for side in ["encoder", "decoder"] {
        names.insert(format!("{side}.embedding.weight"));
        for part in ["weight", "bias"] {
            names.insert(format!("{side}.norm.{part}"));
            names.insert(format!("out.{part}"));
        }
        for k in 0..2 {
            let layer = format!("{side}.layers.{k}");
            let attentions = [
                Some("self_attn"),
                (side == "decoder").then_some("multihead_attn"),
            ];
            for attention in attentions.into_iter().flatten() {
                names.extend(of_attention.map(|part| format!("{layer}.{attention}.{part}")));
            }
            let norms = if side == "encoder" { 2 } else { 3 };
            let norms = (1..=norms).map(|n| format!("norm{n}"));
            for part in ["linear1", "linear2"]
                .map(str::to_owned)
                .into_iter()
                .chain(norms)
            {
                names.extend(["weight", "bias"].map(|of| format!("{layer}.{part}.{of}")));
            }
        }
    }
    assert!(file.tensors.keys().eq(&names), "{:?}", file.tensors.keys());
    let shape = |name: &str| file.tensors[name].shape.clone();
    assert_eq!(
        shape("decoder.layers.1.multihead_attn.in_proj_weight"),
        [18, 6]
    );
    assert_eq!(shape("encoder.layers.0.linear1.weight"), [40, 6]);
    let done = place.run("export a --format onnx -o out -q");
    done.fails(2, &["--format onnx", "Transformer", "--format torch"]);
    // They start another run.
    let flags =
        format!("{SMALL} --max-steps 0 --seed 9 --init-from a.safetensors --vocab a/vocab.json");
    train(&place, "b", &flags).ok();
    let weights = |run: &str| {
        let path = format!("{run}/last/model.safetensors");
        TensorFile::load(&place.path(&path)).unwrap().tensors
    };
    assert_eq!(weights("a"), weights("b"));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = place();
    for (flags, words) in [
        (
            "--model transformer",
            &["num-heads = 4", "embedding-dim = 6"][..],
        ),
        (
            "--model transformer --num-heads 2 --teacher-forcing 0.5",
            &["teacher-forcing = 0.5", "model = transformer"],
        ),
    ] {
        train(&place, "a", flags).fails(2, words);
        assert!(!place.path("a").exists());
    }
}

#[test]
fn its_steps_are_timed() {
    let place = place();
    let sizes = "--embedding-dim 6 --hidden-size 10 --num-heads 2 --batch-size 4 --seconds 0.1";
    let files = "--train train.jsonl --valid valid.jsonl --test test.jsonl";
    let line = format!("bench seq2seq --model transformer {sizes} {files} --json -q");
    let timed = object(&place.run(&line).ok().stdout);
    let found = &timed["seq2seq"]["models"]["transformer"];
    assert!(found["gflops"].as_f64().unwrap() > 0.0, "{timed}");
}
