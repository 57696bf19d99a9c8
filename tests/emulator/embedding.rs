//! kernels/embedding.cu, whose rows are also those that a gather picks

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Threads that share a row of the sum over chunks, eight columns each.
const LANES: usize = 4;

/// Error of an f32 sum of n numbers below 1, for each of them.
const SUM: f32 = 2e-7;

fn embedding_of<T: Storage>(rows: usize, width: usize) {
    let (vocab, chunk) = (5usize, 100);
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
    // In chunks whose sums are then added up, and in one go.
    let chunks = rows.div_ceil(chunk);
    let bufs = [
        store::<T>(&dy),
        give(&ids),
        fresh::<f32>(chunks * vocab * width),
        number(rows as u32),
        number(width as u32),
        number(chunk as u32),
        number(0u32),
        give(&start),
        number(chunks as u32),
        number((vocab * width) as u32),
        number(1u32),
        number(LANES as u32),
    ];
    let grid = |chunks| [vocab as u32, chunks, width.div_ceil(64) as u32];
    let first = Launch {
        grid: grid(chunks as u32),
        ..Launch::new(&bwd, 1, 64)
    };
    let blocks = (vocab * width).div_ceil(8 * LANES) as u32;
    let second = Launch::new("column_sum_f32", blocks, 32);
    let launches: [(Launch, &[usize]); 2] = [
        (first, &[0, 1, 2, 3, 4, 5, 6]),
        (second, &[2, 7, 8, 9, 8, 11, 10]),
    ];
    let out = run_all(&launches, &bufs);
    assert_close(
        &bwd,
        &get::<f32>(&out[7]),
        &want,
        0.0,
        SUM * (rows + 1) as f32,
    );
    let whole = Launch {
        grid: grid(1),
        ..first
    };
    let out = run_all(&[(whole, &[0, 1, 7, 3, 4, 3, 10])], &bufs);
    assert_close(
        &bwd,
        &get::<f32>(&out[7]),
        &want,
        0.0,
        SUM * (rows + 1) as f32,
    );
}

#[test]
fn embeddings_and_their_gradients() {
    for rows in SIZES {
        for width in [1, 33, 65] {
            embedding_of::<f32>(rows, width);
            embedding_of::<f16>(rows, width);
        }
    }
}

/// The gradient in f16: summed in f32, rounded once, written or added.
#[test]
fn gathers_gradient_in_f16() {
    let (vocab, width) = (5usize, 33);
    for rows in SIZES {
        let dy = values::<f16>(rows * width, 5, 1.0);
        let start = values::<f16>(vocab * width, 6, 1.0);
        let ids: Vec<u32> = (0..rows as u32)
            .map(|r| [0, 1, 3, 4][r as usize % 4])
            .collect();
        for accumulate in [false, true] {
            let bufs = [
                store::<f16>(&dy),
                give(&ids),
                store::<f16>(&start),
                number(rows as u32),
                number(width as u32),
                number(rows as u32),
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
            let launch = Launch::new("gather_bwd_f16", vocab as u32, 64);
            let out = run(launch, &bufs);
            let bound = SUM * (rows + 1) as f32;
            assert_close(
                "gather_bwd_f16",
                &load::<f16>(&out[2]),
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
