//! kernels/rnn.cu against the formula in f64.

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// One step of a batch of which rows from `next` on end with it: with all operands, with the input
/// side alone, and with a gate table.
fn forward<T: Storage>(rows: usize, hidden: usize, next: usize) {
    let (n, vocab) = (rows * hidden, 6);
    let z = values::<f32>(n, 1, 1.5);
    // Two layers that take turns in the rows have a bias each.
    let ways = 2;
    let (x, bias) = (values::<T>(n, 2, 1.5), values::<T>(ways * hidden, 3, 1.0));
    let table = values::<T>(vocab * hidden, 4, 1.5);
    let ids: Vec<u32> = (0..rows as u32)
        .map(|r| (r * r + 1) % vocab as u32)
        .collect();
    let before = values::<T>(n, 6, 1.0);
    let name = format!("rnn_gates_fwd_{}", T::SUFFIX);
    for (all, of_table) in [(true, false), (false, false), (true, true)] {
        let bufs = [
            if all { give(&z) } else { Buf::Null },
            store::<T>(if of_table { &table } else { &x }),
            if of_table { give(&ids) } else { Buf::Null },
            if all { store::<T>(&bias) } else { Buf::Null },
            fresh::<T>(n),
            store::<T>(&before),
            number(rows as u32),
            number(hidden as u32),
            number(next as u32),
            number(ways as u32),
        ];
        let sum = |i: usize| {
            let x = match of_table {
                true => table[ids[i / hidden] as usize * hidden + i % hidden],
                false => x[i],
            };
            let rest = f64::from(z[i]) + f64::from(bias[i % (ways * hidden)]);
            f64::from(x) + if all { rest } else { 0.0 }
        };
        let want: Vec<f64> = (0..n).map(|i| sum(i).tanh()).collect();
        let out = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
        let h = load::<T>(&out[4]);
        assert_close(&name, &h, &want, T::ROUNDING, GATES);
        let (kept, ended) = (&before[..next * hidden], &h[next * hidden..]);
        assert_eq!(load::<T>(&out[5]), [kept, ended].concat(), "{name}: h_n");
    }
}

fn backward<T: Storage>(rows: usize, hidden: usize) {
    let n = rows * hidden;
    let (dy, dh) = (values::<T>(n, 4, 1.0), values::<f32>(n, 5, 1.0));
    let (h, h_prev) = (values::<T>(n, 6, 1.0), values::<T>(n, 7, 1.0));
    let name = format!("rnn_gates_bwd_{}", T::SUFFIX);
    for (with_dy, copied, first) in [
        (true, true, false),
        (false, true, true),
        (true, false, false),
    ] {
        let bufs = [
            if with_dy { store::<T>(&dy) } else { Buf::Null },
            give(&dh),
            store::<T>(&h),
            if first {
                Buf::Null
            } else {
                store::<T>(&h_prev)
            },
            fresh::<T>(n),
            if copied { fresh::<T>(n) } else { Buf::Null },
            number(rows as u32),
            number(hidden as u32),
        ];
        let out = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
        let want: Vec<f64> = (0..n)
            .map(|i| {
                let d = f64::from(u8::from(with_dy)) * f64::from(dy[i]) + f64::from(dh[i]);
                d * (1.0 - f64::from(h[i]) * f64::from(h[i]))
            })
            .collect();
        assert_close(&name, &load::<T>(&out[4]), &want, T::ROUNDING, GATES);
        if copied {
            let before = if first { vec![0.0; n] } else { h_prev.clone() };
            assert_eq!(load::<T>(&out[5]), before, "{name}: h_before");
        }
    }
}

#[test]
fn gates() {
    for (rows, hidden, next) in [(1, 1, 0), (7, 33, 3), (33, 7, 33), (1, 257, 1)] {
        forward::<f32>(rows, hidden, next);
        forward::<f16>(rows, hidden, next);
        backward::<f32>(rows, hidden);
        backward::<f16>(rows, hidden);
    }
}
