//! `rnnx study`: what it measures, keeps, prints and refuses.

use std::fs;

use rnnx::data::vocab::Vocab;
use rnnx::files::run::{RunFolder, STATE};
use rnnx::files::state::TrainState;
use rnnx::programs::charlm::config::CharLmConfig;
use rnnx::programs::charlm::study::held_out::{StudyText, TextOrder};
use rnnx::train::config_file::trained;
use serde_json::Value;

use super::seq2seq;
use super::support::{Place, json, python};

/// The flags of a run that keeps whole files out of training.
const FILES: &str = "--corpus code --valid-split files --valid-fraction 0.3 --max-steps 2";

/// A folder of twelve files with some eighty functions each.
fn place() -> Place {
    let place = Place::new();
    for i in 0..12 {
        place.write(&format!("code/part{i}.py"), python(80 + i % 3));
    }
    place
}

fn with_run() -> Place {
    let place = place();
    place.train("a", FILES).ok();
    place
}

fn names(files: &Value) -> Vec<&str> {
    let files = files.as_array().unwrap().iter();
    files.map(|file| file["name"].as_str().unwrap()).collect()
}

// ---- what it writes ------------------------------------------------------------------------

#[test]
fn a_study_of_the_files_that_a_run_did_not_train_on() {
    let place = with_run();
    let done = place.run("study a --quick --json").ok();
    let file = fs::read_to_string(place.path("a/study.json")).unwrap();
    assert_eq!(done.stdout, file);
    let study = json(&file);
    let stats = place
        .run(
            "data stats --json --corpus code --valid-split files --valid-fraction 0.3 \
             --seq-length 16 --batch-size 4",
        )
        .ok();
    let stats = json(&stats.stdout);
    assert_eq!(
        Value::from(names(&study["text"]["files"])),
        stats["valid_files"]
    );
    assert_eq!(study["text"]["characters"], stats["valid_chars"]);
    let model = &study["models"][0];
    assert_eq!((&model["name"], &model["step"]), (&"a".into(), &2.into()));
    // One pair of brackets a function, and every character in a class.
    let functions = study["text"]["files"].as_array().unwrap().len() as u64 * 80;
    let pairs = model["measures"]["closure"]["all"][0]["n"]
        .as_u64()
        .unwrap();
    assert!((functions..functions + 10).contains(&pairs), "{pairs}");
    let all = &model["measures"]["classes"]["all"];
    assert_eq!(all["n"], study["text"]["characters"]);
    let bits = all["bits"]["mean"].as_f64().unwrap();
    assert!((1.0..8.0).contains(&bits), "{bits}");
    // Nothing is measured twice, and the same file is written.
    let again = place.run("study a --quick").ok();
    assert!(
        !again.stderr.contains("a: bracket closure"),
        "{}",
        again.stderr
    );
    assert_eq!(
        fs::read_to_string(place.path("a/study.json")).unwrap(),
        file
    );
    for words in [
        "== Closing brackets ==",
        "by distance in characters",
        "dedent by one",
    ] {
        assert!(again.stdout.contains(words), "{words}: {}", again.stdout);
    }
    // The run's page shows it.
    place.run("report a").ok();
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    for words in [
        "Memory: a study",
        "Closing brackets",
        "Bits a character by class",
    ] {
        assert!(page.contains(words), "{words}");
    }
    // A run that takes the folder over has not been studied.
    place.train("a", &format!("{FILES} --force")).ok();
    assert!(!place.path("a/study.json").exists());
}

