//! A seq2seq model for other frameworks, as two graphs: the encoder, and one step of the decoder.
//!
//! The decoder reads under the encoder's names all that the encoder gives, and a token; of its state it
//! gives what comes next as `h_out` and `c_out`. What it is made of stands in [`super::model`].

use super::model::{ModelKind, Seq2SeqSizes};
use super::trained::Trained;
use crate::error::{Error, Result};
use crate::files::onnx::{Attribute, Element, Graph, Size, any, fixed};
use crate::files::tensors::TensorFile;
use crate::nn::CellKind;
use crate::nn::onnx::{Inputs, Outputs, Weights};
use crate::programs::orders::{Export, figures};
use crate::train::model::Model;
use serde_json::json;
use std::path::Path;

/// The model of a checkpoint.
pub(super) fn run(checkpoint: &Path, graphs: bool) -> Result<Export> {
    let trained = Trained::open(checkpoint)?;
    let (config, sizes) = (&trained.config, trained.model.sizes());
    let weights = trained.model.export()?;
    let without_graph = [
        (sizes.copy, "model that copies"),
        (sizes.tied, "model that ties its embeddings"),
        (
            trained.model.kind() == ModelKind::Transformer,
            "Transformer",
        ),
        (sizes.layers > 1, "model that has several layers"),
    ];
    if let Some((_, what)) = without_graph.iter().find(|(is, _)| graphs && *is) {
        return Err(Error::Usage(format!(
            "--format onnx: a {what} has no graph of standard operators here; --format torch has its \
             weights, by the names of docs/formats.md"
        )));
    }
    let graphs = match graphs {
        true => both(trained.model.kind(), sizes, &weights)?,
        false => Vec::new(),
    };
    let mut facts = figures([
        ("kind", json!("seq2seq")),
        ("model", json!(trained.model.kind())),
        ("embedding_dim", json!(sizes.embedding)),
        ("hidden_size", json!(sizes.hidden)),
        ("num_layers", json!(sizes.layers)),
        ("max_source", json!(config.max_source)),
        ("max_target", json!(config.max_target)),
    ]);
    if trained.model.kind() == ModelKind::Transformer {
        facts.insert("num_heads".into(), json!(sizes.heads));
    }
    Ok(Export {
        facts,
        vocab: trained.vocab.to_file(),
        weights,
        graphs,
    })
}

/// Encoder and decoder.
fn both(kind: ModelKind, sizes: Seq2SeqSizes, file: &TensorFile) -> Result<Vec<Graph>> {
    let mut weights = Weights::new(file);
    let sides = Sides { kind, sizes };
    let graphs = vec![sides.encoder(&mut weights)?, sides.decoder(&mut weights)?];
    weights.finish()?;
    Ok(graphs)
}

/// The encoder begins with a state of zero.
const FROM_ZERO: Inputs = Inputs {
    x: "x",
    lengths: Some("lengths_i32"),
    h: None,
    c: None,
};
const BATCH: &str = "batch";
const SOURCE: &str = "source_length";

/// The two sides of a model.
struct Sides {
    kind: ModelKind,
    sizes: Seq2SeqSizes,
}

impl Sides {
    fn cell(&self) -> CellKind {
        self.kind.plain().map_or(CellKind::Lstm, |(cell, _)| cell)
    }

