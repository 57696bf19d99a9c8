//! `rnnx export`: what stands in the files, whatever reads them, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use prost::Message;
use rnnx::files::onnx::proto::{GraphProto, ModelProto, ValueInfo};
use rnnx::files::onnx::{IR_VERSION, OPSET, Size};
use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};

use super::runs::{CELLS, MODELS, trained};
use super::support::Place;

fn onnx(place: &Place, file: &str) -> ModelProto {
    ModelProto::decode(&fs::read(place.path(file)).unwrap()[..]).unwrap()
}

/// Values as `name:type[dimensions]`.
fn values(values: &[ValueInfo]) -> Vec<String> {
    let one = |value: &ValueInfo| {
        let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        let dims = tensor.shape.as_ref().unwrap().dim.iter();
        let dims = dims.map(|dim| match dim.size.as_ref().unwrap() {
            Size::Fixed(n) => n.to_string(),
            Size::Any(name) => name.clone(),
        });
        let dims: Vec<String> = dims.collect();
        let element = [(1, "f32"), (7, "i64"), (9, "bool")];
        let (_, element) = element
            .iter()
            .find(|(n, _)| *n == tensor.elem_type)
            .unwrap();
        format!("{}:{element}[{}]", value.name, dims.join(" "))
    };
    values.iter().map(one).collect()
}

/// The graph of a file, in which every value is there before it is read and each constant is as long
/// as its shape says.
#[track_caller]
fn graph(place: &Place, file: &str) -> GraphProto {
    let model = onnx(place, file);
    assert_eq!(
        (model.ir_version, model.producer_name.as_str()),
        (IR_VERSION, "rnnx")
    );
    let [operators] = &model.opset_import[..] else {
        panic!("{:?}", model.opset_import);
    };
    assert_eq!((operators.domain.as_str(), operators.version), ("", OPSET));
    assert_eq!((IR_VERSION, OPSET), (8, 17));
    let graph = model.graph.unwrap();
    let mut known: BTreeSet<&str> = BTreeSet::from([""]);
    for constant in &graph.initializer {
        let bytes = if constant.data_type == 7 { 8 } else { 4 };
        let count: i64 = constant.dims.iter().product();
        assert_eq!(
            constant.raw_data.len() as i64,
            bytes * count,
            "{}",
            constant.name
        );
        assert!(known.insert(&constant.name), "{}", constant.name);
    }
    known.extend(graph.input.iter().map(|value| value.name.as_str()));
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{}: {input}", node.name);
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            assert!(known.insert(output), "{output} is there twice");
        }
    }
    for output in &graph.output {
        assert!(known.contains(output.name.as_str()), "{}", output.name);
    }
    graph
}

/// The number of weights in a graph.
fn parameters(graph: &GraphProto) -> i64 {
    let floats = graph
        .initializer
        .iter()
        .filter(|c| c.data_type == 1 && !c.dims.is_empty());
    floats
        .map(|constant| constant.dims.iter().product::<i64>())
        .sum()
}

/// The strings of a file, read as JSON.
fn metadata(place: &Place, file: &str) -> BTreeMap<String, Value> {
    let entries = onnx(place, file).metadata_props.into_iter();
    entries
        .map(|e| (e.key, serde_json::from_str(&e.value).unwrap()))
        .collect()
}

