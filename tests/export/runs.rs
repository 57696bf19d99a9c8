//! Exported models give elsewhere what they give here: in ONNX Runtime, and in torch with the loader
//! of docs/formats.md.

use std::fs;
use std::path::Path;

use rnnx::autograd::Tape;
use rnnx::files::tensors::TensorFile;
use rnnx::programs::charlm::generate::sample;
use rnnx::programs::charlm::model::{CharLm, State};
use rnnx::programs::seq2seq::data::SourceBatch;
use rnnx::programs::seq2seq::model::Source;
use rnnx::programs::seq2seq::trained::Trained;
use rnnx::tensor::Tensor;
use rnnx::train::model::Model;
use serde_json::{Value, json};

use super::python;
use super::support::Place;

/// How far a logit, a state or an attention weight may be from the one here: sums of f32 numbers of
/// about 1, in another order.
const TOLERANCE: f64 = 1e-5;
/// Cells of the character LMs and their layers.
pub const CELLS: [(&str, usize); 3] = [("lstm", 2), ("gru", 3), ("rnn", 1)];
/// The seq2seq models.
pub const MODELS: [&str; 4] = ["rnn", "lstm", "attention", "gru"];

/// A place with a run of each, trained for some steps that move the weights far.
pub fn trained() -> Place {
    const FAR: &str = "--max-steps 6 --learning-rate 0.05";
    let place = Place::new();
    for (cell, layers) in CELLS {
        place.charlm(cell, &format!("--cell {cell} --num-layers {layers} {FAR}"));
    }
    for model in MODELS {
        place.seq2seq(&format!("pairs-{model}"), &format!("--model {model} {FAR}"));
    }
    place
}

/// What a model is given, and what it gives here.
struct Reference {
    run: String,
    inputs: Value,
    outputs: Vec<(&'static str, Vec<Vec<f32>>)>,
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.data::<f32>().unwrap().to_vec()
}

/// The logits of a model for pieces of ids `[T][B]`, the state carried along, and that state.
pub fn charlm(file: &TensorFile, pieces: &[Vec<Vec<u32>>]) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let tied = !file.tensors.contains_key("out.weight");
    let sizes = sample::weights(file, tied).unwrap().sizes();
    let mut model = CharLm::new::<f32>(sizes, 0);
    model.import(file).unwrap();
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let (mut logits, mut state) = (Vec::new(), None::<State>);
    for piece in pieces {
        let ids = Tensor::from_slice(&piece.concat(), [piece.len(), piece[0].len()]).unwrap();
        let out = model.forward(&mut tape, &params, &ids, None, state.as_ref());
        let (given, after) = out.unwrap();
        logits.push(floats(given.value()));
        state = Some(after);
    }
    let state = state.unwrap();
    let c = state.iter().filter_map(|layer| layer.c.as_ref());
    let c: Vec<f32> = c.flat_map(|c| floats(c.value())).collect();
    let h = state.iter().flat_map(|layer| floats(layer.h.value()));
    let parts = [c, h.collect()].into_iter();
    (logits, parts.filter(|part| !part.is_empty()).collect())
}

fn of_charlm(place: &Place, cell: &str) -> Reference {
    let id = |i: usize| (7 * i + 3) as u32 % 20;
    let piece = |steps, first| (0..steps).map(|t| vec![id(first + t), id(2 * t)]).collect();
    let pieces: Vec<Vec<Vec<u32>>> = vec![piece(7, 0), piece(1, 50), piece(3, 9)];
    let (logits, state) = charlm(&place.weights(cell), &pieces);
    Reference {
        run: cell.into(),
        inputs: json!({"kind": "charlm", "pieces": pieces}),
        outputs: vec![("logits", logits), ("state", state)],
    }
}

