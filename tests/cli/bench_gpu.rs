//! `rnnx bench hardware` and `rnnx bench recurrence`, and the table that `--recurrence auto` reads.

use super::support::{Done, Place};
use serde_json::Value;

fn bench(place: &Place, words: &str) -> Value {
    let done = place
        .run(&format!("bench {words} --seconds 0.01 --json -q"))
        .ok();
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn without_a_gpu_nothing_is_measured() {
    let place = Place::new();
    for kind in ["hardware", "recurrence"] {
        assert!(bench(&place, &format!("{kind} --device cpu"))[kind].is_null());
        let said = place
            .run(&format!("bench {kind} --device cpu --seconds 0.01"))
            .ok();
        assert!(
            said.stdout.contains("not measured: this is the CPU"),
            "{}",
            said.stdout
        );
    }
    let json = bench(&place, "hardware --device emulated");
    for size in ["4", "8", "16"] {
        assert_eq!(json["hardware"]["clusters_at_once"][size], 3);
    }
    assert!(json["hardware"]["mma_tflops"].as_f64().unwrap() > 0.0);
}

/// The emulated device's times mean nothing, but they choose.
#[test]
fn a_table_that_is_kept_decides() {
    let place = Place::new();
    let cache = place.path("cache");
    let with_cache = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = place.command(&words);
        command.env("XDG_CACHE_HOME", &cache);
        Done::of(command.output().unwrap())
    };
    let words = "bench recurrence --device emulated --seconds 0.01 --json";
    assert!(!with_cache(words).ok().stderr.contains("is kept in"));
    assert!(!cache.exists());
    let done = with_cache(&format!("{words} --keep")).ok();
    assert!(
        done.stderr.contains("the table is kept in"),
        "{}",
        done.stderr
    );
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let rows = json["recurrence"].as_array().unwrap();
    assert_eq!(rows.len(), 4); // two sizes, forward and both passes
    let mut files = std::fs::read_dir(cache.join("rnnx")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    for (whole, says) in [
        (1.0, "whole sequences (auto)"),
        (9.0, "auto: measured to be faster here"),
    ] {
        let mut table = json["recurrence"].clone();
        for row in table.as_array_mut().unwrap() {
            row["whole_us"] = whole.into();
            row["steps_us"] = 5.0.into();
        }
        std::fs::write(&file, table.to_string()).unwrap();
        let words = format!(
            "train-charlm --corpus text.py --valid-fraction 0.1 --out run{whole} --max-steps 1 \
             --hidden-size 64 --seq-length 8 --batch-size 3 --device emulated"
        );
        let said = with_cache(&words).ok().stderr;
        assert!(said.contains(says), "{said}");
    }
}