#[test]
fn graphs_have_the_names_and_shapes_of_the_manual() {
    let place = trained();
    for (cell, layers) in CELLS {
        let done = place
            .run(&format!("export {cell} --format onnx -o {cell}.onnx"))
            .ok();
        assert_eq!(done.stdout, format!("{cell}.onnx\n"));
        assert!(
            done.stderr.contains("ONNX, operators 17"),
            "{}",
            done.stderr
        );
        let file = format!("{cell}.onnx");
        let graph = graph(&place, &file);
        let state = format!("f32[{layers} batch 16]");
        let vocab = place.json(&format!("{cell}/vocab.json"));
        let v = vocab["tokens"].as_array().unwrap().len();
        let has_c = cell == "lstm";
        let states = |end: &str| {
            let names = ["h", "c"].into_iter().take(1 + usize::from(has_c));
            names
                .map(|name| format!("{name}{end}:{state}"))
                .collect::<Vec<_>>()
        };
        let inputs = [vec!["ids:i64[sequence batch]".into()], states("")].concat();
        assert_eq!(values(&graph.input), inputs);
        let outputs = [
            vec![format!("logits:f32[sequence batch {v}]")],
            states("_out"),
        ]
        .concat();
        assert_eq!(values(&graph.output), outputs);
        let recurrent: Vec<_> = graph
            .node
            .iter()
            .filter(|n| n.op_type == cell.to_uppercase())
            .collect();
        assert_eq!(recurrent.len(), layers);
        // Each of torch's numbers is there once.
        let all: usize = place
            .weights(cell)
            .tensors
            .values()
            .map(|t| t.data.len())
            .sum();
        assert_eq!(parameters(&graph), all as i64, "{cell}");
        let about = metadata(&place, &file);
        assert_eq!(about["vocab"], vocab);
        let model = json!({"kind": "charlm", "cell": cell, "embedding_dim": 8, "hidden_size": 16,
            "num_layers": layers, "tie_embeddings": false});
        assert_eq!(about["model"], model);
    }
    for model in MODELS {
        let run = format!("pairs-{model}");
        let done = place
            .run(&format!("export {run} --format onnx -o out/{model} -q"))
            .ok();
        let files = ["encoder", "decoder"].map(|side| format!("out/{model}/{side}.onnx"));
        assert_eq!(done.stdout, format!("{}\n{}\n", files[0], files[1]));
        assert_eq!(done.stderr, "");
        let [encoder, decoder] = files.each_ref().map(|file| graph(&place, file));
        let mut handed = vec!["h:f32[1 batch 16]"];
        handed.extend(match model {
            "rnn" | "gru" => vec!["context:f32[batch 16]"],
            "lstm" => vec!["c:f32[1 batch 16]"],
            _ => vec![
                "c:f32[1 batch 16]",
                "keys:f32[batch source_length 16]",
                "values:f32[batch source_length 32]",
                "mask:bool[batch source_length]",
            ],
        });
        let source = ["source:i64[source_length batch]", "lengths:i64[batch]"];
        assert_eq!(values(&encoder.input), source);
        assert_eq!(values(&encoder.output), handed);
        let token = [&["token:i64[batch]"][..], &handed].concat();
        assert_eq!(values(&decoder.input), token);
        let outputs = values(&decoder.output);
        let vocab = &place.json(&format!("{run}/vocab.json"));
        let v = vocab["target"].as_array().unwrap().len();
        let mut expected = vec![
            format!("logits:f32[batch {v}]"),
            "h_out:f32[1 batch 16]".into(),
        ];
        if handed.contains(&"c:f32[1 batch 16]") {
            expected.push("c_out:f32[1 batch 16]".into());
        }
        if model == "attention" {
            expected.push("attention:f32[batch source_length]".into());
        }
        assert_eq!(outputs, expected);
        let all: usize = place
            .weights(&run)
            .tensors
            .values()
            .map(|t| t.data.len())
            .sum();
        assert_eq!(
            parameters(&encoder) + parameters(&decoder),
            all as i64,
            "{model}"
        );
        for file in &files {
            let about = metadata(&place, file);
            assert_eq!(&about["vocab"], vocab);
            assert_eq!(about["model"]["model"], model);
            assert_eq!(about["model"]["max_source"], 30);
        }
    }
}

#[test]
fn the_file_for_torch_stands_on_its_own() {
    let place = Place::new();
    place.charlm("a", "--max-steps 1");
    let done = place
        .run("export a/last --format torch -o a.safetensors")
        .ok();
    assert_eq!(done.stdout, "a.safetensors\n");
    let file = TensorFile::load(&place.path("a.safetensors")).unwrap();
    assert_eq!(file.tensors, place.weights("a").tensors);
    let keys: Vec<&str> = file.metadata.keys().map(String::as_str).collect();
    assert_eq!(keys, ["format", "model", "vocab"]);
    assert_eq!(file.metadata["format"], "pt");
    place.write("vocab.json", &file.metadata["vocab"]);
    // It comes back with nothing else.
    place.charlm(
        "b",
        "--max-steps 0 --init-from a.safetensors --vocab vocab.json",
    );
    assert!(place.weights("b").tensors == file.tensors);
}

