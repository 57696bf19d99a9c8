//! kernels/lstm.cu against the formula in f64.

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// The forward pass with a gate table or a dense input side, with or without an earlier step.
fn forward<T: Storage>(rows: usize, hidden: usize, table: bool, first: bool) {
    let (n, vocab) = (rows * hidden, 6);
    let z = values::<f32>(4 * n, 1, 1.5);
    let x = values::<T>(4 * hidden * if table { vocab } else { rows }, 2, 1.5);
    let ids: Vec<u32> = (0..rows as u32)
        .map(|r| (r * r + 1) % vocab as u32)
        .collect();
    // Two layers that take turns in the rows have a bias each.
    let ways = 2;
    let bias = values::<T>(ways * 4 * hidden, 3, 1.0);
    let c_prev = values::<f32>(n, 4, 1.0);
    // Some sequences end with this step: all, the last two thirds, or none of them.
    let next = [0, rows.div_ceil(3), rows][usize::from(table) + usize::from(first)];
    let before = [values::<f32>(n, 5, 1.0), values::<T>(n, 6, 1.0)];
    let name = format!("lstm_gates_fwd_{}", T::SUFFIX);
    let bufs = [
        if first { Buf::Null } else { give(&z) },
        store::<T>(&x),
        if table { give(&ids) } else { Buf::Null },
        if table { Buf::Null } else { store::<T>(&bias) },
        if first { Buf::Null } else { give(&c_prev) },
        fresh::<T>(4 * n),
        fresh::<f32>(n),
        fresh::<T>(n),
        give(&before[0]),
        store::<T>(&before[1]),
        number(rows as u32),
        number(hidden as u32),
        number(next as u32),
        number(ways as u32),
    ];
    let out = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    let (mut gates, mut c, mut h) = (vec![0.0; 4 * n], vec![0.0; n], vec![0.0; n]);
    for r in 0..rows {
        for u in 0..hidden {
            let from = if table { ids[r] as usize } else { r };
            let a = [0, 1, 2, 3].map(|k| {
                let at = k * hidden + u;
                let z = if first {
                    0.0
                } else {
                    f64::from(z[4 * r * hidden + at])
                };
                let b = if table {
                    0.0
                } else {
                    f64::from(bias[r % ways * 4 * hidden + at])
                };
                z + f64::from(x[4 * from * hidden + at]) + b
            });
            let act = [sigmoid(a[0]), sigmoid(a[1]), a[2].tanh(), sigmoid(a[3])];
            let at = r * hidden + u;
            let before = if first { 0.0 } else { f64::from(c_prev[at]) };
            c[at] = act[1] * before + act[0] * act[2];
            h[at] = act[3] * c[at].tanh();
            for k in 0..4 {
                gates[4 * r * hidden + k * hidden + u] = act[k];
            }
        }
    }
    assert_close("gates", &load::<T>(&out[5]), &gates, T::ROUNDING, GATES);
    assert_close("c", &get::<f32>(&out[6]), &c, 0.0, GATES);
    assert_close("h", &load::<T>(&out[7]), &h, T::ROUNDING, GATES);
    let goes_on = next * hidden;
    for (of_step, of_end, before) in [
        (get::<f32>(&out[6]), get::<f32>(&out[8]), &before[0]),
        (load::<T>(&out[7]), load::<T>(&out[9]), &before[1]),
    ] {
        assert_eq!(of_end[goes_on..], of_step[goes_on..]);
        assert_eq!(of_end[..goes_on], before[..goes_on]);
    }

    // Without the gates that only the backward pass needs: the same c and h.
    let mut bufs = bufs;
    bufs[5] = Buf::Null;
    let again = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    assert!(again[6] == out[6] && again[7] == out[7]);

    // z in the last columns of wider rows, of one layer: the same as in rows of its own.
    let [own, wider] = [0, 3].map(|before| {
        let pitch = before + 4 * hidden;
        bufs[0] = match first {
            true => Buf::Null,
            false => give(&wide(&z, 4 * hidden, before)[before..]),
        };
        bufs[5] = fresh::<T>(4 * n);
        bufs[13] = number(pitch as u32);
        let name = format!("lstm_beside_fwd_{}", T::SUFFIX);
        run(Launch::new(&name, gate_blocks(n), 128), &bufs)
    });
    assert!((5..10).all(|k| own[k] == wider[k]));
    if rows == 1 || table {
        assert!((5..10).all(|k| own[k] == out[k]));
    }
}

