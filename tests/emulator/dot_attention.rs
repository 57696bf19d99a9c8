//! kernels/dot_attention.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Sequences, whose rows stand one after the other, or by a list in the opposite order.
struct Case {
    queries: Vec<usize>,
    keys: Vec<usize>,
    heads: usize,
    depth: usize,
    causal: bool,
    listed: bool,
}

/// What the kernels read.
struct Read {
    q: Vec<f32>,
    kv: Vec<f32>,
    dcontext: Vec<f32>,
    dalpha: Vec<f32>,
}

/// What they must give.
#[derive(Default)]
struct Want {
    context: Vec<f64>,
    sums: Vec<f64>,
    alpha: Vec<f64>,
    dots: Vec<f64>,
    dq: Vec<f64>,
    dkv: Vec<f64>,
}

/// A few dozen f32 operations on numbers below 10.
const ARITHMETIC: f32 = 1e-5;

fn rows(lengths: &[usize]) -> usize {
    lengths.iter().sum()
}

impl Case {
    fn width(&self) -> usize {
        self.heads * self.depth
    }

    fn longest(&self) -> [usize; 2] {
        [&self.queries, &self.keys].map(|n| *n.iter().max().unwrap())
    }

    fn row(&self, lengths: &[usize], b: usize, i: usize) -> usize {
        let at = rows(&lengths[..b]) + i;
        if self.listed {
            rows(lengths) - 1 - at
        } else {
            at
        }
    }

    fn read<T: Storage>(&self) -> Read {
        let (n, m) = (rows(&self.queries), rows(&self.keys));
        Read {
            q: values::<T>(n * self.width(), 1, 1.5),
            kv: values::<T>(m * 2 * self.width(), 2, 1.5),
            dcontext: values::<T>(n * self.width(), 3, 1.0),
            dalpha: values::<f32>(n * self.longest()[1], 4, 1.0),
        }
    }

    /// The formulas in doubles.
    fn want(&self, read: &Read) -> Want {
        let (width, [_, longest]) = (self.width(), self.longest());
        let (n, m) = (rows(&self.queries), rows(&self.keys));
        let mut want = Want {
            context: vec![0.0; n * width],
            sums: vec![0.0; n * self.heads],
            alpha: vec![0.0; n * longest],
            dots: vec![0.0; n * self.heads],
            dq: vec![0.0; n * width],
            dkv: vec![0.0; m * 2 * width],
        };
        let scale = 1.0 / (self.depth as f64).sqrt();
        let sizes = self.queries.iter().zip(&self.keys);
        for (b, (&queries, &keys)) in sizes.enumerate() {
            for (i, h) in (0..queries).flat_map(|i| (0..self.heads).map(move |h| (i, h))) {
                let seen = if self.causal {
                    i + 1 + keys - queries
                } else {
                    keys
                };
                let row = self.row(&self.queries, b, i);
                let q = row * width + h * self.depth;
                let k = |j: usize| self.row(&self.keys, b, j) * 2 * width + h * self.depth;
                let at = |v: &[f32], i: usize| f64::from(v[i]);
                let dot = |a: &[f32], i: usize, j: usize| -> f64 {
                    let terms = (0..self.depth).map(|c| at(a, i + c) * at(&read.kv, j + c));
                    terms.sum()
                };
                let s: Vec<f64> = (0..seen).map(|j| dot(&read.q, q, k(j)) * scale).collect();
                let sum: f64 = s.iter().map(|s| s.exp()).sum();
                let p: Vec<f64> = s.iter().map(|s| s.exp() / sum).collect();
                let dp: Vec<f64> = (0..seen)
                    .map(|j| {
                        let above = at(&read.dalpha, row * longest + j) / self.heads as f64;
                        dot(&read.dcontext, q, k(j) + width) + above
                    })
                    .collect();
                let mean: f64 = p.iter().zip(&dp).map(|(p, d)| p * d).sum();
                want.sums[row * self.heads + h] = sum.ln();
                want.dots[row * self.heads + h] = mean;
                for j in 0..seen {
                    want.alpha[row * longest + j] += p[j] / self.heads as f64;
                    let ds = p[j] * (dp[j] - mean) * scale;
                    for c in 0..self.depth {
                        want.context[q + c] += p[j] * at(&read.kv, k(j) + width + c);
                        want.dq[q + c] += ds * at(&read.kv, k(j) + c);
                        want.dkv[k(j) + c] += ds * at(&read.q, q + c);
                        want.dkv[k(j) + width + c] += p[j] * at(&read.dcontext, q + c);
                    }
                }
            }
        }
        want
    }

    fn sequences(&self, lengths: &[usize]) -> [Buf; 3] {
        let offsets: Vec<u32> = (0..=lengths.len())
            .map(|b| rows(&lengths[..b]) as u32)
            .collect();
        let listed: Vec<u32> = (0..rows(lengths) as u32).rev().collect();
        let longest = *lengths.iter().max().unwrap() as u32;
        let listed = if self.listed {
            give(&listed)
        } else {
            Buf::Null
        };
        [give(&offsets), listed, number(longest)]
    }

