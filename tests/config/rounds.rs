//! Settings of local steps, and what contradicts them.

use super::*;

#[test]
fn what_contradicts_local_steps_is_told() {
    let check = |text: &str| {
        let table: Table = text.parse().unwrap();
        CharLmConfig::settings().check(&table)
    };
    for fine in [
        "",
        "outer-learning-rate = 0.7\nouter-momentum = 0.9",
        "local-steps = 5\nouter-momentum = 0.1\nmax-steps = 10\nvirtual-shards = 1\nreduce = \"exact\"",
    ] {
        check(fine).unwrap();
    }
    for (text, words) in [
        (
            "outer-momentum = 0.5",
            "outer-momentum = 0.5 without local-steps",
        ),
        (
            "local-steps = 5\nvirtual-shards = 8",
            "virtual-shards = 8 with local-steps = 5",
        ),
        (
            "local-steps = 5\nreduce = \"fast\"",
            "reduce = fast with local-steps = 5",
        ),
        (
            "local-steps = 5\nexchange = \"nccl\"",
            "exchange = nccl with local-steps = 5",
        ),
        (
            "local-steps = 5\nmax-steps = 7",
            "give a multiple of 5, as 10",
        ),
        (
            "local-steps = 5\neval-every = 3",
            "eval-every = 3 with local-steps = 5",
        ),
        (
            "local-steps = 5\ncheckpoint-every = 6",
            "checkpoint-every = 6 with",
        ),
    ] {
        let said = check(text).unwrap_err();
        assert_eq!(said.exit_code(), 2);
        assert!(said.to_string().contains(words), "{said}");
    }
}
