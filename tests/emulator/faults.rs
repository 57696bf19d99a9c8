//! Planted faults: each must be caught, and the same launch without the fault must pass.

use crate::support::*;
use rnnx::device::driver::Launch;
use rnnx::device::emulated::Emulated;

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn a_missing_barrier_is_a_race_that_names_both_lines() {
    let io = || [give(&ramp(64)), fresh::<f32>(64)];
    let out = run(Launch::new("fault_none", 1, 64), &io());
    let reversed: Vec<f32> = (0..64).rev().map(|i| i as f32).collect();
    assert_eq!(get::<f32>(&out[1]), reversed);

    for (kernel, lines) in [
        ("fault_missing_barrier", [7, 9]),
        ("fault_missing_second_barrier", [19, 21]),
    ] {
        for schedule in SCHEDULES {
            let message = fault(schedule, Launch::new(kernel, 1, 64), &io());
            for line in lines {
                assert!(message.contains(&format!("faults.cu:{line}")), "{message}");
            }
            assert!(message.contains("no barrier orders"), "{message}");
        }
    }
}

#[test]
fn an_access_outside_of_a_buffer_names_kernel_and_thread() {
    let x = || give(&ramp(32));
    let launch = Launch::new("fault_stray_write", 1, 32);
    run(launch, &[x(), number(0)]);
    let message = fault(0, launch, &[x(), number(1)]);
    assert!(message.contains("block (0, 0, 0) thread 31"), "{message}");
    assert!(
        message.contains("4 bytes at byte 128 of a buffer of 128 bytes"),
        "{message}"
    );
    let message = fault(0, launch, &[x(), number(-1)]);
    assert!(
        message.contains("thread 0") && message.contains("byte -4"),
        "{message}"
    );

    let launch = Launch::new("fault_stray_read", 1, 32);
    run(launch, &[x(), fresh::<f32>(32), number(0)]);
    for shift in [1, -1, i32::MAX, i32::MIN] {
        fault(1, launch, &[x(), fresh::<f32>(32), number(shift)]);
    }
    fault(
        0,
        Launch::new("fault_stray_shared", 1, 32),
        &[fresh::<f32>(32)],
    );
    let message = fault(0, launch, &[Buf::Null, fresh::<f32>(32), number(0)]);
    assert!(message.contains("null pointer"), "{message}");
}

#[test]
fn a_write_through_a_plain_pointer_hits_a_sentinel() {
    let launch = Launch::new("fault_plain_pointer", 1, 1);
    run(launch, &[give(&ramp(32)), number(31u32)]);
    for n in [32u32, 33, 64] {
        let message = fault(0, launch, &[give(&ramp(32)), number(n)]);
        let byte = 4 * n;
        assert!(message.contains(&format!("at byte {byte}")), "{message}");
    }
}

#[test]
fn a_thread_that_returns_before_a_barrier_is_named() {
    for schedule in SCHEDULES {
        let launch = Launch::new("fault_early_return", 2, 64);
        run(launch, &[fresh::<f32>(64), number(64u32)]);
        let message = fault(schedule, launch, &[fresh::<f32>(64), number(63u32)]);
        assert!(message.contains("thread 63 returned"), "{message}");
        assert!(message.contains("faults.cu:"), "{message}");

        let launch = Launch::new("fault_early_return_from_warp", 1, 32);
        run(launch, &[fresh::<f32>(32), number(32u32)]);
        let message = fault(schedule, launch, &[fresh::<f32>(32), number(31u32)]);
        assert!(message.contains("thread 31 returned"), "{message}");
    }
}

#[test]
fn barriers_and_collectives_that_do_not_meet() {
    for schedule in SCHEDULES {
        let y = || [fresh::<f32>(64)];
        let message = fault(
            schedule,
            Launch::new("fault_divergent_barriers", 1, 64),
            &y(),
        );
        assert!(message.contains("different barriers"), "{message}");
        let message = fault(
            schedule,
            Launch::new("fault_divergent_collectives", 1, 32),
            &y(),
        );
        assert!(
            message.contains("shfl_idx") && message.contains("shfl_xor"),
            "{message}"
        );
        let message = fault(schedule, Launch::new("fault_not_in_mask", 1, 32), &y());
        assert!(message.contains("not in its own mask"), "{message}");
        let launch = Launch::new("fault_early_return_from_warp", 1, 31);
        let message = fault(schedule, launch, &[fresh::<f32>(64), number(64u32)]);
        assert!(message.contains("names lanes"), "{message}");
    }
}