fn of_seq2seq(place: &Place, model: &str) -> Reference {
    let run = format!("pairs-{model}");
    let trained = Trained::open(&place.path(&run)).unwrap();
    let model = &trained.model;
    let sources = [vec![6, 4, 5, 8, 7], vec![9], vec![4, 4, 3]];
    let tokens = [vec![1, 1, 1], vec![4, 5, 6], vec![7, 4, 4], vec![8, 2, 9]];
    let batch = SourceBatch::new(&sources.each_ref().map(|s| &s[..])).unwrap();
    let source = Source::new(&batch, model.vocab().0, None).unwrap();
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let mut state = model.encode(&mut tape, &params, &source, None).unwrap();
    let (mut logits, mut attention) = (Vec::new(), Vec::new());
    for tokens in &tokens {
        let tokens = model.tokens(tokens).unwrap();
        let out = model.step(&mut tape, &params, &state, &tokens).unwrap();
        logits.push(floats(out.logits.value()));
        attention.push(out.alpha.as_ref().map(floats).unwrap_or_default());
        state = out.state;
    }
    Reference {
        run,
        inputs: json!({"kind": "seq2seq", "sources": sources, "tokens": tokens}),
        outputs: vec![("logits", logits), ("attention", attention)],
    }
}

/// Asserts that numbers of some size are those expected.
#[track_caller]
pub fn assert_near(what: &str, given: &Value, expected: &[f32]) {
    let given: Vec<f64> = serde_json::from_value(given.clone()).unwrap();
    assert_eq!(given.len(), expected.len(), "{what}");
    let expected = expected.iter().map(|&x| f64::from(x));
    let largest = expected.clone().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(given.is_empty() || largest > 0.1, "{what}: {largest}");
    let off = given.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // NaN is as far as can be.
    let off = off.fold(0.0, |m: f64, x| if x <= m { m } else { x });
    assert!(off <= TOLERANCE, "{what}: off by {off}");
}

/// Exports every model in a format, runs all of them with the script, and compares.
fn compare(
    format: &str,
    path: impl Fn(&str, bool) -> String,
    python: &Path,
    script: &str,
    deep: &[&str],
) {
    let place = trained();
    for model in deep {
        let flags = "--num-layers 3 --max-steps 6 --learning-rate 0.05";
        place.seq2seq(
            &format!("pairs-deep-{model}"),
            &format!("--model {model} {flags}"),
        );
    }
    place.charlm(
        "tied",
        "--embedding-dim 16 --tie-embeddings --max-steps 6 --learning-rate 0.05",
    );
    let charlms = CELLS.map(|(cell, _)| cell).into_iter().chain(["tied"]);
    let references = charlms
        .map(|run| of_charlm(&place, run))
        .chain(MODELS.map(|model| of_seq2seq(&place, model)))
        .chain(
            deep.iter()
                .map(|model| of_seq2seq(&place, &format!("deep-{model}"))),
        );
    let references: Vec<Reference> = references.collect();
    let jobs = references.iter().map(|reference| {
        let mut job = reference.inputs.clone();
        let run = &reference.run;
        let out = path(run, job["kind"] == "charlm");
        place
            .run(&format!("export {run} --format {format} -o {out} -q"))
            .ok();
        job["path"] = json!(place.path(&out));
        job
    });
    let jobs: Value = jobs.collect();
    place.write("jobs.json", jobs.to_string());
    let given = python::run(python, script, &[&place.path("jobs.json")]);
    assert_eq!(given.as_array().unwrap().len(), references.len());
    for (reference, given) in references.iter().zip(given.as_array().unwrap()) {
        for (name, expected) in &reference.outputs {
            let parts = given[name].as_array().unwrap();
            assert_eq!(parts.len(), expected.len(), "{} {name}", reference.run);
            for (part, expected) in parts.iter().zip(expected) {
                assert_near(&format!("{} {name}", reference.run), part, expected);
            }
        }
    }
}

#[test]
fn onnx_runtime_computes_the_same() {
    let Some(python) = python::with(&["onnxruntime"]) else {
        return;
    };
    let path = |run: &str, one: bool| match one {
        true => format!("{run}.onnx"),
        false => format!("{run}-onnx"),
    };
    compare(
        "onnx",
        path,
        &python,
        include_str!("python/onnx_runtime.py"),
        &[],
    );
}

#[test]
fn torch_computes_the_same() {
    let Some(python) = python::with(&["torch", "safetensors"]) else {
        return;
    };
    let page = fs::read_to_string("docs/formats.md").unwrap();
    let (_, loader) = page.split_once("```python\n").unwrap();
    let (loader, _) = loader.split_once("```").unwrap();
    let script = format!("{loader}\n{}", include_str!("python/torch_loader.py"));
    let path = |run: &str, _| format!("{run}.safetensors");
    compare("torch", path, &python, &script, &MODELS);
}