    /// The name of the cell state, where there is one.
    fn c(&self, name: &'static str) -> Option<&'static str> {
        self.cell().has_c().then_some(name)
    }

    /// What the decoder is given besides a token: its state, and what it reads at each step.
    fn handed_on(&self) -> Vec<(&'static str, Element, Vec<Size>)> {
        let h = self.sizes.hidden;
        let state = |name| (name, Element::F32, vec![fixed(1), any(BATCH), fixed(h)]);
        let positions = |width: Option<usize>| {
            let axes = [any(BATCH), any(SOURCE)].into_iter();
            axes.chain(width.map(fixed)).collect()
        };
        let mut all: Vec<_> = [Some("h"), self.c("c")]
            .into_iter()
            .flatten()
            .map(state)
            .collect();
        match self.kind.plain() {
            Some((_, true)) => all.push(("context", Element::F32, vec![any(BATCH), fixed(h)])),
            Some((_, false)) => {}
            None => all.extend([
                ("keys", Element::F32, positions(Some(h))),
                ("values", Element::F32, positions(Some(2 * h))),
                ("mask", Element::Bool, positions(None)),
            ]),
        }
        all
    }

    // ---- encoder -------------------------------------------------------------------------------

    /// source i64 `[S, B]` and lengths i64 `[B]` to what the decoder is given.
    fn encoder(&self, weights: &mut Weights) -> Result<Graph> {
        let mut graph = Graph::new("encoder");
        graph.input("source", Element::I64, &[any(SOURCE), any(BATCH)]);
        graph.input("lengths", Element::I64, &[any(BATCH)]);
        for (name, element, dims) in self.handed_on() {
            graph.output(name, element, &dims);
        }
        weights.embedding(&mut graph, "encoder.embedding", "source", "x")?;
        let to = Attribute::Int(Element::I32 as i64);
        graph.node("Cast", &["lengths"], &["lengths_i32"], &[("to", to)]);
        let Some((cell, reads_context)) = self.kind.plain() else {
            both_ways(&mut graph, weights)?;
            return Ok(graph);
        };
        let to = Outputs {
            y: "",
            h: "h",
            c: self.c("c"),
        };
        weights.recurrent(&mut graph, cell, ("encoder.rnn", &["l0"]), FROM_ZERO, to)?;
        if reads_context {
            graph.squeeze("h", 0, "context");
        }
        Ok(graph)
    }

    // ---- decoder -------------------------------------------------------------------------------

    /// token i64 `[B]` and what the encoder gave, or the last step, to logits `[B, V]`, the state after
    /// it and, with attention, the weights `[B, S]` of the source's positions.
    fn decoder(&self, weights: &mut Weights) -> Result<Graph> {
        let mut graph = Graph::new("decoder");
        graph.input("token", Element::I64, &[any(BATCH)]);
        for (name, element, dims) in self.handed_on() {
            graph.input(name, element, &dims);
        }
        let logits = [any(BATCH), fixed(self.sizes.target_vocab)];
        graph.output("logits", Element::F32, &logits);
        let state = [fixed(1), any(BATCH), fixed(self.sizes.hidden)];
        for name in [Some("h_out"), self.c("c_out")].into_iter().flatten() {
            graph.output(name, Element::F32, &state);
        }
        weights.embedding(&mut graph, "decoder.embedding", "token", "x")?;
        let last = [("axis", Attribute::Int(1))];
        let input = match self.kind.plain() {
            Some((_, false)) => "x",
            Some((_, true)) => {
                graph.node("Concat", &["x", "context"], &["input"], &last);
                "input"
            }
            None => {
                let weights_of = [any(BATCH), any(SOURCE)];
                graph.output("attention", Element::F32, &weights_of);
                attend(&mut graph, weights)?;
                graph.node("Concat", &["x", "context"], &["input"], &last);
                "input"
            }
        };
        graph.unsqueeze(input, 0, "step");
        let from = Inputs {
            x: "step",
            lengths: None,
            h: Some("h"),
            c: self.c("c"),
        };
        let to = Outputs {
            y: "",
            h: "h_out",
            c: self.c("c_out"),
        };
        weights.recurrent(&mut graph, self.cell(), ("decoder.rnn", &["l0"]), from, to)?;
        graph.squeeze("h_out", 0, "hidden");
        let features = match self.kind {
            ModelKind::Attention => {
                graph.node("Concat", &["hidden", "context", "x"], &["features"], &last);
                "features"
            }
            _ => "hidden",
        };
        weights.linear(&mut graph, "out", features, "logits")?;
        Ok(graph)
    }
}

/// The bidirectional LSTM, the bridges to the decoder's state, and what is attended to.
fn both_ways(graph: &mut Graph, weights: &mut Weights) -> Result<()> {
    let to = Outputs {
        y: "y",
        h: "last_h",
        c: Some("last_c"),
    };
    let name = ("encoder.rnn", &["l0", "l0_reverse"][..]);
    weights.recurrent(graph, CellKind::Lstm, name, FROM_ZERO, to)?;
    // [S, 2, B, H] to [B, S, 2 H]: 0 keeps a size, -1 is what is left.
    let order = Attribute::Ints(&[2, 0, 1, 3]);
    graph.node("Transpose", &["y"], &["y_of_row"], &[("perm", order)]);
    graph.list("side_by_side", &[0, 0, -1]);
    graph.node("Reshape", &["y_of_row", "side_by_side"], &["values"], &[]);
    weights.projection(graph, "attention.key", "values", "keys")?;
    // [2, B, H] to [B, 2 H].
    graph.list("both", &[0, -1]);
    for (state, bridge, y) in [
        ("last_h", "bridge.hidden", "h"),
        ("last_c", "bridge.cell", "c"),
    ] {
        let [of_row, both, z, bridged] =
            ["of_row", "both", "z", "bridged"].map(|part| format!("{y}.{part}"));
        let order = Attribute::Ints(&[1, 0, 2]);
        graph.node("Transpose", &[state], &[&of_row], &[("perm", order)]);
        graph.node("Reshape", &[&of_row, "both"], &[&both], &[]);
        weights.linear(graph, bridge, &both, &z)?;
        graph.node("Tanh", &[&z], &[&bridged], &[]);
        graph.unsqueeze(&bridged, 0, y);
    }
    // Position s of a row is a real one where s < its length.
    graph.number("zero", 0);
    graph.number("one", 1);
    graph.node("Shape", &["source"], &["source_shape"], &[]);
    let first = [("axis", Attribute::Int(0))];
    graph.node("Gather", &["source_shape", "zero"], &["steps"], &first);
    graph.node("Range", &["zero", "steps", "one"], &["positions"], &[]);
    graph.unsqueeze("lengths", 1, "length_of_row");
    graph.node("Less", &["positions", "length_of_row"], &["mask"], &[]);
    Ok(())
}

/// The weights `attention` `[B, S]` of the positions before a step, and their mean `context` `[B, 2 H]`.
fn attend(graph: &mut Graph, weights: &mut Weights) -> Result<()> {
    graph.squeeze("h", 0, "before");
    weights.linear(graph, "attention.query", "before", "query")?;
    graph.unsqueeze("query", 1, "query_of_row");
    graph.node("Add", &["keys", "query_of_row"], &["sum"], &[]);
    graph.node("Tanh", &["sum"], &["aligned"], &[]);
    weights.projection(graph, "attention.energy", "aligned", "energy_column")?;
    graph.squeeze("energy_column", 2, "energy");
    graph.floats("nowhere", &[], &[f32::NEG_INFINITY]);
    graph.node("Where", &["mask", "energy", "nowhere"], &["masked"], &[]);
    let last = [("axis", Attribute::Int(1))];
    graph.node("Softmax", &["masked"], &["attention"], &last);
    graph.unsqueeze("attention", 1, "attention_row");
    graph.node(
        "MatMul",
        &["attention_row", "values"],
        &["context_row"],
        &[],
    );
    graph.squeeze("context_row", 1, "context");
    Ok(())
}
