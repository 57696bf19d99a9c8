//! Ranks whose gradients go from device to device, over what stands for NCCL between emulated devices: the
//! same bits as one process, and what comes of a rank that has no NCCL, another one, or dies in an exchange.

use std::process::Stdio;

use super::ranks::{as_rank, end, meeting};
use super::seq2seq;
use super::support::{Done, Place, Running, assert_same_run, state_number, train_args};

/// What plants a fault in an emulated device: see `src/device/emulated/defects.rs`.
const PLANTED: &str = "RNNX_EMULATED";

/// One shard has no rows, and of three ranks two have two nodes of the tree.
const FLAGS: &str = "--virtual-shards 5 --batch-size 4 --dropout 0.2 --max-steps 3 --device emulated \
                     --rank-timeout 60s --threads 1";

const BY_DEVICE: &str = "exchange: emulated NCCL 2.27.5, from device to device";
const BY_HOST: &str = "exchange: through the hosts' memory";

/// Starts ranks with these arguments, of which one has a fault.
fn start(place: &Place, size: usize, args: &[&str], fault: Option<(usize, &str)>) -> Vec<Running> {
    let meeting = meeting(size);
    let start = |rank| {
        let mut command = place.command(args);
        as_rank(&mut command, rank, &meeting);
        if let Some((_, planted)) = fault.filter(|(at, _)| *at == rank) {
            command.env(PLANTED, planted);
        }
        command.stdin(Stdio::null());
        Running::command(place, &format!("rank-{rank}.log"), command)
    };
    (0..size).map(start).collect()
}

/// Trains with ranks that all end well, and returns what rank 0 says.
#[track_caller]
fn train(place: &Place, size: usize, args: &[&str], fault: Option<(usize, &str)>) -> String {
    let ended = end(start(place, size, args, fault));
    let said: Vec<String> = ended.into_iter().map(|done| done.ok().stderr).collect();
    assert!(said[1..].iter().all(String::is_empty), "{said:?}");
    said[0].clone()
}

#[test]
fn devices_exchange_and_give_the_bits_of_one_process() {
    let place = Place::new();
    place.run_args(&train_args("alone", FLAGS)).ok();
    for size in [2, 3, 4] {
        let out = format!("ranks-{size}");
        let said = train(&place, size, &train_args(&out, FLAGS), None);
        assert!(said.contains(BY_DEVICE), "{said}");
        assert_same_run(&place.path("alone"), &place.path(&out));
    }
    let flags = format!("{FLAGS} --exchange host");
    let said = train(&place, 2, &train_args("hosts", &flags), None);
    assert!(said.contains(BY_HOST), "{said}");
    assert_same_run(&place.path("alone"), &place.path("hosts"));
}

#[test]
fn pairs_go_from_device_to_device() {
    let place = seq2seq::place();
    let flags = "--model lstm --virtual-shards 4 --batch-size 3 --accumulate 2 --dropout 0.2 \
                 --teacher-forcing 0.5 --device emulated --precision fp32 --threads 1";
    let whole = format!("{flags} --max-steps 2");
    place.run_args(&seq2seq::train_args("alone", &whole)).ok();
    let said = train(&place, 2, &seq2seq::train_args("ranks", &whole), None);
    assert!(said.contains(BY_DEVICE), "{said}");
    assert_same_run(&place.path("alone"), &place.path("ranks"));
    // Over a resume with another number of ranks.
    for (size, steps) in [(3, "1"), (2, "2 --resume")] {
        let flags = format!("{flags} --max-steps {steps}");
        let said = train(&place, size, &seq2seq::train_args("parts", &flags), None);
        assert!(said.contains(BY_DEVICE), "{said}");
    }
    assert_same_run(&place.path("alone"), &place.path("parts"));
}

