//! `rnnx inspect` through the binary.

use rnnx::files::tensors::{HostTensor, TensorFile};
use serde_json::Value;

use super::seq2seq;
use super::support::{Done, Place};

/// The number before ` parameters` in what a training says of its model.
fn told(done: &Done) -> u64 {
    let (before, _) = done.stderr.split_once(" parameters").unwrap();
    let number = before.rsplit(' ').next().unwrap();
    number.replace(',', "").parse().unwrap()
}

/// The parameters of a run, of which the tensors' add up to the same.
fn counted(place: &Place, run: &str) -> u64 {
    let done = place.run(&format!("inspect {run} --json")).ok();
    let object: Value = serde_json::from_str(&done.stdout).unwrap();
    let tensors = object["tensors"].as_array().unwrap();
    let sum = |of: &dyn Fn(&Value) -> u64| tensors.iter().map(of).sum::<u64>();
    let parameters = object["parameters"].as_u64().unwrap();
    assert_eq!(sum(&|t| t["parameters"].as_u64().unwrap()), parameters);
    let values = |t: &Value| {
        let dims = t["shape"].as_array().unwrap().iter();
        dims.map(|d| d.as_u64().unwrap()).product::<u64>()
    };
    let untrained = object["untrained"].as_u64().unwrap();
    assert_eq!(sum(&values), parameters + untrained);
    let text = place.run(&format!("inspect {run}")).ok().stdout;
    assert!(
        text.contains(&format!(" {parameters} parameters, ")),
        "{text}"
    );
    let noted = text.contains(&format!("not counted: {untrained} zeros"));
    assert_eq!(noted, untrained > 0, "{text}");
    parameters
}

#[test]
fn inspect_counts_the_parameters_that_training_counts() {
    let place = Place::new();
    for cell in ["lstm", "gru", "rnn"] {
        let done = place
            .train(cell, &format!("--cell {cell} --max-steps 0"))
            .ok();
        assert_eq!(counted(&place, cell), told(&done), "{cell}");
    }
    let place = seq2seq::place();
    for kind in seq2seq::KINDS {
        let flags = format!("--model {kind} --max-steps 0");
        let done = seq2seq::train(&place, kind, &flags).ok();
        assert_eq!(counted(&place, kind), told(&done), "{kind}");
    }
}

#[test]
fn names_and_shapes_of_any_length() {
    let place = Place::new();
    let mut file = TensorFile::new();
    let mut insert = |name: String, shape: Vec<usize>| {
        let data = vec![0.5; shape.iter().product()];
        file.tensors.insert(name, HostTensor { shape, data });
    };
    let name = format!("first{}last", "n".repeat(65_536 - 9));
    insert(name.clone(), vec![3]);
    insert("deep".into(), vec![1; 21_846]);
    insert("two\nlines".into(), vec![2, 1]);
    file.metadata.insert(name.clone(), "v".repeat(1 << 20));
    file.save(&place.path("m.safetensors")).unwrap();
    let text = place.run("inspect m.safetensors").ok().stdout;
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest.unwrap() < 1100, "{text}");
    for words in [
        "firstnnn",
        "nnn... (65,536 characters) ...nnn",
        "nnnlast ",
        "[1, 1, 1, 1, 1, 1, ... (21,846 dimensions)]",
        "\ntwo\\nlines ",
        "vvv... (1,048,576 characters) ...vvv",
        "\n3 tensors, 6 parameters, ",
    ] {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
    // JSON has all.
    let done = place.run("inspect m.safetensors --json").ok();
    let object: Value = serde_json::from_str(&done.stdout).unwrap();
    let tensors = object["tensors"].as_array().unwrap();
    let names: Vec<&str> = tensors.iter().filter_map(|t| t["name"].as_str()).collect();
    assert_eq!(names, ["deep", &name, "two\nlines"]);
    assert_eq!(tensors[0]["shape"].as_array().unwrap().len(), 21_846);
    assert_eq!(object["metadata"][&name].as_str().unwrap().len(), 1 << 20);
    // As the weights of a run it is refused.
    place.write("vocab.json", r#"{"kind":"char","tokens":["d"]}"#);
    let done = place.train(
        "a",
        "--max-steps 0 --init-from m.safetensors --extend-vocab",
    );
    done.fails(3, &["m.safetensors"]);
}
