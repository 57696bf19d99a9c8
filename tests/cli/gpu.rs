//! `--device emulated`: the GPU's kernels and launches, from the command line to the checkpoint.

use super::seq2seq;
use super::support::{Done, EPOCH, Place, assert_same_run, state_number, train_args};
use serde_json::Value;

/// The step records of a run.
fn steps(place: &Place, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|r| r["event"] == "step").collect()
}

fn losses(place: &Place, run: &str) -> Vec<f64> {
    steps(place, run)
        .iter()
        .map(|r| r["loss"].as_f64().unwrap())
        .collect()
}

fn assert_near(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (n, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() < tolerance * x, "step {n}: {x} and {y}");
    }
}

const STEPS: &str = "--max-steps 6 --log-every 1 --quiet";

#[test]
fn losses_agree_with_the_cpu_in_both_precisions() {
    let place = Place::new();
    place.train("cpu", &format!("{STEPS} --device cpu")).ok();
    place
        .train(
            "f32",
            &format!("{STEPS} --device emulated --precision fp32"),
        )
        .ok();
    place
        .train("f16", &format!("{STEPS} --device emulated"))
        .ok();
    let cpu = losses(&place, "cpu");
    // f32: other orders of sums. f16: 11 bits, in sums of a few dozen terms.
    assert_near(&cpu, &losses(&place, "f32"), 1e-4);
    assert_near(&cpu, &losses(&place, "f16"), 5e-3);
    assert!(
        steps(&place, "f32")
            .iter()
            .all(|r| r["loss_scale"].is_null())
    );
    assert!(
        steps(&place, "f16")
            .iter()
            .all(|r| r["loss_scale"].as_f64().is_some())
    );
}

#[test]
fn a_resumed_run_in_mixed_precision_has_the_same_bits() {
    let place = Place::new();
    let flags = "--device emulated --dropout 0.2 --quiet --log-every 1";
    let all = EPOCH + 2;
    place
        .train("whole", &format!("{flags} --max-steps {all}"))
        .ok();
    place.train("parts", &format!("{flags} --max-steps 3")).ok();
    place
        .train("parts", &format!("{flags} --max-steps {all} --resume"))
        .ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
}

#[test]
fn a_run_goes_on_on_the_other_device() {
    let place = Place::new();
    let first = "--max-steps 3 --log-every 1 --quiet";
    for (run, from, to) in [("there", "cpu", "emulated"), ("back", "emulated", "cpu")] {
        place.train(run, &format!("{first} --device {from}")).ok();
        place
            .train(run, &format!("{STEPS} --device {to} --resume"))
            .ok();
    }
    // The precision is the checkpoint's: the run that began on the CPU stays in fp32.
    assert!(
        steps(&place, "there")
            .iter()
            .all(|r| r["loss_scale"].is_null())
    );
    place
        .train(
            "there",
            "--max-steps 9 --device emulated --precision fp16 --resume",
        )
        .fails(2, &["precision = \"fp16\"", "fp32", "--init-from"]);
    place.train("cpu", &format!("{STEPS} --device cpu")).ok();
    for run in ["there", "back"] {
        assert_near(&losses(&place, "cpu"), &losses(&place, run), 5e-3);
    }
    let said = place
        .train("there", "--max-steps 7 --device emulated --resume")
        .ok()
        .stderr;
    assert!(said.contains("the run began in fp32"), "{said}");
}

#[test]
fn the_log_names_the_device_and_the_precision() {
    let place = Place::new();
    let run = place.train("run", "--max-steps 1 --device emulated").ok();
    assert!(
        run.stderr.contains("device: emulated") && run.stderr.contains("fp16"),
        "{}",
        run.stderr
    );
}

/// Of the published shape but smaller: whole sequences in one kernel, and step by step.
#[test]
fn whole_sequences_train_as_steps_do() {
    let place = Place::new();
    let flags = "--log-every 1 --hidden-size 64 --device emulated --recurrence";
    let train = |how: &str| {
        let flags = format!("--max-steps 4 {flags} {how}");
        place.train(how, &flags).ok().stderr
    };
    let said = train("whole");
    let line = "recurrence: lstm of 64 units, whole sequences (whole)";
    assert_eq!(said.matches("recurrence:").count(), 1, "{said}");
    assert!(
        said.contains(line) && said.contains("one captured graph"),
        "{said}"
    );
    let said = train("steps");
    assert!(!said.contains("recurrence:"), "{said}");
    let [whole, steps] = ["whole", "steps"].map(|run| losses(&place, run));
    // Products in another order, rounded to f16 after each step.
    assert_near(&whole, &steps, 2e-3);
    assert!(train("auto").contains("whole sequences (auto)"));
    assert_eq!(losses(&place, "auto"), whole);
    // A run goes on in the other way.
    place
        .train(
            "whole",
            &format!("{flags} steps --max-steps 5 --resume --quiet"),
        )
        .ok();
}

