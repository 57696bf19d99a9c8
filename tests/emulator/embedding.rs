//! kernels/embedding.cu, whose rows are also those that a gather picks

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Threads that share a row, eight columns each.
const LANES: usize = 4;

/// Rows of a list of the kernel.
const LIST: usize = 2048;

/// Error of an f32 sum of n numbers below 1, for each of them.
const SUM: f32 = 2e-7;

/// One list of rows, and several, the last of them with one row and with many.
const ROWS: [usize; 6] = [1, 7, 33, 2048, 2049, 4500];

/// Rows by list, then by id, then in their order; and where each id begins.
fn sorted(ids: &[u32], vocab: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut order, mut starts) = (vec![], vec![]);
    for (l, list) in ids.chunks(LIST).enumerate() {
        let mut rows: Vec<usize> = (0..list.len()).collect();
        rows.sort_by_key(|&i| list[i]);
        starts.extend((0..=vocab).map(|id| {
            let below = list.iter().filter(|&&other| (other as usize) < id);
            below.count() as u32
        }));
        order.extend(rows.into_iter().map(|i| (l * LIST + i) as u32));
    }
    (order, starts)
}

#[test]
fn rows_are_sorted_by_their_ids() {
    for rows in ROWS {
        for vocab in [1, 5, 3000] {
            let ids: Vec<u32> = (0..rows)
                .map(|r| (r * r % 31 * 97 % vocab) as u32)
                .collect();
            let lists = rows.div_ceil(LIST);
            let bufs = [
                give(&ids),
                fresh::<u32>(rows),
                fresh::<u32>(lists * (vocab + 1)),
                number(rows as u32),
                number(vocab as u32),
            ];
            let out = run(Launch::new("embedding_sort", lists as u32, 128), &bufs);
            let (order, starts) = sorted(&ids, vocab);
            assert_eq!(get::<u32>(&out[1]), order, "{rows} rows, {vocab} ids");
            assert_eq!(get::<u32>(&out[2]), starts, "{rows} rows, {vocab} ids");
        }
    }
}

fn embedding_of<T: Storage>(rows: usize, width: usize) {
    let vocab = 5usize;
    let table = values::<T>(vocab * width, 4, 1.0);
    let dy = values::<T>(rows * width, 5, 1.0);
    let start = values::<f32>(vocab * width, 6, 1.0);
    // Id 2 never occurs.
    let ids: Vec<u32> = (0..rows as u32)
        .map(|r| [0, 1, 3, 4, 3, 0, 3][r as usize % 7])
        .collect();
    let (fwd, bwd) = (
        format!("embedding_fwd_{}", T::SUFFIX),
        format!("embedding_bwd_{}", T::SUFFIX),
    );
    let bufs = [
        store::<T>(&table),
        give(&ids),
        fresh::<T>(rows * width),
        number(rows as u32),
        number(width as u32),
    ];
    let out = run(Launch::new(&fwd, 3, 32), &bufs);
    let want: Vec<f32> = ids
        .iter()
        .flat_map(|&id| table[id as usize * width..][..width].to_vec())
        .collect();
    assert_eq!(load::<T>(&out[2]), want);

    let mut want: Vec<f64> = start.iter().map(|&x| x.into()).collect();
    for (r, &id) in ids.iter().enumerate() {
        for j in 0..width {
            want[id as usize * width + j] += f64::from(dy[r * width + j]);
        }
    }
    // Each list's sums, which are then added up, and all lists in one go.
    let lists = rows.div_ceil(LIST);
    let (order, starts) = sorted(&ids, vocab);
    let bufs = [
        store::<T>(&dy),
        give(&order),
        give(&starts),
        fresh::<f32>(lists * vocab * width),
        number(rows as u32),
        number(width as u32),
        number(1u32),
        number(LANES as u32),
        number(0u32),
        give(&start),
        number(lists as u32),
        number((vocab * width) as u32),
        Buf::Null,
    ];
    let grid = |parts| [vocab as u32, parts, width.div_ceil(8 * LANES) as u32];
    let first = Launch {
        grid: grid(lists as u32),
        ..Launch::new(&bwd, 1, 64)
    };
    let blocks = (vocab * width).div_ceil(8 * LANES) as u32;
    let second = Launch::new("column_sum_f32", blocks, 32);
    let launches: [(Launch, &[usize]); 2] = [
        (first, &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (second, &[3, 9, 12, 10, 11, 11, 10, 7, 6]),
    ];
    let out = run_all(&launches, &bufs);
    let bound = SUM * (rows + 1) as f32;
    assert_close(&bwd, &get::<f32>(&out[9]), &want, 0.0, bound);
    let whole = Launch {
        grid: grid(1),
        ..first
    };
    let out = run_all(&[(whole, &[0, 1, 2, 9, 4, 5, 10, 7, 6])], &bufs);
    assert_close(&bwd, &get::<f32>(&out[9]), &want, 0.0, bound);
}

#[test]
fn embeddings_and_their_gradients() {
    for rows in ROWS {
        for width in [1, 33, 64] {
            embedding_of::<f32>(rows, width);
            embedding_of::<f16>(rows, width);
        }
    }
}

/// The gradient in f16: summed in f32, rounded once, written or added.
#[test]
fn gathers_gradient_in_f16() {
    let (vocab, width) = (5usize, 33);
    for rows in ROWS {
        let dy = values::<f16>(rows * width, 5, 1.0);
        let start = values::<f16>(vocab * width, 6, 1.0);
        let ids: Vec<u32> = (0..rows as u32)
            .map(|r| [0, 1, 3, 4][r as usize % 4])
            .collect();
        for accumulate in [false, true] {
            let (order, starts) = sorted(&ids, vocab);
            let bufs = [
                store::<f16>(&dy),
                give(&order),
                give(&starts),
                store::<f16>(&start),
                number(rows as u32),
                number(width as u32),
                number(rows.div_ceil(LIST) as u32),
                number(LANES as u32),
                number(u32::from(accumulate)),
            ];
            let mut want: Vec<f64> = match accumulate {
                true => start.iter().map(|&x| x.into()).collect(),
                false => vec![0.0; vocab * width],
            };
            for (r, &id) in ids.iter().enumerate() {
                for j in 0..width {
                    want[id as usize * width + j] += f64::from(dy[r * width + j]);
                }
            }
            let launch = Launch {
                grid: [vocab as u32, 1, width.div_ceil(8 * LANES) as u32],
                ..Launch::new("gather_bwd_f16", 1, 64)
            };
            let out = run(launch, &bufs);
            let bound = SUM * (rows + 1) as f32;
            assert_close(
                "gather_bwd_f16",
                &load::<f16>(&out[3]),
                &want,
                f16::ROUNDING,
                bound,
            );
        }
    }
}

/// An id outside of the table is caught where it is used.
#[test]
fn an_id_outside_of_the_table() {
    let bufs = [
        give(&[0.0f32; 8]),
        give(&[0u32, 4]),
        fresh::<f32>(4),
        number(2u32),
        number(2u32),
    ];
    fault(0, Launch::new("embedding_fwd_f32", 2, 32), &bufs);
}