    /// Runs a kernel whose own arguments stand between sequences and sizes.
    fn run<T: Storage>(
        &self,
        kernel: &str,
        read: &Read,
        warps: u32,
        own: Vec<Buf>,
    ) -> Vec<Vec<u8>> {
        let width = self.width();
        // k and v are two matrices here: their columns side by side are the same rows.
        let part = |first: usize| {
            let rows = read.kv.chunks(2 * width);
            let part: Vec<f32> = rows
                .flat_map(|row| row[first..][..width].to_vec())
                .collect();
            store::<T>(&part)
        };
        let mut bufs = vec![store::<T>(&read.q), part(0), part(width)];
        bufs.extend(self.sequences(&self.queries));
        bufs.extend(self.sequences(&self.keys));
        bufs.extend(own);
        let sizes = [width, width, self.queries.len(), self.heads, self.depth];
        bufs.extend(sizes.map(|n| number(n as u32)));
        bufs.push(number(u32::from(self.causal)));
        bufs.push(number(1.0 / (self.depth as f32).sqrt()));
        let [queries, keys] = self.longest();
        let (of, arrays, needs) = match kernel {
            "fwd" => (queries, 1, keys),
            "bwd_queries" => (queries, 2, keys),
            _ => (keys, 2, queries),
        };
        let name = format!("dot_attention_{kernel}_{}", T::SUFFIX);
        let launch = Launch {
            shared_bytes: 4 * arrays * needs as u32 * warps,
            ..Launch::new(&name, (of * self.queries.len()) as u32, 32 * warps)
        };
        run(launch, &bufs)
    }
}

fn check<T: Storage>(case: &Case, warps: u32) {
    let read = case.read::<T>();
    let want = case.want(&read);
    let (n, m) = (rows(&case.queries), rows(&case.keys));
    let (width, [_, longest]) = (case.width(), case.longest());
    let what = |name: &str| format!("{name} {:?} to {:?} {}", case.queries, case.keys, T::SUFFIX);
    let close = |name: &str, got: &[u8], want: &[f64]| {
        assert_close(&what(name), &load::<T>(got), want, T::ROUNDING, ARITHMETIC);
    };
    let wide = |name: &str, got: &[u8], want: &[f64]| {
        assert_close(&what(name), &get::<f32>(got), want, ARITHMETIC, ARITHMETIC);
    };
    let alpha = if warps == 1 {
        fresh::<f32>(n * longest)
    } else {
        Buf::Null
    };
    let own = vec![fresh::<T>(n * width), fresh::<f32>(n * case.heads), alpha];
    let out = case.run::<T>("fwd", &read, warps, own);
    close("context", &out[9], &want.context);
    wide("sums", &out[10], &want.sums);
    if warps == 1 {
        wide("alpha", &out[11], &want.alpha);
    }

    let above = || {
        let sums: Vec<f32> = want.sums.iter().map(|&x| x as f32).collect();
        vec![store::<T>(&read.dcontext), give(&read.dalpha), give(&sums)]
    };
    let mut own = above();
    own.extend([fresh::<f32>(n * case.heads), fresh::<T>(n * width)]);
    let out = case.run::<T>("bwd_queries", &read, warps, own);
    wide("dots", &out[12], &want.dots);
    close("dq", &out[13], &want.dq);

    let mut own = above();
    let dots: Vec<f32> = want.dots.iter().map(|&x| x as f32).collect();
    own.extend([give(&dots), fresh::<T>(m * width), fresh::<T>(m * width)]);
    let out = case.run::<T>("bwd_keys", &read, warps, own);
    let part = |first: usize| -> Vec<f64> {
        let rows = want.dkv.chunks(2 * width);
        rows.flat_map(|row| row[first..][..width].to_vec())
            .collect()
    };
    close("dk", &out[13], &part(0));
    close("dv", &out[14], &part(width));
}

fn case(queries: &[usize], keys: &[usize], sizes: [usize; 2], causal: bool, listed: bool) -> Case {
    Case {
        queries: queries.to_vec(),
        keys: keys.to_vec(),
        heads: sizes[0],
        depth: sizes[1],
        causal,
        listed,
    }
}

#[test]
fn heads_of_sequences() {
    for (case, warps) in [
        (case(&[1], &[1], [1, 1], false, false), 1),
        (case(&[3, 1, 4], &[2, 5, 1], [2, 3], false, true), 1),
        (case(&[4, 2, 1], &[4, 2, 1], [3, 8], true, true), 2),
        (case(&[1, 2], &[5, 4], [2, 9], true, false), 2),
        (case(&[37, 2], &[35, 41], [1, 33], false, false), 1),
    ] {
        check::<f32>(&case, warps);
        check::<f16>(&case, warps);
    }
}

/// What arrives at one output alone.
#[test]
fn absent_gradients_are_zero() {
    let case = case(&[3, 1], &[2, 4], [2, 3], false, false);
    let read = case.read::<f32>();
    let sums: Vec<f32> = case.want(&read).sums.iter().map(|&x| x as f32).collect();
    for of_context in [false, true] {
        let zeros = |v: &[f32], kept: bool| if kept { v.to_vec() } else { vec![0.0; v.len()] };
        let alone = Read {
            dcontext: zeros(&read.dcontext, of_context),
            dalpha: zeros(&read.dalpha, !of_context),
            q: read.q.clone(),
            kv: read.kv.clone(),
        };
        let want = case.want(&alone);
        let dots: Vec<f32> = want.dots.iter().map(|&x| x as f32).collect();
        let above = if of_context {
            [give(&read.dcontext), Buf::Null]
        } else {
            [Buf::Null, give(&read.dalpha)]
        };
        let mut own = Vec::from(above);
        own.extend([give(&sums), give(&dots), fresh::<f32>(36), fresh::<f32>(36)]);
        let out = case.run::<f32>("bwd_keys", &read, 1, own);
        for (first, got) in [(0, &out[13]), (6, &out[14])] {
            let rows = want.dkv.chunks(12);
            let want: Vec<f64> = rows.flat_map(|row| row[first..][..6].to_vec()).collect();
            assert_close("dk and dv", &get::<f32>(got), &want, ARITHMETIC, ARITHMETIC);
        }
    }
}
