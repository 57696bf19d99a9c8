//! Every launcher's variables, and what contradicts.

use super::*;

fn vars(text: &str) -> Variables {
    let pairs = text
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn who(text: &str) -> Who {
    Who::of(&vars(text)).unwrap()
}

/// Rank, size, local rank, local size.
fn numbers(text: &str) -> [usize; 4] {
    let who = who(text);
    [who.rank, who.size, who.local_rank, who.local_size]
}

const STEP: &str = "SLURM_STEP_ID=0 SLURM_JOB_ID=71 ";

#[test]
fn each_launcher_says_who_a_process_is() {
    assert_eq!(who(""), Who::alone());
    // A batch script of Slurm, and a shell in its allocation, are no ranks.
    assert_eq!(who("SLURM_PROCID=0 SLURM_NTASKS=4"), Who::alone());
    let shell = "SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_STEP_ID=4294967290";
    assert_eq!(who(shell), Who::alone());
    for (text, expected) in [
        ("RANK=1 WORLD_SIZE=4", [1, 4, 1, 4]),
        (
            "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2",
            [3, 4, 1, 2],
        ),
        (
            "OMPI_COMM_WORLD_RANK=5 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 \
             OMPI_COMM_WORLD_LOCAL_SIZE=4",
            [5, 8, 1, 4],
        ),
        ("PMI_RANK=1 PMI_SIZE=2", [1, 2, 1, 2]),
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=9 SLURM_NTASKS=11 SLURM_LOCALID=1 SLURM_NODEID=2 \
             SLURM_STEP_TASKS_PER_NODE=4(x2),3",
            [9, 11, 1, 3],
        ),
        // Slurm's own PMI, by which MPICH's processes go.
        (
            "PMI_RANK=9 PMI_SIZE=11 SLURM_STEP_ID=0 SLURM_PROCID=9 SLURM_NTASKS=11 SLURM_LOCALID=1 \
             SLURM_NODEID=2 SLURM_STEP_TASKS_PER_NODE=4(x2),3",
            [9, 11, 1, 3],
        ),
        // MPICH's mpirun in an allocation.
        (
            "PMI_RANK=5 PMI_SIZE=8 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=4 SLURM_STEP_ID=0 SLURM_PROCID=1 \
             SLURM_NTASKS=2",
            [5, 8, 1, 4],
        ),
        // torchrun started by srun, one a machine: its own numbers count.
        (
            "TORCHELASTIC_RUN_ID=x RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 \
             SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2",
            [5, 8, 1, 4],
        ),
        // mpirun in an allocation: its daemons are Slurm's tasks.
        (
            "OMPI_COMM_WORLD_RANK=5 OMPI_COMM_WORLD_SIZE=8 SLURM_STEP_ID=0 SLURM_PROCID=1 \
             SLURM_NTASKS=2",
            [5, 8, 5, 8],
        ),
        // A script that sets torch's names by Slurm's.
        (
            "RANK=5 WORLD_SIZE=8 SLURM_STEP_ID=0 SLURM_PROCID=5 SLURM_NTASKS=8 SLURM_LOCALID=1 \
             SLURM_TASKS_PER_NODE=4(x2) SLURM_NODEID=1",
            [5, 8, 1, 4],
        ),
    ] {
        assert_eq!(numbers(text), expected, "{text}");
    }
}

#[test]
fn a_task_of_slurm_knows_its_cpus() {
    let task = format!("{STEP} SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=6 ");
    for (text, cpus) in [
        ("SLURM_PROCID=1", Some(6)),
        ("SLURM_PROCID=1 RANK=1 WORLD_SIZE=2", Some(6)),
        // The task has several processes.
        (
            "SLURM_PROCID=1 RANK=1 WORLD_SIZE=8 TORCHELASTIC_RUN_ID=x",
            None,
        ),
        (
            "SLURM_PROCID=1 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=8",
            None,
        ),
    ] {
        assert_eq!(who(&format!("{task} {text}")).cpus, cpus, "{text}");
    }
}