#[test]
fn the_same_weights_are_the_same_bytes() {
    let place = Place::new();
    place.charlm("a", "--max-steps 1");
    for format in ["onnx", "torch"] {
        for out in ["x", "y"] {
            place
                .run(&format!("export a --format {format} -o {out} --force -q"))
                .ok();
        }
        let [x, y] = ["x", "y"].map(|file| fs::read(place.path(file)).unwrap());
        assert!(x == y, "{format}");
    }
}

#[test]
fn nothing_is_overwritten_unless_that_is_said() {
    let place = Place::new();
    place.charlm("a", "--max-steps 0");
    place.seq2seq("b", "--model lstm --max-steps 0");
    for file in ["mine.onnx", "both/decoder.onnx", "both/mine.txt"] {
        place.write(file, "mine");
    }
    let refused = [
        ("a --format onnx -o mine.onnx", "mine.onnx is there already"),
        (
            "a --format torch -o mine.onnx",
            "mine.onnx is there already",
        ),
        ("a --format onnx -o both", "both: this is a folder"),
        ("b --format torch -o both --force", "both: this is a folder"),
        (
            "b --format onnx -o both",
            "both/decoder.onnx is there already",
        ),
        (
            "b --format onnx -o new.onnx",
            "encoder.onnx and decoder.onnx: name the folder",
        ),
        ("b --format onnx -o text.py --force", "name the folder"),
    ];
    for (line, words) in refused {
        place.run(&format!("export {line}")).fails(2, &[words]);
    }
    for file in ["mine.onnx", "both/decoder.onnx", "both/mine.txt"] {
        assert_eq!(fs::read(place.path(file)).unwrap(), b"mine", "{file}");
    }
    assert!(!place.path("both/encoder.onnx").exists() && !place.path("new.onnx").exists());
    place
        .run("export a --format onnx -o mine.onnx --force")
        .ok();
    place.run("export b --format onnx -o both --force").ok();
    for file in ["mine.onnx", "both/encoder.onnx", "both/decoder.onnx"] {
        graph(&place, file);
    }
    assert_eq!(fs::read(place.path("both/mine.txt")).unwrap(), b"mine");
}

#[test]
fn what_cannot_be_exported() {
    let place = Place::new();
    place.charlm("a", "--max-steps 0");
    let lines = [
        ("none --format onnx -o x", 3, "none: no such run"),
        ("text.py --format onnx -o x", 3, "text.py"),
        ("a --format tflite -o x", 2, "'tflite'"),
        ("a --format onnx", 2, "--out"),
        ("a -o x", 2, "--format"),
        ("a --format onnx -o no/folder/x", 1, "no/folder/x"),
    ];
    for (line, code, words) in lines {
        place.run(&format!("export {line}")).fails(code, &[words]);
    }
    let model = place.path("a/last/model.safetensors");
    let mut file = TensorFile::load(&model).unwrap();
    let whole = fs::read(&model).unwrap();
    let extra = file.tensors["out.bias"].clone();
    file.tensors.insert("copy.weight".into(), extra);
    file.save(&model).unwrap();
    place
        .run("export a --format onnx -o x")
        .fails(3, &["copy.weight"]);
    fs::write(&model, &whole[..whole.len() - 40]).unwrap();
    for format in ["onnx", "torch"] {
        place
            .run(&format!("export a --format {format} -o x"))
            .fails(3, &["model.safetensors", "truncated"]);
    }
    fs::write(&model, &whole).unwrap();
    let vocab = json!({"kind": "char", "tokens": ["a", "b"]}).to_string();
    place.write("a/vocab.json", vocab);
    place
        .run("export a --format onnx -o x")
        .fails(3, &["vocab.json"]);
    assert!(!place.path("x").exists());
}
