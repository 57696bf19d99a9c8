//! kernels/gru.cu against the formula in f64.

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// The forward pass with a gate table or a dense input side, with or without an earlier step.
fn forward<T: Storage>(rows: usize, hidden: usize, table: bool, first: bool) {
    let (n, vocab) = (rows * hidden, 6);
    let product = values::<f32>(3 * n, 1, 1.0);
    let x = values::<T>(3 * hidden * if table { vocab } else { rows }, 2, 1.5);
    let ids: Vec<u32> = (0..rows as u32)
        .map(|r| (r * r + 1) % vocab as u32)
        .collect();
    // Two layers that take turns in the rows have biases each.
    let ways = 2;
    let b_ih = values::<T>(ways * 3 * hidden, 3, 1.0);
    let b_hh = values::<T>(ways * 3 * hidden, 4, 1.0);
    let h_prev = values::<T>(n, 5, 1.0);
    // Some sequences end with this step: all, the last two thirds, or none of them.
    let next = [0, rows.div_ceil(3), rows][usize::from(table) + usize::from(first)];
    let before = values::<T>(n, 6, 1.0);
    let name = format!("gru_gates_fwd_{}", T::SUFFIX);
    let mut bufs = [
        if first { Buf::Null } else { give(&product) },
        store::<T>(&x),
        if table { give(&ids) } else { Buf::Null },
        if table { Buf::Null } else { store::<T>(&b_ih) },
        store::<T>(&b_hh),
        if first {
            Buf::Null
        } else {
            store::<T>(&h_prev)
        },
        fresh::<T>(4 * n),
        fresh::<T>(n),
        store::<T>(&before),
        number(rows as u32),
        number(hidden as u32),
        number(next as u32),
        number(ways as u32),
    ];
    let out = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    let (mut gates, mut h) = (vec![0.0; 4 * n], vec![0.0; n]);
    for r in 0..rows {
        for u in 0..hidden {
            let from = if table { ids[r] as usize } else { r };
            let side = [0, 1, 2].map(|k| {
                let at = k * hidden + u;
                let of_way = r % ways * 3 * hidden + at;
                let b = if table { 0.0 } else { f64::from(b_ih[of_way]) };
                let x = f64::from(x[3 * from * hidden + at]) + b;
                let s = match first {
                    true => 0.0,
                    false => f64::from(product[3 * r * hidden + at]),
                };
                (x, s + f64::from(b_hh[of_way]))
            });
            let [reset, z] = [0, 1].map(|k| sigmoid(side[k].0 + side[k].1));
            let (x, q) = side[2];
            let n = (x + reset * q).tanh();
            let at = r * hidden + u;
            let before = if first { 0.0 } else { f64::from(h_prev[at]) };
            h[at] = (1.0 - z) * n + z * before;
            for (k, value) in [reset, z, n, q].into_iter().enumerate() {
                gates[4 * r * hidden + k * hidden + u] = value;
            }
        }
    }
    assert_close("gates", &load::<T>(&out[6]), &gates, T::ROUNDING, GATES);
    let of_step = load::<T>(&out[7]);
    assert_close("h", &of_step, &h, T::ROUNDING, GATES);
    let (kept, ended) = (&before[..next * hidden], &of_step[next * hidden..]);
    assert_eq!(load::<T>(&out[8]), [kept, ended].concat(), "h_n");

    // Without the gates that only the backward pass needs: the same h.
    bufs[6] = Buf::Null;
    let again = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    assert!(again[7] == out[7] && again[8] == out[8]);
}

/// The backward pass, with or without an earlier step, and copying its state or not.
fn backward<T: Storage>(rows: usize, hidden: usize, copied: bool, first: bool) {
    let n = rows * hidden;
    let gate = |seed| {
        let gate = values::<T>(n, seed, 0.5).into_iter();
        gate.map(|x| T::from_f32(x + 0.5).to_f32())
    };
    let [r, z] = [1, 2].map(|seed| gate(seed).collect::<Vec<f32>>());
    let [c, q] = [3, 4].map(|seed| values::<T>(n, seed, 1.0));
    let (dy, dh) = (values::<T>(n, 5, 1.0), values::<f32>(n, 6, 1.0));
    let h_prev = values::<T>(n, 7, 1.0);
    let at = |e: usize, gates: usize, k: usize| (e / hidden * gates + k) * hidden + e % hidden;
    let mut gates = vec![0.0; 4 * n];
    for e in 0..n {
        for (k, value) in [r[e], z[e], c[e], q[e]].into_iter().enumerate() {
            gates[at(e, 4, k)] = value;
        }
    }
    let name = format!("gru_gates_bwd_{}", T::SUFFIX);
    let bufs = [
        if first { Buf::Null } else { store::<T>(&dy) },
        give(&dh),
        store::<T>(&gates),
        if first {
            Buf::Null
        } else {
            store::<T>(&h_prev)
        },
        fresh::<T>(3 * n),
        fresh::<T>(3 * n),
        if copied { fresh::<T>(n) } else { Buf::Null },
        number(rows as u32),
        number(hidden as u32),
    ];
    let out = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    let (mut dx, mut ds, mut direct) = (vec![0.0; 3 * n], vec![0.0; 3 * n], vec![0.0; n]);
    for e in 0..n {
        let [r, z, c, q] = [r[e], z[e], c[e], q[e]].map(f64::from);
        let d = f64::from(dh[e]) + if first { 0.0 } else { f64::from(dy[e]) };
        let before = if first { 0.0 } else { f64::from(h_prev[e]) };
        let dc = d * (1.0 - z) * (1.0 - c * c);
        let dr = dc * q * r * (1.0 - r);
        let dz = d * (before - c) * z * (1.0 - z);
        for (k, [x, s]) in [[dr, dr], [dz, dz], [dc, dc * r]].into_iter().enumerate() {
            (dx[at(e, 3, k)], ds[at(e, 3, k)]) = (x, s);
        }
        direct[e] = d * z;
    }
    assert_close("dx", &load::<T>(&out[4]), &dx, T::ROUNDING, GATES);
    assert_close("ds", &load::<T>(&out[5]), &ds, T::ROUNDING, GATES);
    assert_close("dh", &get::<f32>(&out[1]), &direct, 0.0, GATES);
    if copied {
        let want = if first { vec![0.0; n] } else { h_prev };
        assert_eq!(load::<T>(&out[6]), want);
    }
}

#[test]
fn gates() {
    for (rows, hidden) in [(1, 1), (7, 33), (33, 7), (1, 257), (257, 1)] {
        for (a, b) in [(false, false), (true, false), (false, true), (true, true)] {
            forward::<f32>(rows, hidden, a, b);
            forward::<f16>(rows, hidden, a, b);
            backward::<f32>(rows, hidden, a, b);
            backward::<f16>(rows, hidden, a, b);
        }
    }
}