#[test]
fn several_runs_side_by_side() {
    let place = with_run();
    place.train("b/deep", &format!("{FILES} --seed 2")).ok();
    let done = place.run("study a b/deep --quick").ok();
    let study = json(&fs::read_to_string(place.path("study/study.json")).unwrap());
    let models = study["models"].as_array().unwrap();
    let names: Vec<_> = models.iter().map(|m| m["name"].as_str().unwrap()).collect();
    // The n-grams behind them are of the training text, which is the same.
    assert_eq!((&names[..2], names.len()), (&["a", "deep"][..], 7));
    let bits = |i: usize| &models[i]["measures"]["classes"]["all"]["bits"];
    assert_ne!(bits(0), bits(1));
    let words = |line: &str| {
        line.split_whitespace()
            .take(3)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let columns = |line: &&str| words(line) == ["n", "a", "deep"];
    assert!(done.stdout.lines().any(|l| columns(&l)), "{}", done.stdout);
    // Of the two the one that is there is not measured again.
    let third = place.run("study b/deep --quick -o study").ok();
    assert!(
        !third.stderr.contains("bracket closure"),
        "{}",
        third.stderr
    );
    let apart = place.train("c", "--corpus text.py --valid-split tail").ok();
    assert!(apart.stderr.contains("the end of the text"));
    place.write("other/x.py", python(60));
    place.write("other/y.py", python(70));
    place
        .train("c", &format!("{} --force", FILES.replace("code", "other")))
        .ok();
    let refused = place.run("study a c --quick");
    refused.fails(3, &["a and c", "different files", "--text"]);
    let both = place
        .run("study a c --quick --text other/x.py -o both")
        .ok();
    assert!(both.stdout.contains("1 files"), "{}", both.stdout);
}

#[test]
fn runs_that_differ_in_their_seed_alone_have_a_column_of_their_own() {
    let place = with_run();
    place.train("b", &format!("{FILES} --seed 2")).ok();
    // A model of the same sizes that has learnt nothing, with a longer window.
    let untrained = FILES.replace("--max-steps 2", "--max-steps 0 --seq-length 24");
    place.train("c", &untrained).ok();
    let done = place.run("study a b c --quick --svg").ok();
    let study = json(&fs::read_to_string(place.path("study/study.json")).unwrap());
    let recipe = |i: usize| &study["models"][i]["recipe"];
    assert_eq!(recipe(0)["alike"], recipe(1)["alike"]);
    assert_ne!(recipe(0)["alike"], recipe(2)["alike"]);
    assert_eq!(
        [recipe(0), recipe(1)].map(|r| r["seed"].as_u64()),
        [Some(1), Some(2)]
    );
    assert_eq!(
        [recipe(0), recipe(2)].map(|r| r["seq_length"].as_u64()),
        [Some(16), Some(24)]
    );
    assert!(study["models"][3].get("recipe").is_none());
    let bits = |i: usize| {
        let all = &study["models"][i]["measures"]["classes"]["all"];
        all["bits"]["mean"].as_f64().unwrap()
    };
    let (low, high) = (bits(0).min(bits(1)), bits(0).max(bits(1)));
    let seeds = format!("{:.3} [{low:.3}, {high:.3}]", (bits(0) + bits(1)) / 2.0);
    let rows: Vec<&str> = done.stdout.lines().collect();
    let head = rows.iter().position(|row| row.ends_with("a, 2 seeds"));
    let of_all = rows[head.unwrap() + 1];
    assert!(
        of_all.starts_with("all ") && of_all.ends_with(&seeds),
        "{of_all} {seeds}"
    );
    // Two checkpoints of one seed say nothing of chance.
    let [first, second] = ["a/checkpoints/step-2", "a"];
    let same = place.run(&format!("study {first} {second} --quick -o same"));
    let same = same.ok().stdout;
    assert!(
        same.contains("the runs") && !same.contains("seeds"),
        "{same}"
    );
    // Memory beside the window: the first context that is no shorter than it.
    let title = rows
        .iter()
        .position(|row| row.starts_with("memory and the window"));
    let row = |i: usize| {
        let cells = rows[title.unwrap() + 2 + i].split("  ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!([row(0)[0], row(0)[1], row(0)[4]], ["a", "16", "16"]);
    assert_eq!([row(2)[0], row(2)[1], row(2)[4]], ["c", "24", "32"]);
    let losses = &study["models"][2]["measures"]["context"]["all"]["losses"];
    let after = |k: u64| {
        let mut losses = losses.as_array().unwrap().iter();
        losses.find(|loss| loss["k"] == k).unwrap()["bits"]["mean"]
            .as_f64()
            .unwrap()
    };
    let saved = format!("{:.3}", after(32) - after(1024));
    assert!(row(2)[6].starts_with(&saved), "{:?}", row(2));
    // The figures, each a file that asks for nothing.
    for name in [
        "closing-brackets-type-accuracy",
        "closing-brackets-top-1",
        "truncated-context-bits-per-character",
    ] {
        let svg = fs::read_to_string(place.path(&format!("study/{name}.svg"))).unwrap();
        assert!(
            svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        for model in ["a ", "b ", "c ", "3-grams "] {
            let label = format!(">{model}");
            assert!(svg.contains(&label), "{name}: no {label}");
        }
        assert!(!svg.contains("<script") && !svg.contains("href"), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_goes_on() {
    use super::support::Running;

    let place = with_run();
    place.write("long.py", python(9000));
    let line = "study a --quick --text long.py -o out";
    let args: Vec<&str> = line.split_whitespace().collect();
    let mut run = Running::of(&place, "log", &args);
    run.wait_for("a: truncated context");
    run.signal("INT");
    run.end().fails(130, &["what is measured is kept"]);
    assert!(!place.path("out/study.json").exists());
    let done = place.run(line).ok();
    assert!(
        done.stderr.contains("a: truncated context"),
        "{}",
        done.stderr
    );
    assert!(
        !done.stderr.contains("a: bracket closure"),
        "{}",
        done.stderr
    );
    // A part that was damaged is measured again, be it the run's or a baseline's.
    let parts = fs::read_dir(place.path("out/study-parts")).unwrap();
    let closure = parts.map(|entry| entry.unwrap().path()).find(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.contains("by_distance_and_depth")
    });
    let closure = closure.unwrap();
    let text = fs::read_to_string(&closure).unwrap();
    fs::write(&closure, text.replacen("\"n\":", "\"n\":1", 1)).unwrap();
    let done = place.run(line).ok();
    for words in ["is damaged: it is measured again", ": bracket closure"] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    assert_eq!(fs::read_to_string(&closure).unwrap(), text);
}

// ---- what it reads -------------------------------------------------------------------------

#[test]
fn measures_without_events_say_why_they_are_blank() {
    let place = with_run();
    place.write("plain.py", "x_1 = 3\n".repeat(20));
    let done = place.run("study a --quick --text plain.py").ok();
    for words in [
        "blank: no bracket is closed in any file",
        "blank: no string is closed in any file",
        "blank: no file is longer than 1,024 characters",
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    // What the run trained on is gone: only what is counted there is blank.
    fs::remove_dir_all(place.path("code")).unwrap();
    let done = place.run("study a --quick --text plain.py -o out").ok();
    assert!(
        done.stdout.contains("blank: the training text"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr.contains("note: what counts names"),
        "{}",
        done.stderr
    );
    place
        .run("study a --quick")
        .fails(3, &["the run's data is not found", "--text"]);
}

#[test]
fn characters_that_a_vocabulary_lacks_are_left_out() {
    let place = with_run();
    place.write("odd.py", "return é\n".repeat(10));
    let done = place.run("study a --quick --json --text odd.py").ok();
    let study = json(&done.stdout);
    assert_eq!(study["text"]["left_out"], 10);
    assert_eq!(study["text"]["characters"], 80);
    place.write("none.py", "é");
    place
        .run("study a --quick --text none.py")
        .fails(3, &["none.py", "no character is left"]);
}

#[test]
fn files_beyond_max_chars_of_the_embedded_corpus_were_not_trained_on() {
    let place = Place::new();
    let flags = "train-charlm --out a --max-chars 30000 --max-steps 0 --hidden-size 4 \
                 --embedding-dim 4 --seq-length 16 --batch-size 4";
    place.run(flags).ok();
    let (run, checkpoint) = RunFolder::find(&place.path("a")).unwrap();
    let config: CharLmConfig = trained(&run, &checkpoint).unwrap();
    let state = TrainState::load(&checkpoint.join(STATE)).unwrap();
    let find = |max_chars| {
        let vocab = Vocab::read_chars(&run).unwrap();
        let order = TextOrder {
            paths: Vec::new(),
            max_chars,
        };
        StudyText::find(&run, &config, &state, vocab, &order).unwrap()
    };
    let text = find(300_000);
    let training = text.training.as_ref().unwrap();
    let seen: Vec<&str> = training.iter().map(|part| &*part.name).collect();
    assert!(!seen.is_empty() && text.files.len() > 1, "{seen:?}");
    assert!(text.files.iter().all(|file| !seen.contains(&&*file.name)));
    let total: usize = text.files.iter().map(|file| file.chars.len()).sum();
    assert!(total <= 300_000 && text.notes[0].contains("by the hash of their path"));
    // Fewer characters are fewer of the same files.
    let fewer = find(100_000);
    let is_there = |name: &str| text.files.iter().any(|file| file.name == name);
    assert!(fewer.files.len() < text.files.len());
    assert!(fewer.files.iter().all(|file| is_there(&file.name)));
    // The training part is 95 % of the text, in the order of the text.
    let trained: usize = training.iter().map(|part| part.ids.len()).sum();
    assert_eq!(trained, 28_500);
}

// ---- what it refuses -----------------------------------------------------------------------

#[test]
fn mistakes_are_named() {
    let place = with_run();
    place.train("tail", "--max-steps 0").ok();
    for (line, code, words) in [
        ("study", 2, vec!["<RUN>"]),
        ("study nothing", 3, vec!["nothing", "no such run"]),
        (
            "study tail --quick",
            3,
            vec!["--valid-split files", "--text FILE_OR_FOLDER"],
        ),
        ("study a --text gone.py", 3, vec!["gone.py", "no such file"]),
        ("study a --threads 0", 2, vec!["threads"]),
    ] {
        let done = place.run(line);
        assert_eq!(done.code, Some(code), "{line}: {}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{line}: {}", done.stderr);
        }
    }
    place.write("own/study.json", "{\"mine\": 1}");
    place
        .run("study a --quick -o own")
        .fails(2, &["own/study.json", "no study of rnnx", "-o"]);
    assert_eq!(
        fs::read(place.path("own/study.json")).unwrap(),
        b"{\"mine\": 1}"
    );
    // A study that cannot be read does not go by unnoticed.
    place.write("a/study.json", "{\"kind\": \"rnnx-study\"}");
    place
        .run("report a")
        .fails(3, &["a/study.json", "study the run again"]);
}

#[test]
fn runs_of_other_programs_are_refused() {
    let place = seq2seq::place();
    place
        .run_args(&seq2seq::train_args("s", "--model rnn --max-steps 0"))
        .ok();
    place
        .run("study s --quick")
        .fails(3, &["`seq2seq`", "not of `charlm`"]);
}