#[test]
fn contradictions_name_both_sides() {
    for (text, words) in [
        ("RANK=1", ["RANK is set", "WORLD_SIZE is not"]),
        ("WORLD_SIZE=2", ["WORLD_SIZE is set", "RANK is not"]),
        ("RANK=2 WORLD_SIZE=2", ["RANK = 2", "WORLD_SIZE = 2"]),
        ("RANK=0 WORLD_SIZE=0", ["RANK = 0", "WORLD_SIZE = 0"]),
        ("RANK=-1 WORLD_SIZE=2", ["RANK = \"-1\"", "whole number"]),
        (
            "RANK=0 WORLD_SIZE=two",
            ["WORLD_SIZE = \"two\"", "whole number"],
        ),
        (
            "RANK=0 WORLD_SIZE=2 LOCAL_RANK=3 LOCAL_WORLD_SIZE=2",
            ["LOCAL_RANK = 3", "LOCAL_WORLD_SIZE = 2"],
        ),
        (
            "RANK=0 WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2",
            ["RANK = 0", "OMPI_COMM_WORLD_RANK = 1"],
        ),
        (
            "RANK=0 WORLD_SIZE=2 SLURM_STEP_ID=3 SLURM_PROCID=0 SLURM_NTASKS=4",
            ["WORLD_SIZE = 2", "SLURM_NTASKS = 4"],
        ),
        (
            "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 PMI_RANK=0 PMI_SIZE=2",
            ["OMPI_COMM_WORLD_RANK = 1", "PMI_RANK = 0"],
        ),
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=all",
            ["SLURM_CPUS_PER_TASK", "whole number"],
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_PORT=99999",
            ["MASTER_PORT", "whole number"],
        ),
    ] {
        let error = Who::of(&vars(text)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{text}");
        for word in words {
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }
}

/// Host and port.
fn place(text: &str) -> (String, u16) {
    let meeting = who(text).meeting.unwrap();
    (meeting.host, meeting.port)
}

#[test]
fn they_meet_where_the_launcher_says() {
    let torchrun = "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=29500 ";
    assert_eq!(place(torchrun), ("a".into(), 29500));
    let store = format!("{torchrun} TORCHELASTIC_USE_AGENT_STORE=True");
    assert_eq!(place(&store), ("a".into(), 29501));
    let slurm = format!("{STEP} SLURM_PROCID=0 SLURM_NTASKS=2 ");
    for (nodes, host) in [
        ("gpu[03-07,9],other", "gpu03"),
        ("one", "one"),
        ("a,b", "a"),
        ("rack[2,4]node[7-9]-ib", "rack2node7-ib"),
    ] {
        let (first, port) = place(&format!("{slurm} SLURM_STEP_NODELIST={nodes}"));
        assert_eq!(first, host, "{nodes}");
        assert!(PORTS.contains(&port));
    }
    // Rank 0 knows that it is not there.
    let elsewhere = format!("{slurm} SLURM_STEP_NODELIST=n[1-2] SLURM_NODEID=");
    assert_eq!(place(&format!("{elsewhere}0")).0, "n1");
    let lacks = who(&format!("{elsewhere}1")).meeting.unwrap_err();
    for words in ["SLURM_NODEID = 1", "not on the first", "MASTER_ADDR"] {
        assert!(lacks.contains(words), "{lacks}");
    }
    assert!(!lacks.contains("MASTER_PORT"), "{lacks}");
    // What Slurm says of its nodes is nothing to other launchers.
    let by_hand = "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1 SLURM_NODEID=x";
    assert_eq!(place(by_hand).0, "a");
    assert_eq!(place(&format!("{elsewhere}1 MASTER_ADDR=n2")).0, "n2");
    let other = slurm.replace("71", "72");
    let nodes = "SLURM_JOB_NODELIST=n";
    let [a, b] = [slurm, other].map(|text| place(&format!("{text} {nodes}")).1);
    assert_ne!(a, b, "two jobs meet at one port");
    let mpi = "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=0 \
               PMIX_NAMESPACE=4711 OMPI_COMM_WORLD_LOCAL_SIZE=";
    assert_eq!(place(&format!("{mpi}2")).0, "127.0.0.1");
    for (text, word) in [
        (format!("{mpi}1"), "MASTER_ADDR"),
        (format!("{mpi}1 MASTER_ADDR=a"), ""),
        ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a".into(), "MASTER_PORT"),
        ("RANK=0 WORLD_SIZE=2 MASTER_PORT=1".into(), "MASTER_ADDR"),
    ] {
        match who(&text).meeting {
            Ok(_) => assert_eq!(word, "", "{text}"),
            Err(lacks) => assert!(!word.is_empty() && lacks.contains(word), "{lacks}"),
        }
    }
}

#[test]
fn a_start_again_is_another_job() {
    let start = |n: u32| {
        let text =
            format!("RANK=0 WORLD_SIZE=2 TORCHELASTIC_RUN_ID=x TORCHELASTIC_RESTART_COUNT={n}");
        who(&text).job
    };
    assert_eq!(start(1), "x.1");
    assert_ne!(start(0), start(1));
}

#[test]
fn an_mpirun_is_told_from_the_others() {
    let of_mpi = |text: &str| who(text).is_of_mpi();
    assert!(of_mpi("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2"));
    assert!(of_mpi("PMI_RANK=0 PMI_SIZE=2"));
    for other in [
        "",
        "RANK=0 WORLD_SIZE=2",
        &format!("{STEP}SLURM_PROCID=0 SLURM_NTASKS=4"),
    ] {
        assert!(!of_mpi(other), "{other}");
    }
    // What is set by hand within an mpirun asks for TCP.
    let by_hand = "RANK=0 WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2";
    assert!(!of_mpi(by_hand));
}

#[test]
fn ranks_that_were_started_together_are_one_job() {
    let mpirun = "OMPI_COMM_WORLD_SIZE=2 PMIX_NAMESPACE=4711 SLURM_JOB_ID=71 OMPI_COMM_WORLD_RANK=";
    let torchrun = "WORLD_SIZE=2 TORCHELASTIC_RUN_ID=x SLURM_JOB_ID=71 RANK=";
    for (start, job) in [(mpirun, "4711"), (torchrun, "x")] {
        // Where mpirun was started there is no step, and each torchrun can be one.
        for (rank, step) in [(0, ""), (1, " SLURM_STEP_ID=0"), (1, " SLURM_STEP_ID=1")] {
            let text = format!("{start}{rank}{step} SLURM_PROCID=0 SLURM_NTASKS=1");
            assert_eq!(who(&text).job, job, "{text}");
        }
    }
    // Nor are groups one that were started by hand, each with its port.
    let [a, b] = [1, 2].map(|port| {
        let text = format!("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT={port}");
        who(&text).job
    });
    assert_ne!(a, b);
    // Slurm's own steps, and names set by hand in one, go by the step.
    for by in ["SLURM_PROCID=0 SLURM_NTASKS=2", "RANK=0 WORLD_SIZE=2"] {
        assert_eq!(who(&format!("{STEP} {by}")).job, "71.0", "{by}");
    }
}
