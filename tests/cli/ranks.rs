//! Several processes that train one model: the same bits for any number of them, and what is said
//! when one is missing, another, or gone.

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::seq2seq;
use super::support::{
    Done, Place, Running, assert_same_run, metrics, snapshot, state_number, train_args,
};

/// Groups of processes that this process has started.
static GROUPS: AtomicU32 = AtomicU32::new(0);

/// The variables of a group of `size`, which meets where nobody else does.
pub fn meeting(size: usize) -> Vec<(&'static str, String)> {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().min(60_000);
    let group = GROUPS.fetch_add(1, Ordering::SeqCst);
    vec![
        ("WORLD_SIZE", size.to_string()),
        ("LOCAL_WORLD_SIZE", size.to_string()),
        ("MASTER_ADDR", "127.0.0.1".into()),
        ("MASTER_PORT", port.to_string()),
        // As torchrun's: other tests that try the same ports are another group.
        (
            "TORCHELASTIC_RUN_ID",
            format!("{}-{group}", std::process::id()),
        ),
    ]
}

pub fn as_rank(command: &mut Command, rank: usize, meeting: &[(&'static str, String)]) {
    command.envs(meeting.iter().map(|(k, v)| (k, v)));
    let rank = rank.to_string();
    command.env("RANK", &rank).env("LOCAL_RANK", rank);
}

/// A group of ranks with these arguments.
pub fn start(place: &Place, size: usize, args: &[&str]) -> Vec<Running> {
    let meeting = meeting(size);
    let start = |rank| {
        let mut command = place.command(args);
        as_rank(&mut command, rank, &meeting);
        Running::command(place, &format!("rank-{rank}.log"), command)
    };
    (0..size).map(start).collect()
}

pub fn end(ranks: Vec<Running>) -> Vec<Done> {
    ranks.into_iter().map(Running::end).collect()
}

/// Trains with a group, all of which end well; what other ranks than 0 say is nothing.
#[track_caller]
pub fn train(place: &Place, size: usize, args: &[&str]) {
    for (rank, done) in end(start(place, size, args)).into_iter().enumerate() {
        let done = done.ok();
        assert!(rank == 0 || done.stderr.is_empty(), "{}", done.stderr);
    }
}

fn charlm<'a>(out: &'a str, flags: &'a str) -> Vec<&'a str> {
    train_args(out, flags)
}

const SHARDS: &str =
    "--virtual-shards 8 --batch-size 11 --dropout 0.3 --epochs 2 --rank-timeout 60s --threads 1";

#[test]
fn any_number_of_ranks_gives_the_same_bits() {
    let place = Place::new();
    place.run_args(&charlm("alone", SHARDS)).ok();
    for size in [2, 3, 8] {
        let out = format!("ranks-{size}");
        train(&place, size, &charlm(&out, SHARDS));
        assert_same_run(&place.path("alone"), &place.path(&out));
    }
    assert!(state_number(&place.path("alone"), "step") >= 4);
    // Shards draw their own masks, so their number is part of the run.
    let other = SHARDS.replace("--virtual-shards 8", "--virtual-shards 4");
    place.run_args(&charlm("other", &other)).ok();
    assert_ne!(metrics(&place.path("alone")), metrics(&place.path("other")));
}

#[test]
fn pairs_of_many_lengths_on_any_number_of_ranks() {
    let place = seq2seq::place();
    // The last step of an epoch has four pairs, and so shards that have none.
    let flags = "--model attention --virtual-shards 8 --batch-size 3 --accumulate 3 --dropout 0.2 \
                 --teacher-forcing 0.5 --epochs 2 --clip-norm 0.5 --threads 1";
    place.run_args(&seq2seq::train_args("alone", flags)).ok();
    for size in [2, 4] {
        let out = format!("ranks-{size}");
        train(&place, size, &seq2seq::train_args(&out, flags));
        assert_same_run(&place.path("alone"), &place.path(&out));
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let place = Place::new();
    let flags = format!("{SHARDS} --eval-every 2 --average 2 --checkpoint-every 2");
    place.run_args(&charlm("whole", &flags)).ok();
    for (size, steps) in [(2, "1"), (4, "3"), (1, "4"), (3, "99")] {
        let resume = match steps {
            "1" => "",
            _ => "--resume",
        };
        let flags = format!("{flags} --max-steps {steps} {resume}");
        train(&place, size, &charlm("parts", &flags));
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
    // What several ranks begin has shards without being told, and needs them from then on.
    train(&place, 2, &charlm("begun", "--max-steps 1 --quiet"));
    place
        .run("train-charlm --resume --out begun --max-steps 2")
        .ok();
    place
        .run("train-charlm --resume --out begun --virtual-shards 1")
        .fails(2, &["virtual-shards = 1", "virtual-shards = 8"]);
}

#[test]
fn shards_are_as_one_batch_but_for_rounding_and_masks() {
    let place = Place::new();
    let flags = "--dropout 0 --batch-size 11 --l2 0.01 --clip-norm 0.05 --max-steps 2 --quiet";
    place.train("whole", flags).ok();
    place
        .train("one", &format!("{flags} --virtual-shards 1"))
        .ok();
    assert_same_run(&place.path("whole"), &place.path("one"));
    place
        .train("parts", &format!("{flags} --virtual-shards 5"))
        .ok();
    near(&place);
    let place = seq2seq::place();
    let flags = "--model lstm --dropout 0 --batch-size 9 --max-steps 3 --quiet";
    seq2seq::train(&place, "whole", flags).ok();
    seq2seq::train(&place, "parts", &format!("{flags} --virtual-shards 4")).ok();
    near(&place);
}

/// Sums in another order, in f32, carried through some steps of Adam.
const ROUNDING: f64 = 2e-4;

#[track_caller]
fn near(place: &Place) {
    let of = |run: &str| {
        let events = super::schedule::events(&place.path(run));
        let steps = super::schedule::of_kind(&events, "step");
        let figures = |e: &&serde_json::Value| {
            ["loss", "ce", "accuracy", "grad_norm"].map(|k| e[k].as_f64().unwrap())
        };
        steps.iter().map(figures).collect::<Vec<_>>()
    };
    let (whole, parts) = (of("whole"), of("parts"));
    assert!(whole.len() > 1 && whole.len() == parts.len());
    for (a, b) in whole.as_flattened().iter().zip(parts.as_flattened()) {
        assert!(
            (a - b).abs() <= ROUNDING * a.abs(),
            "{whole:?} and {parts:?}"
        );
    }
}

#[test]
fn fast_takes_the_rows_of_a_rank_at_once() {
    let place = Place::new();
    let flags = format!("{SHARDS} --reduce fast");
    train(&place, 2, &charlm("fast", &flags));
    train(&place, 2, &charlm("again", &flags));
    assert_same_run(&place.path("fast"), &place.path("again"));
    let two = SHARDS.replace("--virtual-shards 8", "--virtual-shards 2");
    place.run_args(&charlm("two", &two)).ok();
    let model = "last/model.safetensors";
    let bytes = |run: &str| std::fs::read(place.path(run).join(model)).unwrap();
    assert!(bytes("fast") == bytes("two"), "a rank is not a shard");
}

// ---- what is wrong with a group ------------------------------------------------------------

/// Runs with the variables of a rank, all of a line.
fn with(place: &Place, variables: &str, args: &[&str]) -> Done {
    let mut command = place.command(args);
    command.envs(
        variables
            .split_whitespace()
            .filter_map(|v| v.split_once('=')),
    );
    Done::of(command.output().unwrap())
}

#[test]
fn a_wrong_group_is_told() {
    let place = Place::new();
    let args = charlm("run", "--rank-timeout 1s");
    with(&place, "RANK=0 WORLD_SIZE=2", &args).fails(2, &["MASTER_ADDR", "MASTER_PORT"]);
    with(&place, "RANK=0", &args).fails(2, &["RANK is set", "WORLD_SIZE is not"]);
    let both = "RANK=0 WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2";
    with(&place, both, &args).fails(2, &["RANK = 0", "OMPI_COMM_WORLD_RANK = 1"]);
    let here = "WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT=47113 TORCHELASTIC_RUN_ID=missing";
    with(&place, &format!("{here} RANK=0"), &args).fails(
        1,
        &["rank 0: ranks 1, 2 of 3 are missing", "127.0.0.1:47113"],
    );
    with(&place, &format!("{here} RANK=2"), &args).fails(1, &["rank 2: rank 0 is missing"]);
    assert!(!place.path("run").exists());
}

#[test]
fn ranks_that_are_not_alike_are_told() {
    let place = Place::new();
    let meeting = meeting(2);
    let group = |flags: [&str; 2]| {
        let ranks = flags.iter().enumerate().map(|(rank, flags)| {
            let mut command = place.command(&charlm("run", flags));
            as_rank(&mut command, rank, &meeting);
            Running::command(&place, &format!("rank-{rank}.log"), command)
        });
        end(ranks.collect())
    };
    for done in group(["--dropout 0.1", "--dropout 0.2"]) {
        done.fails(1, &["rank 1 has dropout = 0.2", "rank 0 has dropout = 0.1"]);
    }
    // Also what a run that goes on is free to change: all take the same steps.
    for done in group(["--max-steps 3", "--max-steps 5"]) {
        done.fails(1, &["rank 1 has max-steps = 5", "rank 0 has max-steps = 3"]);
    }
    for done in group(["", "--eval-every 2"]) {
        done.fails(
            1,
            &["rank 1 has eval-every = 2", "rank 0 has no eval-every"],
        );
    }
    for done in group(["--virtual-shards 1", "--virtual-shards 1"]) {
        done.fails(2, &["virtual-shards = 1", "2 ranks", "--init-from"]);
    }
    for done in group(["--corpus -", "--corpus -"]) {
        done.fails(2, &["--corpus -", "2 ranks", "file"]);
    }
    // One that fails before it begins does not leave the other waiting.
    let [first, second] = <[Done; 2]>::try_from(group(["", "--corpus none.py"]))
        .ok()
        .unwrap();
    second.fails(3, &["rank 1: ", "none.py"]);
    first.fails(1, &["rank 0: rank 1 is gone"]);
    assert!(!place.path("run").exists());
}

#[test]
fn a_group_whose_numbers_contradict_is_told() {
    let place = Place::new();
    let args = charlm("run", "--rank-timeout 20s");
    let base = meeting(2);
    let ended = |ranks: [(usize, usize); 2]| {
        let start = |(n, (rank, size)): (usize, (usize, usize))| {
            let mut command = place.command(&args);
            as_rank(&mut command, rank, &base);
            command.env("WORLD_SIZE", size.to_string());
            Running::command(&place, &format!("process-{n}.log"), command)
        };
        end(ranks.into_iter().enumerate().map(start).collect())
    };
    for done in ended([(0, 2), (1, 3)]) {
        done.fails(2, &["one of 3", "one of 2"]);
    }
    let doubled = "two processes say that they are rank 1 of 3";
    let meeting = base.clone();
    let start = |n: usize, rank: usize| {
        let mut command = place.command(&args);
        as_rank(&mut command, rank, &meeting);
        command.env("WORLD_SIZE", "3");
        Running::command(&place, &format!("process-{n}.log"), command)
    };
    let ranks = [start(0, 0), start(1, 1), start(2, 1)];
    let done: Vec<Done> = ranks.into_iter().map(Running::end).collect();
    let told = done.iter().filter(|done| done.stderr.contains(doubled));
    assert_eq!(told.count(), 3, "all are told");
}

#[test]
fn two_groups_do_not_train_in_one_folder() {
    let place = Place::new();
    let mut first = start(&place, 2, &charlm("run", "--epochs 100000"));
    let begun = place.path("run/last");
    first[0].wait_until("begun", || begun.exists());
    let mut command = place.command(&charlm("run", "--resume"));
    as_rank(&mut command, 0, &meeting(1));
    let done = Done::of(command.stderr(Stdio::piped()).output().unwrap());
    done.fails(2, &["is training this run"]);
    first[1].signal("INT");
    for done in end(first) {
        done.fails(130, &["interrupted at step", "everything is saved"]);
    }
}

// ---- a rank that is lost -------------------------------------------------------------------

#[test]
fn a_rank_that_is_killed_ends_the_others_and_the_run_goes_on() {
    let place = Place::new();
    let flags = format!("{SHARDS} --checkpoint-every 1 --keep 99");
    place.run_args(&charlm("whole", &flags)).ok();
    for lost in [0, 2] {
        let out = format!("lost-{lost}");
        let args = flags.replace("--epochs 2", "--epochs 100000");
        let mut ranks = start(&place, 3, &charlm(&out, &args));
        let begun = place.path(&out).join("checkpoints/step-2");
        ranks[0].wait_until("begun", || begun.exists());
        ranks[lost].signal("KILL");
        for (rank, done) in end(ranks).into_iter().enumerate() {
            if rank != lost {
                done.fails(
                    1,
                    &[&format!("rank {rank}: rank {lost} is gone"), "--resume"],
                );
            }
        }
        // As the run that never stopped was at this step; then it goes on as that did.
        let last = std::fs::read_dir(place.path(&out).join("checkpoints"))
            .unwrap()
            .count();
        assert!(last >= 2);
        super::schedule::die_after(&place.path(&out), 2);
        train(&place, 2, &charlm(&out, &format!("{flags} --resume")));
        assert_same_run(&place.path("whole"), &place.path(&out));
    }
}

#[test]
fn a_rank_that_hangs_is_named_when_the_time_is_over() {
    let place = Place::new();
    let flags = SHARDS
        .replace("--epochs 2", "--epochs 100000")
        .replace("60s", "2s");
    let mut ranks = start(&place, 2, &charlm("run", &flags));
    let begun = place.path("run/metrics.jsonl");
    ranks[0].wait_until("begun", || begun.exists());
    ranks[1].signal("STOP");
    let hanging = ranks.pop().unwrap();
    for done in end(ranks) {
        done.fails(
            1,
            &["rank 0: rank 1 has said nothing for 2 s", "--rank-timeout"],
        );
    }
    drop(hanging);
}

/// A launcher may end rank 0 when another has ended.
#[test]
fn another_rank_does_not_end_before_rank_0() {
    let place = seq2seq::place();
    let args = seq2seq::train_args("run", "--model lstm --max-steps 2 --threads 1");
    let meeting = meeting(2);
    // Rank 0 cannot end while its results have no room in a pipe that nobody reads.
    let (mut results, writer) = io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    let filled = thread::spawn(move || filling.write_all(&[b' '; 1 << 20]));
    let mut first = place.command(&args);
    as_rank(&mut first, 0, &meeting);
    let mut first = Running::into(&place, "rank-0.log", first, writer.into());
    let mut second = place.command(&args);
    as_rank(&mut second, 1, &meeting);
    let mut second = Running::command(&place, "rank-1.log", second);
    let metrics = place.path("run/metrics.jsonl");
    let is_tested = || {
        let text = std::fs::read_to_string(&metrics).unwrap_or_default();
        text.contains("\"event\":\"test\"")
    };
    first.wait_until("tested", is_tested);
    let began = Instant::now();
    let is_over = || began.elapsed() > Duration::from_millis(300);
    second.wait_until("rank 0 ends", is_over);
    let said = io::read_to_string(&mut results).unwrap();
    assert!(said.contains("BLEU"), "{said}");
    filled.join().unwrap().unwrap();
    for done in [first.end(), second.end()] {
        done.ok();
    }
}

#[test]
fn other_ranks_write_nothing() {
    let place = Place::new();
    train(
        &place,
        2,
        &charlm("run", &format!("{SHARDS} --tensorboard --average 2")),
    );
    place
        .run_args(&charlm(
            "alone",
            &format!("{SHARDS} --tensorboard --average 2"),
        ))
        .ok();
    let names = |run: &str| {
        let files = snapshot(&place.path(run)).into_iter().map(|(name, _)| name);
        // An event file is called after its time and process.
        let files = files.filter(|name| !name.starts_with("tensorboard"));
        files.collect::<Vec<_>>()
    };
    assert_eq!(names("run"), names("alone"));
}