#[test]
fn every_fault_at_a_barrier_of_some_warps_is_caught() {
    let io =
        |threads: usize, count: u32| [give(&ramp(threads)), fresh::<f32>(threads), number(count)];
    let out = run(Launch::new("fault_meeting_none", 1, 64), &io(64, 64));
    let exchanged: Vec<f32> = (0..64).map(|i| (i ^ 32) as f32).collect();
    assert_eq!(get::<f32>(&out[1]), exchanged);
    // A third warp, which the barrier tells nothing, reads what the second one wrote.
    for (kernel, threads, count, words) in [
        ("fault_meeting_none", 96, 64, "no barrier orders"),
        ("fault_meeting_missing", 64, 64, "no barrier orders"),
        ("fault_meeting_alone", 64, 64, "waits for ever"),
        ("fault_meeting_two_numbers", 64, 64, "waits for ever"),
        (
            "fault_meeting_two_places",
            64,
            64,
            "barrier 1: threads wait at",
        ),
        ("fault_meeting_none", 64, 48, "barrier 1 of 48 threads"),
        ("fault_meeting_none", 64, 0, "barrier 1 of 0 threads"),
        ("fault_meeting_none", 64, 96, "barrier 1 of 96 threads"),
    ] {
        for schedule in SCHEDULES {
            let message = fault(
                schedule,
                Launch::new(kernel, 1, threads as u32),
                &io(threads, count),
            );
            assert!(message.contains(words), "{kernel}: {message}");
            let named = count != 64 || message.contains("faults.cu:");
            assert!(named, "{message}");
        }
    }
}

#[test]
fn unaligned_vector_accesses() {
    for kernel in ["fault_unaligned_load", "fault_unaligned_store"] {
        let bufs = [give(&ramp(8)), fresh::<f32>(8)];
        let message = fault(0, Launch::new(kernel, 1, 1), &bufs);
        assert!(message.contains("not aligned to 16 bytes"), "{message}");
    }
}

#[test]
fn memory_that_nobody_wrote_is_nan() {
    let bufs = [fresh::<f32>(32), fresh::<f32>(32)];
    let out = run(Launch::new("fault_uninitialised", 1, 32), &bufs);
    assert!(get::<f32>(&out[1]).iter().all(|x| x.is_nan()));
    let halves = get::<half::f16>(&out[0]);
    assert!(halves.iter().all(|x| x.is_nan()));
    let out = run(
        Launch::new("fault_uninitialised_shared", 1, 32),
        &[fresh::<f32>(32)],
    );
    assert!(get::<f32>(&out[0]).iter().all(|x| x.is_nan()));
}

#[test]
fn launches_that_cannot_be() {
    let x = || give(&ramp(32));
    let expect = |launch: Launch, bufs: &[Buf], text: &str| {
        let message = fault(0, launch, bufs);
        assert!(message.contains(text), "{message} lacks {text}");
    };
    let good = Launch::new("fault_stray_write", 1, 32);
    let io = || [x(), number(0)];
    expect(
        Launch::new("no_such_kernel", 1, 32),
        &[],
        "no kernel of this name",
    );
    expect(good, &[x()], "1 arguments, the kernel takes 2");
    expect(
        good,
        &[x(), number(0), number(0)],
        "3 arguments, the kernel takes 2",
    );
    expect(
        good,
        &[x(), number(0u64)],
        "argument 1 is u64, the kernel takes i32",
    );
    expect(
        good,
        &[x(), number(0u32)],
        "argument 1 is u32, the kernel takes i32",
    );
    expect(
        good,
        &[x(), x()],
        "argument 1 is a pointer, the kernel takes i32",
    );
    expect(good, &[number(1.0f32), number(0)], "argument 0 is f32");
    for (grid, threads, cluster, shared) in [
        ([1, 1, 1], 1025, 1, 0),
        ([1, 1, 1], 0, 1, 0),
        ([0, 1, 1], 32, 1, 0),
        ([1, 65536, 1], 32, 1, 0),
        ([1, 1, 65536], 32, 1, 0),
        ([1 << 31, 1, 1], 32, 1, 0),
        ([3, 1, 1], 32, 2, 0),
        ([16, 1, 1], 32, 16, 0),
        ([1, 1, 1], 32, 0, 0),
        ([1, 1, 1], 32, 1, 227 * 1024 + 1),
    ] {
        let launch = Launch {
            grid,
            block: threads,
            cluster,
            shared_bytes: shared,
            ..good
        };
        fault(0, launch, &io());
    }
    let out = [fresh::<f32>(32)];
    expect(
        Launch::new("fault_more_threads", 1, 65),
        &out,
        "65 threads a block: from 1 to 64",
    );
    expect(
        Launch::new("fault_too_much_shared", 1, 32),
        &out,
        "shared memory",
    );
}

