//! Runs the binary in a folder of its own, on a small text with a small model.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rnnx::files::TrainState;
use serde_json::Value;

pub use super::place::{Done, Place};

/// How a small model is trained, unless a test says otherwise.
const SMALL: [(&str, &str); 8] = [
    ("--corpus", "text.py"),
    ("--valid-fraction", "0.1"),
    ("--embedding-dim", "8"),
    ("--hidden-size", "16"),
    ("--num-layers", "2"),
    ("--seq-length", "16"),
    ("--batch-size", "4"),
    ("--log-every", "1"),
];

/// Training steps of an epoch of `text.py` with these flags.
pub const EPOCH: u64 = 8;

impl Place {
    /// A place that holds `text.py`.
    pub fn new() -> Self {
        let place = Place::empty();
        place.write("text.py", python(19));
        place
    }

    /// A place that holds the run `name`, trained with `flags`.
    pub fn with_run(name: &str, flags: &str) -> Self {
        let place = Place::new();
        place.train(name, flags).ok();
        place
    }

    /// Trains a small model into `out`; `flags` win over [`SMALL`].
    pub fn train(&self, out: &str, flags: &str) -> Done {
        self.run_args(&train_args(out, flags))
    }

    /// Runs a script of sh in this folder; `$0` is the program.
    pub fn sh(&self, script: &str, args: &[&str]) -> Done {
        let mut command = self.other("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_rnnx")])
            .args(args);
        Done::of(command.output().unwrap())
    }
}

/// The arguments that train a small model into `out`.
pub fn train_args<'a>(out: &'a str, flags: &'a str) -> Vec<&'a str> {
    let given: Vec<&str> = flags.split_whitespace().collect();
    let mut args = vec!["train-charlm", "--out", out];
    for (flag, value) in SMALL {
        if !given.contains(&flag) {
            args.extend([flag, value]);
        }
    }
    args.extend(given);
    args
}

/// Text that looks like Python: `functions` of them, 33 characters or a few more each.
pub fn python(functions: usize) -> String {
    (0..functions)
        .map(|i| {
            let name = ["load", "scan", "find", "join"][i % 4];
            format!("def {name}_{i}(x):\n    return {} * x\n", i * i % 11)
        })
        .collect()
}

// ---- JSON ----------------------------------------------------------------------------------

#[track_caller]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What a file of JSON holds.
#[track_caller]
pub fn json_of(place: &Place, file: &str) -> Value {
    json(&fs::read_to_string(place.path(file)).unwrap())
}

#[track_caller]
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

// ---- what a run left -----------------------------------------------------------------------

/// Two runs are the same: weights, optimizer, state, metrics, vocabulary, samples and best
/// checkpoint, bit for bit, but for the times in them.
#[track_caller]
pub fn assert_same_run(a: &Path, b: &Path) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let [x, y] = [a, b].map(|run| fs::read(run.join("last").join(file)).unwrap());
        assert!(x == y, "last/{file} of {} differs", b.display());
    }
    assert_eq!(state(a), state(b));
    assert_eq!(metrics(a), metrics(b));
    assert_eq!(
        fs::read(a.join("vocab.json")).unwrap(),
        fs::read(b.join("vocab.json")).unwrap()
    );
    let best = |run: &Path| fs::read(run.join("best/model.safetensors")).ok();
    assert!(best(a) == best(b), "best of {} differs", b.display());
    let [x, y] = [a, b].map(|run| snapshot(&run.join("samples")));
    assert!(x == y, "samples of {} differ", b.display());
}

/// `state.json` of the last checkpoint, without its line of time and the checksum over it.
pub fn state(run: &Path) -> String {
    let text = fs::read_to_string(run.join("last/state.json")).unwrap();
    let of_time = |l: &&str| l.contains("\"elapsed_seconds\"") || l.contains("\"sha256\"");
    let kept: Vec<&str> = text.lines().filter(|l| !of_time(l)).collect();
    assert_eq!(kept.len() + 2, text.lines().count());
    kept.join("\n")
}

/// Changes the `state.json` of the last checkpoint, whose checksum is then right.
pub fn change_state(run: &Path, change: impl FnOnce(&mut TrainState)) {
    let path = run.join("last/state.json");
    let mut state = TrainState::load(&path).unwrap();
    change(&mut state);
    state.save(&path).unwrap();
}

