//! Ranks that train by themselves between two outer steps: the same bits each time, and over a resume,
//! with as many ranks.

use super::ranks::{as_rank, end, meeting, start, train};
use super::seq2seq;
use super::support::{Done, Place, assert_same_run, metrics, snapshot, state_number, train_args};

/// Rounds of three steps, two and one: an epoch has eight.
const LOCAL: &str = "--local-steps 3 --batch-size 4 --dropout 0.3 --epochs 2 --rank-timeout 60s --threads 1 \
                     --checkpoint-every 3 --eval-every 6 --keep 99";

#[test]
fn rounds_are_the_same_each_time_and_over_a_resume() {
    let place = Place::new();
    let args = train_args("whole", LOCAL);
    train(&place, 2, &args);
    assert_eq!(state_number(&place.path("whole"), "step"), 16);
    assert_eq!(state_number(&place.path("whole"), "ranks"), 2);
    train(&place, 2, &train_args("again", LOCAL));
    assert_same_run(&place.path("whole"), &place.path("again"));
    for (steps, resume) in [("3", ""), ("9", "--resume"), ("99", "--resume")] {
        let flags = format!("{LOCAL} --max-steps {steps} {resume}");
        train(&place, 2, &train_args("parts", &flags));
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
    // Each rank goes its own way in between.
    let every = LOCAL.replace("--local-steps 3", "--local-steps 1");
    train(&place, 2, &train_args("every", &every));
    assert_ne!(metrics(&place.path("whole")), metrics(&place.path("every")));
}

#[test]
fn ranks_are_part_of_the_run() {
    let place = Place::new();
    let begun = format!("{LOCAL} --max-steps 3 --quiet");
    train(&place, 2, &train_args("run", &begun));
    let before = snapshot(&place.path("run/checkpoints"));
    let resume = train_args("run", "--resume");
    for done in end(start(&place, 3, &resume)) {
        done.fails(2, &["begun by 2 ranks", "a start of 3", "--init-from"]);
    }
    place
        .run_args(&resume)
        .fails(2, &["begun by 2 ranks", "a start of 1"]);
    assert!(before == snapshot(&place.path("run/checkpoints")));
    // Its weights can begin another run.
    let other = "--init-from run --max-steps 1 --quiet";
    place.train("other", other).ok();
}

#[test]
fn one_rank_that_keeps_its_weights_trains_as_ever() {
    let place = Place::new();
    let flags = "--dropout 0.3 --epochs 2 --quiet";
    place.train("plain", flags).ok();
    let rounds = format!("{flags} --local-steps 3 --outer-learning-rate 1 --outer-momentum 0");
    place.train("rounds", &rounds).ok();
    let bytes = |run: &str| std::fs::read(place.path(run).join("last/model.safetensors")).unwrap();
    assert!(bytes("plain") == bytes("rounds"), "the weights differ");
    assert_eq!(
        metrics(&place.path("plain")),
        metrics(&place.path("rounds"))
    );
    let outer = format!("{flags} --local-steps 3");
    place.train("outer", &outer).ok();
    assert!(bytes("plain") != bytes("outer"), "no outer step was taken");
}

#[test]
fn a_rank_that_is_killed_in_a_round_costs_that_round() {
    let place = Place::new();
    train(&place, 2, &train_args("whole", LOCAL));
    let endless = LOCAL.replace("--epochs 2", "--epochs 100000");
    let mut ranks = start(&place, 2, &train_args("run", &endless));
    let begun = place.path("run/checkpoints/step-6");
    ranks[0].wait_until("begun", || begun.exists());
    ranks[1].signal("KILL");
    let [first, _] = <[Done; 2]>::try_from(end(ranks)).ok().unwrap();
    first.fails(1, &["rank 0: rank 1 is gone", "--resume"]);
    super::schedule::die_after(&place.path("run"), 6);
    train(&place, 2, &train_args("run", &format!("{LOCAL} --resume")));
    assert_same_run(&place.path("whole"), &place.path("run"));
}

#[test]
fn pairs_of_many_lengths_in_rounds() {
    let place = seq2seq::place();
    // The last step of an epoch has two pairs, and so a rank that has none.
    let flags = "--model attention --local-steps 2 --dropout 0.2 --teacher-forcing 0.5 --epochs 2 \
                 --threads 1 --rank-timeout 60s";
    train(&place, 3, &seq2seq::train_args("whole", flags));
    for (steps, resume) in [("4", ""), ("10", "--resume"), ("100", "--resume")] {
        let flags = format!("{flags} --max-steps {steps} {resume}");
        train(&place, 3, &seq2seq::train_args("parts", &flags));
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
}

#[test]
fn rounds_on_gpus_go_on_to_the_bit() {
    let place = Place::new();
    for precision in ["fp16", "fp32"] {
        let flags = format!(
            "--local-steps 2 --batch-size 4 --dropout 0.2 --device emulated --precision {precision} \
             --threads 1 --rank-timeout 60s"
        );
        let [whole, parts] = ["whole", "parts"].map(|name| format!("{name}-{precision}"));
        train(
            &place,
            2,
            &train_args(&whole, &format!("{flags} --max-steps 4")),
        );
        train(
            &place,
            2,
            &train_args(&parts, &format!("{flags} --max-steps 2")),
        );
        let resume = format!("{flags} --max-steps 4 --resume");
        train(&place, 2, &train_args(&parts, &resume));
        assert_same_run(&place.path(&whole), &place.path(&parts));
    }
}

#[test]
fn what_contradicts_local_steps_is_told() {
    let place = Place::new();
    for (flags, words) in [
        (
            "--local-steps 3 --virtual-shards 8",
            "virtual-shards = 8 with local-steps = 3",
        ),
        (
            "--local-steps 3 --max-steps 4",
            "give a multiple of 3, as 6",
        ),
        (
            "--outer-momentum 0.5",
            "outer-momentum = 0.5 without local-steps",
        ),
    ] {
        place.train("run", flags).fails(2, &[words]);
    }
    // One rank with rounds, and one without.
    let meeting = meeting(2);
    let group = ["--local-steps 3", ""].iter().enumerate();
    let group = group.map(|(rank, flags)| {
        let mut command = place.command(&train_args("run", flags));
        as_rank(&mut command, rank, &meeting);
        super::support::Running::command(&place, &format!("rank-{rank}.log"), command)
    });
    for done in end(group.collect()) {
        done.fails(
            1,
            &["rank 1 has no local-steps", "rank 0 has local-steps = 3"],
        );
    }
    assert!(!place.path("run").exists());
}
