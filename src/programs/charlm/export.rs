//! A character LM for other frameworks.
//!
//! The graph runs over any number of characters from a state that it is given, and gives the state
//! after them. Layers of states lie one behind the other, as in torch: `[L, B, H]`.

use super::config::CharLmConfig;
use super::generate::sample;
use super::model::{CharLm, CharLmSizes};
use crate::data::vocab::Vocab;
use crate::error::Result;
use crate::files::onnx::{Attribute, Element, Graph, any, fixed};
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::nn::onnx::{Inputs, Outputs, Weights};
use crate::nn::torch_names;
use crate::programs::orders::{Export, figures};
use crate::train::config_file::trained;
use crate::train::init::load_weights;
use serde_json::json;
use std::path::Path;

/// The model of a checkpoint.
pub(super) fn run(folder: &RunFolder, checkpoint: &Path, graphs: bool) -> Result<Export> {
    let vocab = Vocab::read_chars(folder)?;
    let config: CharLmConfig = trained(folder, checkpoint)?;
    let mut file = load_weights(&checkpoint.join(MODEL))?;
    let found = sample::weights(&file, config.tie_embeddings)?;
    found.check_vocab(vocab.len())?;
    let sizes = found.sizes();
    torch_names::check(&CharLm::layout(sizes), &file, &[])?;
    // As torch's state_dict has it, in which a weight of two modules stands twice.
    if sizes.tied {
        let shared = file.get("embedding.weight", &[sizes.vocab, sizes.embedding])?;
        let shared = shared.clone();
        file.tensors.insert("out.weight".into(), shared);
    }
    let graphs = match graphs {
        true => vec![graph(sizes, &file)?],
        false => Vec::new(),
    };
    Ok(Export {
        facts: figures([
            ("kind", json!("charlm")),
            ("cell", json!(sizes.cell)),
            ("embedding_dim", json!(sizes.embedding)),
            ("hidden_size", json!(sizes.hidden)),
            ("num_layers", json!(sizes.layers)),
            ("tie_embeddings", json!(sizes.tied)),
        ]),
        vocab: vocab.to_file(),
        weights: file,
        graphs,
    })
}

/// ids i64 `[T, B]`, h and of an LSTM c `[L, B, H]` to logits `[T, B, V]`, h_out and c_out.
fn graph(sizes: CharLmSizes, file: &TensorFile) -> Result<Graph> {
    let mut graph = Graph::new("charlm");
    let mut weights = Weights::new(file);
    let ids = [any("sequence"), any("batch")];
    let state = [fixed(sizes.layers), any("batch"), fixed(sizes.hidden)];
    let states: &[&str] = match sizes.cell.has_c() {
        true => &["h", "c"],
        false => &["h"],
    };
    graph.input("ids", Element::I64, &ids);
    for name in states {
        graph.input(name, Element::F32, &state);
    }
    let [sequence, batch] = ids;
    let logits = [sequence, batch, fixed(sizes.vocab)];
    graph.output("logits", Element::F32, &logits);

    weights.embedding(&mut graph, "embedding", "ids", "x")?;
    graph.list("one_each", &vec![1; sizes.layers]);
    let layers = |name: &str| (0..sizes.layers).map(|k| format!("{name}.{k}")).collect();
    let along_layers = [("axis", Attribute::Int(0))];
    for name in states {
        let parts: Vec<String> = layers(name);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("Split", &[name, "one_each"], &parts, &along_layers);
    }
    let mut x = "x".to_owned();
    for k in 0..sizes.layers {
        let [y, h, c, h_out, c_out] =
            ["y", "h", "c", "h_out", "c_out"].map(|name| format!("{name}.{k}"));
        let from = Inputs {
            x: &x,
            lengths: None,
            h: Some(&h),
            c: sizes.cell.has_c().then_some(&c),
        };
        let to = Outputs {
            y: &y,
            h: &h_out,
            c: sizes.cell.has_c().then_some(&c_out),
        };
        let (name, suffix) = (sizes.cell.name(), format!("l{k}"));
        weights.recurrent(&mut graph, sizes.cell, (name, &[&suffix]), from, to)?;
        x = format!("x.{k}");
        graph.squeeze(&y, 1, &x);
    }
    weights.affine(&mut graph, "out", &x, "logits")?;
    for name in states {
        let whole = format!("{name}_out");
        let parts: Vec<String> = layers(&whole);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("Concat", &parts, &[&whole], &along_layers);
        graph.output(&whole, Element::F32, &state);
    }
    weights.finish()?;
    Ok(graph)
}
