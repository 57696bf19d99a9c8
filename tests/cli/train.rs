//! `rnnx train-charlm`: what a run leaves, where weights and settings come from.

use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::Value;

use super::support::{EPOCH, Place, assert_same_run, metrics, state_number};

/// The keys of a record of `metrics.jsonl`, in order.
fn keys(line: &str) -> Vec<String> {
    let record: Value = serde_json::from_str(line).unwrap();
    record.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_run_leaves_what_the_manual_says() {
    let place = Place::new();
    let done = place.train("a", "--epochs 2 --seed 3").ok();
    for name in [
        "config.toml",
        "vocab.json",
        "metrics.jsonl",
        "report.html",
        "samples/epoch-1.txt",
        "samples/epoch-2.txt",
        "checkpoints/step-16/model.safetensors",
        "checkpoints/step-16/optimizer.safetensors",
        "checkpoints/step-16/state.json",
        "best/model.safetensors",
        "last/state.json",
    ] {
        assert!(place.path("a").join(name).is_file(), "{name}");
    }
    let last = fs::read_link(place.path("a/last")).unwrap();
    assert_eq!(last.to_str(), Some("checkpoints/step-16"));

    let log = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len() as u64, 2 * EPOCH + 2);
    let step = "event step epoch loss ce accuracy grad_norm lr loss_scale tokens_per_s crc32";
    assert_eq!(keys(lines[0]).join(" "), step);
    let epoch = keys(lines[EPOCH as usize]);
    for key in
        "event epoch train_loss train_accuracy valid_loss valid_accuracy seconds".split_whitespace()
    {
        assert!(epoch.iter().any(|k| k == key), "{key} is not in {epoch:?}");
    }
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&first["step"], &first["epoch"]), (&1.into(), &1.into()));
    // The loss includes the L2 term, the cross-entropy does not.
    assert!(first["loss"].as_f64() > first["ce"].as_f64());
    assert_eq!(first["lr"], 1.8e-4);
    // Before it has learned, the model is near the entropy of equal chances.
    let vocab: Value =
        serde_json::from_slice(&fs::read(place.path("a/vocab.json")).unwrap()).unwrap();
    assert_eq!(vocab["kind"], "char");
    let chance = (vocab["tokens"].as_array().unwrap().len() as f64).ln();
    assert!(
        (first["ce"].as_f64().unwrap() - chance).abs() < 0.1,
        "{first}"
    );

    // Progress on stderr, the sample on stdout.
    for words in [
        "corpus: ",
        "device: cpu",
        "step 1/8  epoch 1/2",
        "epoch 2/2",
        "ETA",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    // One unit of speed.
    assert_eq!(done.stderr.matches(" characters/s").count(), 17);
    assert!(!done.stderr.contains("tokens/s"), "{}", done.stderr);
    assert_eq!(done.stdout.chars().count(), 501, "{}", done.stdout);
    assert!(!done.stderr.contains('\x1b') && !done.stdout.contains('\x1b'));
}

#[test]
fn quiet_says_nothing_but_the_sample() {
    let place = Place::new();
    let done = place.train("a", "--max-steps 2 --quiet").ok();
    assert_eq!(done.stderr, "");
    assert_eq!(done.stdout.chars().count(), 501);
}

#[test]
fn log_every_thins_the_records() {
    let place = Place::new();
    place.train("a", "--epochs 1 --log-every 3").ok();
    let steps: Vec<String> = metrics(&place.path("a"));
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert!(steps[1].contains("\"step\":6,"), "{steps:?}");
}

// ---- settings ------------------------------------------------------------------------------

