//! Bank conflicts of shared memory are counted: known patterns, and the kernels of whole sequences.

use crate::support::*;
use rnnx::device::driver::{Driver, Launch};
use rnnx::device::emulated::{Emulated, SharedAccesses};

const SOURCE: &str = include_str!("../emulator_faults/primitives.cu");
const FORWARD: &str = include_str!("../../kernels/attention_whole_fwd.cu");
const BACKWARD: &str = include_str!("../../kernels/attention_whole_bwd.cu");
const LSTM: &str = include_str!("../../kernels/lstm_whole.cuh");

/// The counts of the line of `probe_banks` with this text: instructions, passes, conflicts, worst.
fn counts_of(found: &[SharedAccesses], text: &str) -> [u64; 4] {
    let kernel = SOURCE.find("KERNEL(probe_banks").unwrap();
    let at = kernel + SOURCE[kernel..].find(text).expect(text);
    let line = SOURCE[..at].lines().count() as u32;
    let mut of_line = found.iter().filter(|a| a.line == line);
    let a = of_line
        .next()
        .unwrap_or_else(|| panic!("no access in line {line}: {text}"));
    assert!(of_line.next().is_none() && a.file.ends_with("primitives.cu"));
    [a.instructions, a.passes, a.conflicts, a.worst.into()]
}

#[test]
fn known_patterns() {
    for schedule in SCHEDULES {
        let device = Emulated::new(schedule).counting_banks();
        let bufs = [give(&[1.0f32; 32]), fresh::<f32>(32)];
        let launch = Launch::new("probe_banks", 1, 32);
        run_on(&device, &[(launch, &[0, 1])], &bufs).unwrap();
        let found = device.shared_accesses();
        assert!(found.iter().all(|a| a.kernel == "probe_banks"));
        for (text, want) in [
            ("tile[i] = 1.0f", [33, 33, 0, 1]),
            ("rows[i] = half", [64, 64, 0, 1]),
            ("sum += tile[32 * lane]", [1, 32, 31, 32]),
            ("sum += tile[33 * lane]", [1, 1, 0, 1]),
            ("sum += tile[7]", [1, 1, 0, 1]),
            ("sum += tile[2 * lane]", [1, 2, 1, 2]),
            ("sum += tile[lane / 2 * 32]", [1, 16, 15, 16]),
            ("if (lane < 8)", [1, 8, 7, 8]),
            ("ld16(tile + 4 * lane)", [1, 4, 0, 1]),
            ("ld16(tile + 32 * lane)", [1, 32, 28, 8]),
            ("ldmatrix_x4(r, rows + 8 * lane)", [1, 4, 0, 1]),
            ("ldmatrix_x4(r, rows + 64 * lane)", [1, 32, 28, 8]),
        ] {
            assert_eq!(counts_of(&found, text), want, "{text}, schedule {schedule}");
        }
        // They are handed over once, and a device that does not count has none.
        assert!(device.shared_accesses().is_empty());
    }
    assert!(Emulated::new(0).shared_accesses().is_empty());
}

#[test]
fn stores_to_other_blocks_count_in_their_banks() {
    let device = Emulated::new(0).counting_banks();
    let launch = Launch {
        cluster: 2,
        ..Launch::new("fault_exchange_none", 4, 32)
    };
    run_on(&device, &[(launch, &[0])], &[fresh::<f32>(4 * 32)]).unwrap();
    let found = device.shared_accesses();
    let sent: Vec<_> = found.iter().filter(|a| a.what == "st_async").collect();
    // Four of each of four blocks, 32 words in a row.
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].instructions, sent[0].conflicts), (16, 0));
}