/// Two numbers have one sum, in whichever order the library adds them.
#[test]
fn fast_is_the_librarys_own_sum() {
    let place = Place::new();
    let flags = FLAGS.replace("--virtual-shards 5", "--virtual-shards 2");
    let fast = format!("{flags} --reduce fast");
    let said = train(&place, 2, &train_args("fast", &fast), None);
    assert!(said.contains(BY_DEVICE), "{said}");
    place.run_args(&train_args("two", &flags)).ok();
    let model = "last/model.safetensors";
    let bytes = |run: &str| std::fs::read(place.path(run).join(model)).unwrap();
    assert!(
        bytes("fast") == bytes("two"),
        "the sum of two is another one"
    );
}

// ---- what is wrong with a library ----------------------------------------------------------

#[test]
fn what_a_rank_lacks_is_a_note_and_the_hosts_exchange() {
    let place = Place::new();
    place.run_args(&train_args("alone", FLAGS)).ok();
    let cases = [
        (
            "nccl=none",
            "rank 1 has no NCCL: libnccl.so.2 was not found",
        ),
        (
            "nccl=2.18.5",
            "rank 1 has emulated NCCL 2.18.5, and rank 0 has emulated NCCL 2.27.5",
        ),
    ];
    for (planted, why) in cases {
        let out = format!("ranks-{planted}");
        let said = train(&place, 3, &train_args(&out, FLAGS), Some((1, planted)));
        let notes: Vec<&str> = said.lines().filter(|l| l.starts_with("exchange")).collect();
        assert_eq!(notes.len(), 1, "{said}");
        assert!(
            notes[0].starts_with(BY_HOST) && notes[0].contains(why),
            "{said}"
        );
        assert_same_run(&place.path("alone"), &place.path(&out));

        let flags = format!("{FLAGS} --exchange nccl");
        let args = train_args("wished", &flags);
        let ended = end(start(&place, 2, &args, Some((1, planted))));
        for (done, code) in ended.into_iter().zip([4, 1]) {
            done.fails(code, &["exchange = nccl", why, "exchange = host"]);
        }
        assert!(!place.path("wished").exists());
    }
}

#[test]
fn nccl_is_not_for_ranks_on_cpus() {
    let place = Place::new();
    let flags = FLAGS.replace("emulated", "cpu") + " --exchange nccl";
    let ended = end(start(&place, 2, &train_args("run", &flags), None));
    for (done, code) in ended.into_iter().zip([4, 1]) {
        done.fails(code, &["exchange = nccl", "rank 0 computes on the CPU"]);
    }
    // By itself a process exchanges with nobody.
    place.run_args(&train_args("alone", &flags)).ok();
}

// ---- a rank that is lost in an exchange ----------------------------------------------------

#[test]
fn one_that_dies_in_an_exchange_is_named_and_the_run_goes_on() {
    let place = Place::new();
    let flags = format!("{FLAGS} --checkpoint-every 1");
    place.run_args(&train_args("whole", &flags)).ok();
    // In the second step: of three ranks one has two nodes, and so a step two exchanges.
    for (lost, size, fault) in [(1, 3, "nccl-dies=4"), (0, 2, "nccl-dies=2")] {
        let out = format!("lost-{lost}");
        let ranks = start(&place, size, &train_args(&out, &flags), Some((lost, fault)));
        for (rank, done) in end(ranks).into_iter().enumerate() {
            if rank != lost {
                done.fails(
                    1,
                    &[&format!("rank {rank}: rank {lost} is gone"), "--resume"],
                );
            }
        }
        assert_eq!(state_number(&place.path(&out), "step"), 1);
        let resume = format!("{flags} --resume");
        train(&place, 2, &train_args(&out, &resume), None);
        assert_same_run(&place.path("whole"), &place.path(&out));
    }
}

#[test]
fn one_that_hangs_in_an_exchange_is_named_when_the_time_is_over() {
    let place = Place::new();
    let flags = FLAGS.replace("60s", "5s");
    let mut ranks = start(
        &place,
        3,
        &train_args("run", &flags),
        Some((1, "nccl-hangs=1")),
    );
    let hanging = ranks.remove(1);
    let ended: Vec<Done> = end(ranks);
    for done in ended {
        done.fails(1, &["rank 1 has said nothing for 5 s", "--rank-timeout"]);
    }
    drop(hanging);
}