/// Each layer's gates at each step, each product, and their times are in the profile.
#[test]
fn a_profile_says_where_the_time_of_a_step_goes() {
    let place = Place::new();
    let flags = "bench charlm --batch-size 4 --seq-length 8 --hidden-size 16 --seconds 0.01 --json";
    let run = place.run(&format!("{flags} --device emulated --profile"));
    let json: Value = serde_json::from_str(&run.ok().stdout).unwrap();
    let profile = &json["charlm"]["profile"];
    let lines = profile["lines"].as_array().unwrap();
    let of = |what: &str| {
        let line = lines.iter().find(|line| line["what"] == what);
        line.unwrap_or_else(|| panic!("{what} in {profile:#}"))
    };
    // Two layers, eight steps.
    for gates in ["lstm_gates_fwd_f16", "lstm_gates_bwd_f16"] {
        assert_eq!(of(gates)["count"], 16);
        assert!(of(gates)["gflops"].is_null());
    }
    // The steps after the first multiply h [4, 16] by W_hh^T [16, 64].
    let product = of("gemm 4x64x16 f16");
    assert_eq!(product["count"], 14);
    assert!(product["gflops"].as_f64().unwrap() > 0.0);
    assert_eq!(json["charlm"]["graph"], true);
    assert!(json["charlm"]["graph_refused"].is_null());
    assert!(json["charlm"]["wall_ms_per_step"].as_f64() > json["charlm"]["ms_best"].as_f64());
    let ms = |value: &Value| value.as_f64().unwrap();
    let sum: f64 = lines.iter().map(|line| ms(&line["ms"])).sum();
    assert!((sum - ms(&profile["busy_ms"])).abs() < 1e-6 * sum);
    assert!(ms(&profile["total_ms"]) >= 0.99 * sum);
    assert!(lines.is_sorted_by(|a, b| ms(&a["ms"]) >= ms(&b["ms"])));
    let plain = place.run(&format!("{flags} --device emulated")).ok();
    let json: Value = serde_json::from_str(&plain.stdout).unwrap();
    assert!(json["charlm"]["profile"].is_null());
    place
        .run(&format!("{flags} --device cpu --profile"))
        .fails(2, &["--profile", "GPU"]);
}

/// A captured step and one that is issued call by call are the same work.
#[test]
fn the_graph_changes_no_bit() {
    let place = Place::new();
    let flags = "--device emulated --max-steps 6";
    let graph = place.train("graph", flags).ok();
    assert!(graph.stderr.contains("step: one captured graph"));
    let args = train_args("calls", flags);
    let output = place.command(&args).env("RNNX_GRAPH", "off").output();
    let calls = Done::of(output.unwrap()).ok();
    let why = "step: no graph, kernels one by one (RNNX_GRAPH=off)";
    assert!(calls.stderr.contains(why), "{}", calls.stderr);
    assert_same_run(&place.path("graph"), &place.path("calls"));
}

/// Work after which the device is lost in the fifth step.
const LOST_IN_STEP_5: u64 = 700;