/// Takes from a run what an older version did not write: checksums, and what they are of.
pub fn age(run: &Path) {
    let config = run.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (settings, _) = text.split_once("\n# SHA-256").unwrap();
    fs::write(&config, settings).unwrap();
    for checkpoint in fs::read_dir(run.join("checkpoints")).unwrap() {
        let path = checkpoint.unwrap().path().join("state.json");
        let mut state = json(&fs::read_to_string(&path).unwrap());
        state["format_version"] = 1.into();
        let fields = state.as_object_mut().unwrap();
        for newer in ["sha256", "vocab_sha256", "settings"] {
            fields.remove(newer).unwrap();
        }
        fs::write(&path, format!("{state:#}\n")).unwrap();
    }
    let records = run.join("metrics.jsonl");
    let text = fs::read_to_string(&records).unwrap();
    let lines = text.lines().map(|line| {
        let (line, _) = line.split_once(",\"crc32\"").unwrap();
        format!("{line}}}\n")
    });
    fs::write(&records, lines.collect::<String>()).unwrap();
}

/// The lines of `metrics.jsonl` up to the time or rate that ends each of them, if there is one.
pub fn metrics(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let cut = |line: &str| {
        let at = line
            .find(",\"tokens_per_s\":")
            .or_else(|| line.find(",\"seconds\":"))
            .or_else(|| line.find(",\"decode_seconds\":"))
            .or_else(|| line.find(",\"crc32\":"));
        line[..at.expect("a record ends with a time, a rate or its checksum")].to_owned()
    };
    text.lines().map(cut).collect()
}

/// A number in `state.json` of the last checkpoint.
pub fn state_number(run: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(run.join("last/state.json")).unwrap();
    json(&text)[key].as_u64().unwrap()
}

/// Every file below `folder` with its content, and every link with its target, by path.
pub fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            continue;
        };
        for path in entries.map(|e| e.unwrap().path()) {
            let name = path.strip_prefix(folder).unwrap().to_path_buf();
            match fs::read_link(&path) {
                Ok(target) => files.push((name, target.to_str().unwrap().into())),
                Err(_) if path.is_dir() => folders.push(path),
                Err(_) => files.push((name, fs::read(&path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

// ---- runs under way ------------------------------------------------------------------------

/// A run under way, whose stderr goes to a file. It is ended when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(place: &Place, out: &str, flags: &str) -> Self {
        Self::of(place, &format!("{out}.log"), &train_args(out, flags))
    }

    /// The program with these arguments; `log` takes its stderr.
    pub fn of(place: &Place, log: &str, args: &[&str]) -> Self {
        Self::command(place, log, place.command(args))
    }

    /// This command; `log` takes its stderr.
    pub fn command(place: &Place, log: &str, command: Command) -> Self {
        Self::into(place, log, command, Stdio::null())
    }

    /// The same; `stdout` takes its results.
    pub fn into(place: &Place, log: &str, mut command: Command, stdout: Stdio) -> Self {
        let log = place.path(log);
        let child = command
            .stdout(stdout)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until stderr holds `words`.
    pub fn wait_for(&mut self, words: &str) {
        let log = self.log.clone();
        self.wait_until(words, || fs::read_to_string(&log).unwrap().contains(words));
    }

    /// Waits until `is` holds, which `what` names.
    pub fn wait_until(&mut self, what: &str, is: impl Fn() -> bool) {
        let began = Instant::now();
        while !is() {
            let ended = self.child.try_wait().unwrap();
            let log = || fs::read_to_string(&self.log).unwrap();
            assert!(ended.is_none(), "ended before `{what}`: {}", log());
            assert!(began.elapsed() < Duration::from_secs(60), "{}", log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends the signal of this name, as Ctrl-C (INT) in a terminal does.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status();
        assert!(kill.unwrap().success());
    }

    /// Interrupts it as Ctrl-C does: it says that all is saved, and how `out` goes on.
    #[track_caller]
    pub fn interrupt(self, out: &str) -> Done {
        self.signal("INT");
        let how = format!("--resume --out {out}\n");
        self.end().fails(130, &["everything is saved", &how])
    }

    #[cfg(unix)]
    /// Waits for the end, and returns the number of the signal that it was, if it was one.
    pub fn ended_by(mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.child.wait().unwrap().signal()
    }

    /// Waits for the end.
    pub fn end(mut self) -> Done {
        let status = self.child.wait().unwrap();
        Done::of(Output {
            status,
            stdout: Vec::new(),
            stderr: fs::read(&self.log).unwrap(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a test that failed; a process that has ended cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