/// A key of the run's resolved configuration.
fn setting(place: &Place, run: &str, key: &str) -> String {
    let text = fs::read_to_string(place.path(run).join("config.toml")).unwrap();
    let start = format!("{key} = ");
    let line = text.lines().find(|l| l.starts_with(&start));
    line.unwrap_or_else(|| panic!("{key} in {text}"))[start.len()..].to_owned()
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_preset() {
    let place = Place::new();
    place.write(
        "my.toml",
        "seq-length = 20\nlearning-rate = 0.5\nseed = 9\n",
    );
    place
        .run(
            "train-charlm --corpus text.py --valid-fraction 0.2 --hidden-size 16 --max-steps 0 \
             --preset quick --config my.toml --batch-size 3 --learning-rate 0.25 --out a",
        )
        .ok();
    for (key, value) in [
        ("batch-size", "3"),
        ("learning-rate", "0.25"),
        ("seq-length", "20"),
        ("seed", "9"),
        ("epochs", "2"),
        ("num-layers", "2"),
        ("corpus", "[\"text.py\"]"),
    ] {
        assert_eq!(setting(&place, "a", key), value, "{key}");
    }
    // The resolved configuration is itself a configuration file.
    place
        .run("train-charlm --config a/config.toml --max-steps 3 --out b")
        .ok();
    place
        .run("train-charlm --out a --resume --max-steps 3")
        .ok();
    assert_same_run(&place.path("a"), &place.path("b"));
}

/// A setting that nobody has typed is told with the preset that has it.
#[test]
fn a_preset_that_contradicts_the_run_is_named() {
    let place = Place::new();
    let flags = "train-charlm --corpus text.py --valid-fraction 0.2 --hidden-size 16 --seq-length 20 \
                 --learning-rate 2e-3 --max-steps 0 --quiet --out a";
    place.run(&format!("{flags} --batch-size 3")).ok();
    let resume = "train-charlm --out a --resume --max-steps 1 --preset quick";
    let words = [
        "--resume: preset quick: batch-size = 64 contradicts the saved run, which has batch-size = 3",
        "Leave the preset out",
    ];
    let own = "--seq-length 20";
    place.run(&format!("{resume} {own}")).fails(2, &words);
    // What is typed is told as ever.
    let words = [
        "--resume: batch-size = 64 contradicts the saved run",
        "Leave it out",
    ];
    let typed = format!("{resume} {own} --batch-size 64");
    place.run(&typed).fails(2, &words);
    place.run(&format!("{resume} {own} --batch-size 3")).ok();
}

#[test]
fn a_configuration_file_is_refused_with_its_line() {
    let place = Place::new();
    place.write("bad.toml", "seed = 1\nhiden-size = 3\n");
    place
        .train("a", "--config bad.toml")
        .fails(2, &["bad.toml:2:", "hiden-size", "\"hidden-size\""]);
    place
        .train("a", "--config none.toml")
        .fails(2, &["none.toml", "check the path"]);
    assert!(!place.path("a").exists());
}

#[test]
fn without_shuffle_the_first_batch_is_the_start_of_the_text() {
    // Two texts that agree in the first batch (4 windows of 17) give the same first step.
    let place = Place::new();
    let text = super::support::python(19);
    let (head, tail) = text.split_at(4 * 17);
    let reversed: String = tail.chars().rev().collect();
    place.write("other.py", format!("{head}{}", reversed.trim_start()));
    let first = |out: &str, flags: &str| {
        place.train(out, &format!("--max-steps 1 {flags}")).ok();
        metrics(&place.path(out)).remove(0)
    };
    let ordered = first("a", "--no-shuffle");
    assert_eq!(ordered, first("b", "--no-shuffle --corpus other.py"));
    assert_ne!(ordered, first("c", ""));
    assert_ne!(first("d", ""), first("e", "--corpus other.py"));
}

// ---- weights from elsewhere ----------------------------------------------------------------

#[test]
fn max_steps_0_imports_weights() {
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    // As torch exports them: both biases used, halves of one file.
    let mut file = TensorFile::load(&place.path("a/last/model.safetensors")).unwrap();
    for (name, tensor) in &mut file.tensors {
        if name.contains("bias_hh") {
            let values = tensor.data.iter_mut().enumerate();
            values.for_each(|(i, x)| *x = 0.01 * i as f32 - 0.3);
        }
    }
    file.save(&place.path("torch.safetensors")).unwrap();
    place
        .train(
            "b",
            "--max-steps 0 --init-from torch.safetensors --vocab a/vocab.json",
        )
        .ok();
    let made = TensorFile::load(&place.path("b/last/model.safetensors")).unwrap();
    assert_eq!(
        made.tensors.keys().collect::<Vec<_>>(),
        file.tensors.keys().collect::<Vec<_>>()
    );
    for (name, tensor) in &made.tensors {
        let mut expected = file.tensors[name].clone();
        if name.contains("bias_hh") {
            expected.data.fill(0.0);
        } else if name.contains("bias_ih") {
            let other = &file.tensors[&name.replace("_ih_", "_hh_")];
            let pairs = expected.data.iter_mut().zip(&other.data);
            pairs.for_each(|(a, b)| *a += b);
        }
        assert_eq!(tensor, &expected, "{name}");
    }
    assert_eq!(state_number(&place.path("b"), "step"), 0);
    assert_eq!(fs::read(place.path("b/metrics.jsonl")).unwrap(), b"");
    // What was imported can be used and trained on.
    place.run("generate b --prompt def --length 5 --quiet").ok();
    place.train("b", "--resume --max-steps 2").ok();
}

#[test]
fn weights_come_from_a_file_a_run_or_a_checkpoint() {
    let place = Place::with_run("a", "--epochs 2 --quiet");
    let best = fs::read_link(place.path("a/best")).unwrap();
    let checkpoint = format!("a/{}", best.display());
    for (out, from) in [
        ("file", format!("{checkpoint}/model.safetensors")),
        ("run", "a".into()),
        ("checkpoint", checkpoint.clone()),
        ("link", "a/best".into()),
    ] {
        let flags = format!("--max-steps 3 --seed 5 --init-from {from}");
        place.train(out, &flags).ok();
        assert_same_run(&place.path("file"), &place.path(out));
    }
    // A fresh optimizer and another loss than without: the weights were taken.
    assert_eq!(state_number(&place.path("file"), "adam_step"), 3);
    place.train("plain", "--max-steps 3 --seed 5").ok();
    assert_ne!(
        metrics(&place.path("plain"))[0],
        metrics(&place.path("file"))[0]
    );
}

#[test]
fn a_run_lends_its_vocabulary_with_its_weights() {
    let place = Place::with_run("a", "--max-steps 1 --quiet");
    // A part of the characters: on its own this text would have a smaller vocabulary.
    place.write("part.py", "def load(x):\n    return x\n".repeat(30));
    place
        .train("b", "--corpus part.py --max-steps 1 --init-from a")
        .ok();
    let vocab = |run: &str| fs::read(place.path(run).join("vocab.json")).unwrap();
    assert_eq!(vocab("a"), vocab("b"));
    // A character that the lender does not know.
    place.write("more.py", super::support::python(19) + "Q = 1\n");
    place
        .train("c", "--corpus more.py --init-from a")
        .fails(3, &["'Q'", "vocabulary"]);
    assert!(!place.path("c").exists());
}

#[test]
fn force_replaces_a_run_and_only_what_is_rnnxs() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    place.write("a/notes.txt", "mine");
    place.train("b", "--max-steps 3 --seed 8").ok();
    // The run may even be replaced by one that starts from its own weights.
    place.train("a", "--force --max-steps 3 --seed 8").ok();
    assert_same_run(&place.path("a"), &place.path("b"));
    assert_eq!(fs::read(place.path("a/notes.txt")).unwrap(), b"mine");
    place.train("a", "--force --init-from a --max-steps 0").ok();
    let model = |run: &str| fs::read(place.path(run).join("last/model.safetensors")).unwrap();
    assert!(model("a") == model("b"));
}