#[test]
fn remote_stores_are_delivered_when_they_are_awaited_and_not_before() {
    let cluster = |kernel| Launch {
        cluster: 2,
        ..Launch::new(kernel, 4, 1)
    };
    let message = fault(0, cluster("fault_unawaited_store"), &[fresh::<f32>(1)]);
    assert!(message.contains("remote store"), "{message}");
    let message = fault(0, cluster("fault_no_cluster_arrive"), &[fresh::<f32>(1)]);
    assert!(message.contains("without having arrived"), "{message}");
    for schedule in SCHEDULES {
        let launch = cluster("fault_early_remote_read");
        let message = fault(schedule, launch, &[fresh::<f32>(4)]);
        assert!(message.contains("race"), "{message}");
    }
}

// ---- mbarriers ---------------------------------------------------------------------------------

fn exchange(kernel: &str) -> (Launch<'_>, [Buf; 1]) {
    let launch = Launch {
        cluster: 2,
        ..Launch::new(kernel, 4, 32)
    };
    (launch, [fresh::<f32>(4 * 32)])
}

#[test]
fn blocks_exchange_through_mbarriers() {
    let (launch, bufs) = exchange("fault_exchange_none");
    let out = run(launch, &bufs);
    for cluster in 0..2 {
        let mut v: Vec<f32> = (0..64).map(|i| (64 * cluster + i) as f32).collect();
        for _ in 0..4 {
            let sent = |i: usize| v[((i / 32) ^ 1) * 32 + (i + 1) % 32];
            v = (0..64).map(|i| v[i] + sent(i)).collect();
        }
        assert_eq!(get::<f32>(&out[0])[64 * cluster..][..64], v);
    }
}

#[test]
fn every_fault_of_an_exchange_is_caught() {
    // What the message says, by turns.
    for (kernel, words) in [
        ("fault_exchange_no_wait", &["the read at"][..]),
        ("fault_exchange_wrong_parity", &["the read at"]),
        ("fault_exchange_too_soon", &["the store of an st_async at"]),
        (
            "fault_exchange_early_exit",
            &["waits for ever", "has returned"],
        ),
        ("fault_exchange_not_expected", &["lacks 1 arrivals"]),
        (
            "fault_exchange_no_cluster_barrier",
            &["no mbarrier was made"],
        ),
        ("fault_unawaited_async_store", &["has returned"]),
    ] {
        for schedule in SCHEDULES {
            let (launch, bufs) = exchange(kernel);
            let message = fault(schedule, launch, &bufs);
            assert!(
                words.iter().any(|word| message.contains(word)),
                "{kernel}: {message}"
            );
            if message.contains("race") {
                let lines = message.matches("faults.cu:").count();
                assert_eq!(lines, 2, "{message}");
            }
        }
    }
}

#[test]
fn a_wait_for_a_lost_store_gives_up() {
    let (launch, bufs) = exchange("fault_exchange_none");
    for (lost, gave_up) in [(40, true), (100_000, false)] {
        let device = Emulated::new(0).losing(lost);
        let out = run_on(&device, &[(launch, &[0])], &bufs).unwrap();
        let y = get::<f32>(&out[0]);
        assert_eq!(y.iter().any(|y| y.is_nan() || *y < 0.0), gave_up);
    }
}