/// What the kernels do in one step more, per block and group of eight rows: instructions of a warp and
/// the passes that they take, by primitive. Beginning and end are those of both runs and fall away.
#[test]
fn a_step_of_whole_sequences_has_no_conflict() {
    for hidden in [64, 128, 256, 512] {
        let [forward, backward] = step_of(hidden);
        let (blocks, warps, slices) = (blocks_of(hidden), warps_of(hidden), hidden as u64 / 16);
        // A pass for each 128 bytes. Each warp reads all of h, or two gates of dz, 512 bytes at once, and the
        // weights beside those in registers, as many; its cell states, and where neighbours meet, halves.
        let wide = |instructions| [instructions, 4 * instructions];
        assert_eq!(
            of(&forward, "ldmatrix_x4_trans"),
            wide(warps * slices / 2),
            "{hidden}"
        );
        let beside = 2 * slices.saturating_sub(16);
        assert_eq!(of(&forward, "ld16"), wide(warps * beside), "{hidden}");
        assert_eq!(of(&forward, "read"), [2 * warps; 2], "{hidden}");
        assert_eq!(
            of(&backward, "ldmatrix_x4_trans"),
            wide(warps * slices),
            "{hidden}"
        );
        let held = match hidden {
            128 => 8,
            256.. => 28,
            _ => 2 * slices,
        };
        assert_eq!(
            of(&backward, "ld16"),
            wide(warps * (2 * slices - held)),
            "{hidden}"
        );
        // Cell states are written, and what is sent: within a block by an ordinary write.
        let sent = |all: &[SharedAccesses]| match blocks {
            1 => of(all, "write")[0],
            _ => of(all, "st_async")[0],
        };
        let own = if blocks == 1 { 2 * warps } else { 0 };
        assert_eq!(sent(&forward), warps * blocks + own, "{hidden}");
        let halves = if blocks == 1 { 5 * warps } else { 0 };
        assert_eq!(sent(&backward), 4 * warps * blocks + halves, "{hidden}");
        for a in [forward, backward].concat() {
            assert!(a.conflicts == 0 && a.worst == 1, "{a:?}");
        }
    }
}

fn blocks_of(hidden: usize) -> u64 {
    if hidden <= 128 { 1 } else { hidden as u64 / 64 }
}

fn warps_of(hidden: usize) -> u64 {
    hidden as u64 / blocks_of(hidden) / 8
}

fn of(all: &[SharedAccesses], what: &str) -> [u64; 2] {
    let these = all.iter().filter(|a| a.what == what);
    these.fold([0; 2], |[i, p], a| [i + a.instructions, p + a.passes])
}

/// The difference between five steps and four, of one group of rows, divided by the blocks: forward and
/// backward.
fn step_of(hidden: usize) -> [Vec<SharedAccesses>; 2] {
    let runs = [4, 5].map(|steps| passes(hidden, steps));
    difference(&runs, blocks_of(hidden))
}

fn difference(
    [short, long]: &[[Vec<SharedAccesses>; 2]; 2],
    blocks: u64,
) -> [Vec<SharedAccesses>; 2] {
    [0, 1].map(|pass| {
        let (short, long) = (&short[pass], &long[pass]);
        assert_eq!(short.len(), long.len());
        let pairs = short.iter().zip(long);
        let step = pairs.map(|(short, long)| SharedAccesses {
            instructions: (long.instructions - short.instructions) / blocks,
            passes: (long.passes - short.passes) / blocks,
            conflicts: long.conflicts - short.conflicts,
            ..long.clone()
        });
        step.filter(|a| a.instructions > 0).collect()
    })
}

/// What both kernels do in shared memory over eight rows of so many steps.
fn passes(hidden: usize, steps: usize) -> [Vec<SharedAccesses>; 2] {
    let (n, h) = (steps * 8, hidden);
    let device = Emulated::new(0).counting_banks();
    let zeros = |bytes: usize| {
        let at = device.alloc(bytes).unwrap();
        device.upload(at, &vec![0; bytes]).unwrap();
        at.into()
    };
    let [w_hh, x, y, gates, cells, h_n, c_n, fault, dz, dh, dc] = [
        8 * h * h,
        8 * n * h,
        2 * n * h,
        8 * n * h,
        4 * n * h,
        16 * h,
        32 * h,
        16,
        8 * n * h,
        32 * h,
        32 * h,
    ]
    .map(zeros);
    let null = rnnx::device::driver::DevicePtr::NULL.into();
    let sizes = [steps as u32, 8, 1, 1].map(Into::into);
    let forward = [
        &[
            w_hh, x, null, null, null, null, null, y, gates, cells, h_n, c_n, fault,
        ][..],
        &sizes,
    ];
    let backward = [
        &[
            w_hh, null, gates, cells, y, null, null, null, dz, null, dh, dc, fault,
        ][..],
        &sizes,
    ];
    let (backward, state) = (backward.concat(), [0u32.into()]);
    [
        ("fwd", forward.concat()),
        ("bwd", [&backward[..], &state].concat()),
    ]
    .map(|(pass, args)| {
        let kernel = format!("lstm_whole_{pass}_{hidden}");
        let (blocks, warps) = (blocks_of(hidden) as u32, warps_of(hidden) as u32);
        let launch = Launch {
            cluster: blocks,
            shared_bytes: 218 << 10,
            ..Launch::new(&kernel, blocks, 32 * warps)
        };
        device.launch(&launch, &args).unwrap();
        device.shared_accesses()
    })
}