/// Rows of `width` elements behind `before` zeros each.
fn wide(x: &[f32], width: usize, before: usize) -> Vec<f32> {
    let rows = x.chunks(width);
    rows.flat_map(|row| [&vec![0.0; before], row].concat())
        .collect()
}

/// The backward pass, with or without an earlier step, and copying its state or not.
fn backward<T: Storage>(rows: usize, hidden: usize, copied: bool, first: bool) {
    let n = rows * hidden;
    let gate = |seed| {
        values::<T>(n, seed, 0.5)
            .into_iter()
            .map(|x| T::from_f32(x + 0.5).to_f32())
    };
    let [i, f, o] = [1, 2, 3].map(|seed| gate(seed).collect::<Vec<f32>>());
    let g = values::<T>(n, 4, 1.0);
    let (c, c_prev) = (values::<f32>(n, 5, 2.0), values::<f32>(n, 6, 2.0));
    let (dy, h_prev) = (values::<T>(n, 7, 1.0), values::<T>(n, 10, 1.0));
    let (dh, dc) = (values::<f32>(n, 8, 1.0), values::<f32>(n, 9, 1.0));
    let at = |e: usize, k: usize| e / hidden * 4 * hidden + k * hidden + e % hidden;
    let mut gates = vec![0.0; 4 * n];
    for e in 0..n {
        for (k, value) in [i[e], f[e], g[e], o[e]].into_iter().enumerate() {
            gates[at(e, k)] = value;
        }
    }
    let name = format!("lstm_gates_bwd_{}", T::SUFFIX);
    let bufs = [
        store::<T>(&dy),
        give(&dh),
        give(&dc),
        store::<T>(&gates),
        give(&c),
        if first { Buf::Null } else { give(&c_prev) },
        if first {
            Buf::Null
        } else {
            store::<T>(&h_prev)
        },
        fresh::<T>(4 * n),
        fresh::<f32>(n),
        if copied { fresh::<T>(n) } else { Buf::Null },
        number(rows as u32),
        number(hidden as u32),
    ];
    let out = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    let (mut dz, mut dc_prev) = (vec![0.0; 4 * n], vec![0.0; n]);
    for e in 0..n {
        let [i, f, g, o] = [i[e], f[e], g[e], o[e]].map(f64::from);
        let dh = f64::from(dy[e]) + f64::from(dh[e]);
        let t = f64::from(c[e]).tanh();
        let dc = f64::from(dc[e]) + dh * o * (1.0 - t * t);
        let before = if first { 0.0 } else { f64::from(c_prev[e]) };
        dz[at(e, 0)] = dc * g * i * (1.0 - i);
        dz[at(e, 1)] = dc * before * f * (1.0 - f);
        dz[at(e, 2)] = dc * i * (1.0 - g * g);
        dz[at(e, 3)] = dh * t * o * (1.0 - o);
        dc_prev[e] = dc * f;
    }
    assert_close("dz", &load::<T>(&out[7]), &dz, T::ROUNDING, GATES);
    assert_close("dc_prev", &get::<f32>(&out[8]), &dc_prev, 0.0, GATES);
    if copied {
        let want = if first { vec![0.0; n] } else { h_prev };
        assert_eq!(load::<T>(&out[9]), want);
    }

    // dz in the first columns of wider rows; the others are left alone.
    let (own, pitch) = (4 * hidden, 4 * hidden + 3);
    let mut bufs = Vec::from(bufs);
    bufs[7] = store::<T>(&vec![7.0; rows * pitch]);
    bufs.push(number(pitch as u32));
    let name = format!("lstm_beside_bwd_{}", T::SUFFIX);
    let beside = run(Launch::new(&name, gate_blocks(n), 128), &bufs);
    let (dz, beside_dz) = (load::<T>(&out[7]), load::<T>(&beside[7]));
    for (row, dz) in beside_dz.chunks(pitch).zip(dz.chunks(own)) {
        assert_eq!((&row[..own], &row[own..]), (dz, &[7.0; 3][..]));
    }
    assert!(beside[8] == out[8] && beside[9] == out[9]);
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
