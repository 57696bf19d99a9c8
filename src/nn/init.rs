//! Initial values, as Keras and as PyTorch draw them.

use crate::rng::Reader;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Uniform in -limit..limit.
    Uniform(f64),
    /// The sum of two of those: torch's two biases of a recurrent layer, of which one is trained.
    UniformSum(f64),
    /// Standard normal.
    Normal,
    /// Uniform with limit sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010). A weight `[out, in]`
    /// has fan_in = in and fan_out = out; for an LSTM, out is 4H.
    GlorotUniform,
    /// Orthonormal columns for a weight `[4H, H]` (Saxe et al. 2013).
    Orthogonal,
    /// An LSTM bias `[4H]`: one for the forget gate (Jozefowicz et al. 2015), zero for the others.
    ForgetOne,
}

impl Init {
    /// The values of a parameter of shape `dims`, from random numbers of its own.
    pub fn values(self, dims: &[usize], mut random: Reader) -> Vec<f64> {
        let numel: usize = dims.iter().product();
        let mut uniform = |limit: f64| -> Vec<f64> {
            let mut draw = || (2.0 * random.uniform() - 1.0) * limit;
            (0..numel).map(|_| draw()).collect()
        };
        match self {
            Init::Zeros => vec![0.0; numel],
            Init::Ones => vec![1.0; numel],
            Init::Uniform(limit) => uniform(limit),
            Init::UniformSum(limit) => {
                let first = uniform(limit);
                first
                    .into_iter()
                    .zip(uniform(limit))
                    .map(|(a, b)| a + b)
                    .collect()
            }
            Init::Normal => (0..numel).map(|_| random.normal()).collect(),
            Init::GlorotUniform => {
                let fans: usize = dims.iter().sum();
                uniform((6.0 / fans as f64).sqrt())
            }
            Init::Orthogonal => {
                orthogonal(numel / dims[dims.len() - 1], dims[dims.len() - 1], random)
            }
            Init::ForgetOne => {
                let hidden = numel / 4;
                (0..numel)
                    .map(|i| f64::from(u8::from(i / hidden == 1)))
                    .collect()
            }
        }
    }
}

/// A matrix `[rows, columns]`, rows >= columns, with orthonormal columns: the Q of a random normal
/// matrix whose R has a positive diagonal. Gram-Schmidt, each column done twice, which keeps the
/// columns orthogonal to rounding (Giraud et al. 2005).
fn orthogonal(rows: usize, columns: usize, mut random: Reader) -> Vec<f64> {
    let mut q: Vec<Vec<f64>> = Vec::with_capacity(columns);
    while q.len() < columns {
        let mut v: Vec<f64> = (0..rows).map(|_| random.normal()).collect();
        for _ in 0..2 {
            let overlaps: Vec<f64> = q.iter().map(|u| dot(u, &v)).collect();
            for (u, overlap) in q.iter().zip(overlaps) {
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= overlap * u);
            }
        }
        let norm = dot(&v, &v).sqrt();
        // A vector that lies in the span of the others is drawn again.
        if norm > 1e-6 {
            v.iter_mut().for_each(|v| *v /= norm);
            q.push(v);
        }
    }
    (0..rows * columns)
        .map(|i| q[i % columns][i / columns])
        .collect()
}

/// Dot product over 8 running sums, so that the compiler can use vector registers.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn orthogonal_columns_are_orthonormal() {
        let (rows, columns) = (84, 21);
        let q =
            Init::Orthogonal.values(&[rows, columns], Stream::new(1, Purpose::Init, 0).reader());
        for a in 0..columns {
            for b in 0..=a {
                let d: f64 = (0..rows)
                    .map(|r| q[r * columns + a] * q[r * columns + b])
                    .sum();
                let want = f64::from(u8::from(a == b));
                assert!((d - want).abs() < 1e-12, "columns {a} and {b}: {d}");
            }
        }
    }

    #[test]
    fn glorot_limit_and_forget_bias() {
        let w = Init::GlorotUniform.values(&[40, 20], Stream::new(1, Purpose::Init, 0).reader());
        let limit = (6.0f64 / 60.0).sqrt();
        let largest = w.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        // 800 draws: the largest is within 5 % of the limit but for a chance of 0.95^800 = 1e-18.
        assert!(
            largest <= limit && largest > 0.95 * limit,
            "{largest} of {limit}"
        );
        let b = Init::ForgetOne.values(&[8], Stream::new(1, Purpose::Init, 0).reader());
        assert_eq!(b, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