/// Units of the decoder, blocks of its cluster, and positions of eight rows: more than a pass has threads.
const UNITS: usize = 64;
const BLOCKS: u64 = 2;
const SOURCES: [u32; 8] = [30, 17, 25, 9, 28, 30, 4, 21];

/// What the decoder with attention does in one step more: three places have conflicts. Rows whose positions begin
/// anywhere meet where a lane adds up its rows' projected values, and where two of a warp read their keys; the words
/// of dq are four apart.
#[test]
fn a_step_of_the_decoder_with_attention_conflicts_in_three_places() {
    let [forward, backward] = difference(&[4, 5].map(decoder_passes), BLOCKS);
    let sources = [
        (
            "_fwd.cu",
            FORWARD,
            "u32x2 gates = of.gates[of.place(me.own, p)]",
        ),
        ("_bwd.cu", BACKWARD, "u32 k = of.keys[p * KEY_PITCH + a]"),
        ("lstm_whole.cuh", LSTM, "st_async(map_remote(to, rank)"),
    ];
    let places = sources.map(|(file, source, text)| {
        let at = source.find(text).expect(text);
        (file, source[..at].lines().count() as u32)
    });
    let conflicts = |all: &[SharedAccesses]| {
        let conflicting = all.iter().filter(|a| a.conflicts > 0);
        let found = conflicting.map(|a| {
            let is_of = |(file, line): &(&str, u32)| a.file.ends_with(file) && a.line == *line;
            let place = places.iter().position(is_of);
            let place = place.unwrap_or_else(|| panic!("{a:?}"));
            (place, a.conflicts / BLOCKS, a.passes)
        });
        found.collect::<Vec<_>>()
    };
    assert_eq!(conflicts(&forward), [(0, 304, 768)]);
    assert_eq!(conflicts(&backward), [(2, 24, 76), (1, 58, 164)]);
}

/// What both of its kernels do in shared memory over eight rows of so many steps.
fn decoder_passes(steps: usize) -> [Vec<SharedAccesses>; 2] {
    let (n, h) = (steps * 8, UNITS);
    let (m, longest) = (SOURCES.iter().sum::<u32>() as usize, 30);
    let device = Emulated::new(0).counting_banks();
    let given = |bytes: &[u8]| {
        let at = device.alloc(bytes.len()).unwrap();
        device.upload(at, bytes).unwrap();
        at.into()
    };
    let zeros = |bytes: usize| given(&vec![0; bytes]);
    let mut spans = vec![0u32];
    for length in SOURCES {
        spans.push(spans[spans.len() - 1] + length);
    }
    let spans = given(bytemuck::cast_slice(&spans));
    let [w_hh, w_q, vector, bias, keys, projected] =
        [8 * h * h, 2 * h * h, 2 * h, 8 * h, 2 * m * h, 8 * m * h].map(zeros);
    let [x, y, gates, cells] = [8 * n * h, 2 * n * h, 8 * n * h, 4 * n * h].map(zeros);
    let [h_0, h_n] = [16 * h; 2].map(zeros);
    let [c_0, c_n, dh, dc] = [32 * h; 4].map(zeros);
    let [alpha, queries, before, de, fault] =
        [4 * n * longest, 20 * n * h, 2 * n * h, 4 * n * longest, 16].map(zeros);
    // dq and dz stand side by side.
    let sums = device.alloc(10 * n * h).unwrap();
    device.upload(sums, &vec![0; 10 * n * h]).unwrap();
    let dz = sums.offset(2 * h).into();
    let null = rnnx::device::driver::DevicePtr::NULL.into();
    let sizes = [steps, 8, m.next_multiple_of(16), longest, 5 * h].map(|n| (n as u32).into());
    let source = [vector, vector, keys, projected, spans];
    let forward = [
        &[w_hh, x, bias, w_q][..],
        &source,
        &[
            h_0, c_0, null, y, gates, cells, h_n, c_n, alpha, queries, fault,
        ],
        &sizes,
    ];
    let backward = [
        &[w_hh, w_q][..],
        &source,
        &[null, null, gates, cells, y, alpha, queries, h_0, c_0, null],
        &[dz, sums.into(), before, de, dh, dc, fault],
        &sizes,
    ];
    [("fwd", forward.concat()), ("bwd", backward.concat())].map(|(pass, args)| {
        let kernel = format!("attention_whole_{pass}_{UNITS}");
        let launch = Launch {
            cluster: BLOCKS as u32,
            shared_bytes: 218 << 10,
            ..Launch::new(&kernel, BLOCKS as u32, 128)
        };
        device.launch(&launch, &args).unwrap();
        device.shared_accesses()
    })
}
