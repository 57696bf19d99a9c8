//! What validates: tails, whole files, windows.

use serde_json::Value;

use super::support::{Place, python};

fn stats(place: &Place, flags: &str) -> Value {
    let line = format!("data stats --json --seq-length 16 --batch-size 4 {flags}");
    serde_json::from_str(&place.run(&line).ok().stdout).unwrap()
}

/// A folder of files, and a long text beside it.
fn place() -> Place {
    let place = Place::new();
    for i in 0..12 {
        place.write(&format!("code/part{i}.py"), python(6 + i % 3));
    }
    place.write("more.txt", python(40));
    place
}

#[test]
fn stats_tell_the_division_as_training_makes_it() {
    let place = place();
    for (split, words) in [
        ("tail", "the ends of 2 corpora"),
        ("files", "of 13 files, by the hash of their path"),
        ("windows", "windows drawn by seed"),
        ("end", "the end of the text"),
    ] {
        let flags =
            format!("--corpus code --corpus more.txt --valid-split {split} --valid-fraction 0.1");
        let told = stats(&place, &flags);
        assert_eq!(told["valid_split"], split);
        let done = place
            .train("a", &format!("{flags} --epochs 1 --force"))
            .ok();
        assert!(done.stderr.contains(words), "{split}: {}", done.stderr);
        let steps = super::support::state_number(&place.path("a"), "step");
        assert_eq!(told["steps_per_epoch"], steps, "{split}");
        let figures: Value = serde_json::from_str(&place.run("eval a --json").ok().stdout).unwrap();
        let windows = told["valid_windows"].as_u64().unwrap();
        assert_eq!(figures["characters"], 16 * windows, "{split}");
        let share = told["valid_chars"].as_f64().unwrap() / told["chars"].as_f64().unwrap();
        assert!((share - 0.1).abs() < 0.06, "{split}: {share}");
        let table = place.run(&format!("data stats {flags}")).ok().stdout;
        assert!(table.contains(words), "{split}: {table}");
    }
}

#[test]
fn whole_files_stay_out_while_others_are_added() {
    let place = place();
    let flags = "--corpus code --valid-split files --valid-fraction 0.2";
    let names = |told: &Value| -> Vec<String> {
        serde_json::from_value(told["valid_files"].clone()).unwrap()
    };
    let before = names(&stats(&place, flags));
    assert!((2..=3).contains(&before.len()), "{before:?}");
    for i in 0..4 {
        place.write(&format!("code/later/part{i}.py"), python(7));
    }
    let after = names(&stats(&place, flags));
    // No file that trained validates now.
    let joined = after.iter().filter(|name| !name.starts_with("later/"));
    for name in joined {
        assert!(
            before.contains(name),
            "{name} of {after:?}, before {before:?}"
        );
    }
    place.train("a", "--valid-split files").fails(
        3,
        &[
            "valid-split files",
            "text.py is one file",
            "tail or windows",
        ],
    );
    assert!(!place.path("a").exists());
}

#[test]
fn another_division_of_the_same_text_is_not_the_run_s() {
    let place = place();
    let train = |out: &str, flags: &str| {
        place
            .train(out, &format!("{flags} --epochs 1 --quiet"))
            .ok()
    };
    train("files", "--corpus code --valid-split files");
    train("tail", "--corpus text.py --corpus more.txt");
    // The same files under names whose hashes are others, and the same text in one file.
    place
        .sh("for i in code/*.py; do mv $i ${i%.py}b.py; done", &[])
        .ok();
    place.sh("cat text.py more.txt > both.txt", &[]).ok();
    for (run, corpus) in [("files", "code"), ("tail", "both.txt")] {
        let words = ["another part of it would validate", "restore it"];
        place
            .run(&format!("eval {run} --corpus {corpus}"))
            .fails(3, &words);
        place
            .run(&format!(
                "train-charlm --out {run} --resume --corpus {corpus} --epochs 2"
            ))
            .fails(3, &words);
    }
    // A corpus that moved as a whole is the same.
    place.sh("mkdir there; mv text.py more.txt there", &[]).ok();
    place
        .run("eval tail --corpus there/text.py --corpus there/more.txt")
        .ok();
}
