//! Ranks that exchange by MPI (cargo's feature `mpi`), started by Open MPI's mpirun: the same bits as
//! those of one process, and what becomes of the others where one is lost.

#[path = "support/place.rs"]
#[expect(dead_code, reason = "it is what all commands are tested with")]
mod place;
#[path = "cli/support.rs"]
#[expect(dead_code, reason = "as the one above")]
mod support;

use std::fs;
use std::process::Command;

use support::{Place, Running, assert_same_run, state_number, train_args};

const SHARDS: &str =
    "--virtual-shards 4 --batch-size 11 --dropout 0.3 --rank-timeout 60s --threads 1";

/// Writes its process's id, and is then the program.
const RANK: &str = "echo $$ > pid-$OMPI_COMM_WORLD_RANK; exec \"$@\"";

/// An mpirun of so many ranks as there are flags, each with its own.
fn mpirun(place: &Place, out: &str, flags: &[&str]) -> Command {
    let mut command = place.other("mpirun");
    let settings = [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        // One process may not read the memory of another in a container.
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ];
    command.envs(settings);
    for (rank, flags) in flags.iter().enumerate() {
        command.args(if rank == 0 {
            &["-n", "1"][..]
        } else {
            &[":", "-n", "1"]
        });
        command.args(["sh", "-c", RANK, "rank", env!("CARGO_BIN_EXE_rnnx")]);
        command.args(train_args(out, flags));
    }
    command
}

fn start(place: &Place, out: &str, flags: &[&str]) -> Running {
    Running::command(place, &format!("{out}.log"), mpirun(place, out, flags))
}

/// A run of two ranks that will not end, once it has begun; a rank waits so long for another.
fn begun(place: &Place, limit: &str) -> Running {
    let flags = SHARDS.replace("60s", limit);
    let flags = format!("{flags} --epochs 100000 --checkpoint-every 1");
    let mut run = start(place, "run", &[&flags[..]; 2]);
    let checkpoint = place.path("run/checkpoints/step-2");
    run.wait_until("begun", || checkpoint.exists());
    run
}

/// Sends the signal of this name to a rank.
fn signal(place: &Place, rank: usize, name: &str) {
    let pid = fs::read_to_string(place.path(&format!("pid-{rank}"))).unwrap();
    let sent = place
        .other("kill")
        .args([&format!("-{name}"), pid.trim()])
        .status();
    assert!(sent.unwrap().success());
}

/// Goes on for some steps as two ranks, and is then the run that one process trained at once.
#[track_caller]
fn goes_on(place: &Place) {
    let steps = state_number(&place.path("run"), "step") + 3;
    let flags = format!("{SHARDS} --epochs 100000 --max-steps {steps}");
    let resumed = format!("{flags} --resume");
    start(place, "run", &[&resumed[..]; 2]).end().ok();
    place.run_args(&train_args("alone", &flags)).ok();
    assert_same_run(&place.path("alone"), &place.path("run"));
}

#[test]
fn ranks_over_mpi_give_the_bits_of_one_process() {
    let place = Place::new();
    let flags = format!("{SHARDS} --epochs 2");
    place.run_args(&train_args("alone", &flags)).ok();
    for size in [2, 3] {
        let out = format!("ranks-{size}");
        let done = start(&place, &out, &vec![&flags[..]; size]).end().ok();
        let told = format!("ranks: {size}, started by Open MPI, over MPI");
        assert!(done.stderr.contains(&told), "{}", done.stderr);
        assert_same_run(&place.path("alone"), &place.path(&out));
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_others_and_the_run_goes_on() {
    let place = Place::new();
    let run = begun(&place, "60s");
    signal(&place, 1, "KILL");
    let done = run.end();
    // 128 and the signal's number.
    assert_eq!(done.code, Some(137), "{}", done.stderr);
    assert!(done.stderr.contains("rank 1"), "{}", done.stderr);
    goes_on(&place);
}

#[test]
fn a_rank_that_hangs_is_named_when_the_time_is_over() {
    let place = Place::new();
    let run = begun(&place, "2s");
    signal(&place, 1, "STOP");
    run.end().fails(
        1,
        &["rank 0: rank 1 has said nothing for 2 s", "--rank-timeout"],
    );
}

#[test]
fn an_interrupt_of_any_rank_ends_all_at_a_step_that_is_saved() {
    let place = Place::new();
    let run = begun(&place, "60s");
    signal(&place, 1, "INT");
    // Of whichever rank: mpirun may end before it has passed on the last words of one.
    run.end()
        .fails(130, &["interrupted at step", "everything is saved"]);
    goes_on(&place);
}

#[test]
fn ranks_that_are_not_alike_are_told() {
    let place = Place::new();
    let flags = ["--dropout 0.1", "--dropout 0.2"];
    start(&place, "run", &flags)
        .end()
        .fails(1, &["rank 1 has dropout = 0.2", "rank 0 has dropout = 0.1"]);
    assert!(!place.path("run").exists());
}

#[test]
fn an_mpirun_of_another_mpi_is_told() {
    let place = Place::new();
    let mut command = place.command(&train_args("run", ""));
    command.envs([("PMI_RANK", "0"), ("PMI_SIZE", "2")]);
    let done = Running::command(&place, "run.log", command).end();
    done.fails(2, &["MPI says rank 0 of 1", "rank 0 of 2", "built with"]);
}