/// A device that is lost in the middle of a step: exit code 4, and what was saved before is whole and goes
/// on to the bits of a run that lost nothing.
#[test]
fn a_run_on_a_device_that_is_lost_keeps_its_last_checkpoint() {
    let place = Place::new();
    let flags = "--device emulated --max-steps 6 --checkpoint-every 2";
    place.train("whole", flags).ok();
    place.train("until", "--device emulated --max-steps 4").ok();
    // Each step is the same work: `lost-after` is looked for until steps 4 and no more are saved.
    let lost = |name: &str, after: u64| {
        let args = train_args(name, flags);
        let mut command = place.command(&args);
        command.env("RNNX_EMULATED", format!("lost-after={after}"));
        Done::of(command.output().unwrap())
    };
    let run = lost("lost", LOST_IN_STEP_5);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let says = "the emulated device is lost, and the context is gone";
    assert!(
        run.stderr.contains(says) && run.stderr.contains("--resume"),
        "{}",
        run.stderr
    );
    assert_eq!(
        state_number(&place.path("lost"), "step"),
        4,
        "{}",
        run.stderr
    );
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &str| std::fs::read(place.path(run).join("last").join(file)).unwrap();
        assert!(bytes("lost") == bytes("until"), "{file}");
    }
    place.train("lost", &format!("{flags} --resume")).ok();
    assert_same_run(&place.path("whole"), &place.path("lost"));
    // A device that is lost at once leaves nothing, and says the same.
    let at_once = lost("at-once", 0);
    assert_eq!(at_once.code, Some(4), "{}", at_once.stderr);
    assert!(!place.path("at-once/last").exists());
}

/// Steps that the host does not wait for have the figures and the bits of those that it does.
#[test]
fn a_seq2seq_step_needs_no_answer() {
    let place = seq2seq::place();
    for (run, log_every) in [("each", 1), ("third", 3)] {
        let flags =
            format!("--model attention --device emulated --max-steps 6 --log-every {log_every}");
        seq2seq::train(&place, run, &flags).ok();
    }
    let (each, third) = (steps(&place, "each"), steps(&place, "third"));
    assert_eq!((each.len(), third.len()), (6, 2));
    for (a, b) in [&each[2], &each[5]].into_iter().zip(&third) {
        for key in ["step", "loss", "ce", "accuracy", "grad_norm", "loss_scale"] {
            assert_eq!(a[key], b[key], "{key}");
        }
    }
    for file in ["last/model.safetensors", "last/optimizer.safetensors"] {
        let bytes = |run: &str| std::fs::read(place.path(run).join(file)).unwrap();
        assert!(bytes("each") == bytes("third"), "{file}");
    }
}

/// Many streams of a text on the device: as many characters as asked for, the same for the same seed; in
/// fp32 the likeliest ones are the CPU's.
#[test]
fn streams_of_text_on_the_device() {
    let place = Place::new();
    place.train("run", "--max-steps 3 --quiet").ok();
    let generate = |flags: &str| {
        let words = "generate run --prompt def --length 6 --streams 3 --temperature 0";
        place.run(&format!("{words} {flags}")).ok()
    };
    let cpu = generate("");
    assert!(!cpu.stderr.contains("device:"), "{}", cpu.stderr);
    let device = generate("--device emulated --precision fp32");
    assert_eq!(device.stdout, cpu.stdout);
    assert!(
        device
            .stderr
            .contains("device: emulated device, schedule 0, fp32")
    );
    assert!(device.stderr.contains("18 characters"), "{}", device.stderr);
    let auto = generate("--device auto");
    assert_eq!(auto.stdout, cpu.stdout);
    let why = "(auto: from 64 streams on a GPU is taken; not measured)";
    assert!(
        auto.stderr.contains("device: cpu") && auto.stderr.contains(why),
        "{}",
        auto.stderr
    );
    let help = place.run("generate --help").ok().stdout;
    assert!(help.contains("64 streams"), "{help}");
}

/// The figures of text that is written on a device.
#[test]
fn writing_is_timed_on_the_device() {
    let place = Place::new();
    let small = "--hidden-size 8 --embedding-dim 4 --seconds 0.01 --device emulated --json";
    let done = place.run(&format!("bench generate {small}")).ok();
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let found = &json["generate"];
    assert_eq!(found["device"], "cpu");
    assert!(found["chars_per_s"].as_f64() > Some(0.0));
    assert_eq!(found["streams"]["streams"], 4);
    assert!(found["streams"]["chars_per_s"].as_f64() > Some(0.0));

    let place = seq2seq::place();
    let pairs = "--train train.jsonl --valid valid.jsonl --test test.jsonl --batch-size 3";
    for model in ["lstm", "attention"] {
        let words = format!("bench translate --model {model} {pairs} {small}");
        let json: Value = serde_json::from_str(&place.run(&words).ok().stdout).unwrap();
        let found = &json["translate"];
        assert_eq!(found["batch_size"], 3);
        assert!(found["device"].as_str().unwrap().contains("emulated"));
        assert!(found["models"][model]["tokens_per_s"].as_f64() > Some(0.0));
    }
}
