//! How far two tensors of a device are apart. They may be of a hundred million numbers, so they are looked at in
//! parts side by side, in their own data type.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::selftest::fnv;
use crate::tensor::{Stored, Tensor};
use bytemuck::Pod;
use half::f16;
use rayon::prelude::*;

/// Elements of a part.
const PART: usize = 1 << 16;

/// What a comparison found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Apart {
    /// The largest distance, over the largest finite magnitude that was wanted; infinite where a number of either is
    /// not finite.
    pub error: f64,
    /// The element.
    pub at: usize,
    /// Its number.
    pub got: f32,
    /// What it should be.
    pub want: f32,
    /// Whether a second run gave other bits.
    pub other_bits: bool,
    /// A hash (FNV-1a, 64 bits) of the hashes of the parts' bytes.
    pub digest: u64,
}

/// Compares what a run gave, and a second one, with what is wanted.
///
/// # Errors
/// If the device fails, or for tensors of different sizes or data types.
pub(super) fn apart(got: &Tensor, again: &Tensor, want: &Tensor) -> Result<Apart> {
    let sizes = [got, again, want].map(|t| (t.dtype(), t.numel()));
    let [got, again, want] = [got.to_cpu()?, again.to_cpu()?, want.to_cpu()?];
    match sizes[0] {
        of if of != sizes[1] || of != sizes[2] || of.1 == 0 => {
            Err(Error::op("selftest", format!("tensors of {sizes:?}")))
        }
        (DType::F16, _) => of::<f16>(&got, &again, &want, f16::to_f32),
        _ => of::<f32>(&got, &again, &want, |x| x),
    }
}

fn of<T: Stored + Pod + Sync>(
    got: &Tensor,
    again: &Tensor,
    want: &Tensor,
    number: impl Fn(T) -> f32 + Copy + Sync,
) -> Result<Apart> {
    let [got, again, want] = [got, again, want].map(Tensor::data::<T>);
    let (got, again, want) = (got?, again?, want?);
    let parts = got.par_chunks(PART).zip(want.par_chunks(PART));
    let parts: Vec<Part> = parts
        .map(|(got, want)| Part::of(got, want, number))
        .collect();
    let largest = parts.iter().fold(0.0f32, |m, part| m.max(part.largest));
    let unit = if largest > 0.0 { largest } else { 1.0 };
    let mut worst = (0, &parts[0]);
    for (k, part) in parts.iter().enumerate() {
        if part.distance > worst.1.distance {
            worst = (k, part);
        }
    }
    let at = worst.0 * PART + worst.1.at;
    let digests = parts.iter().flat_map(|part| part.digest.to_le_bytes());
    Ok(Apart {
        error: f64::from(worst.1.distance) / f64::from(unit),
        at,
        got: number(got[at]),
        want: number(want[at]),
        other_bits: bytemuck::cast_slice::<T, u8>(got) != bytemuck::cast_slice::<T, u8>(again),
        digest: fnv(digests),
    })
}

/// What is found in a part.
struct Part {
    /// Of `want`, where it is finite.
    largest: f32,
    distance: f32,
    at: usize,
    digest: u64,
}

impl Part {
    fn of<T: Pod>(got: &[T], want: &[T], number: impl Fn(T) -> f32) -> Self {
        let mut part = Part {
            largest: 0.0,
            distance: 0.0,
            at: 0,
            digest: fnv(bytemuck::cast_slice::<T, u8>(got).iter().copied()),
        };
        for (at, (&got, &want)) in got.iter().zip(want).enumerate() {
            let (got, want) = (number(got), number(want));
            if want.is_finite() {
                part.largest = part.largest.max(want.abs());
            }
            // Of two equal infinities, too, this is no number.
            let distance = (got - want).abs();
            let distance = if distance.is_nan() {
                f32::INFINITY
            } else {
                distance
            };
            if distance > part.distance {
                (part.distance, part.at) = (distance, at);
            }
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(numbers: &[f32]) -> Tensor {
        let halves: Vec<f16> = numbers.iter().map(|&x| f16::from_f32(x)).collect();
        Tensor::from_slice(&halves, [halves.len()]).unwrap()
    }

    #[test]
    fn the_largest_distance_over_the_largest_magnitude_and_where_it_is() {
        let mut numbers = vec![0.25f32; 2 * PART + 7];
        numbers[3] = -4.0;
        let want = halves(&numbers);
        let same = apart(&want, &want, &want).unwrap();
        assert!(same.error == 0.0 && !same.other_bits);
        numbers[PART + 5] = 1.25;
        numbers[2 * PART] = 0.75;
        let got = halves(&numbers);
        let found = apart(&got, &want, &want).unwrap();
        assert_eq!((found.error, found.at), (0.25, PART + 5));
        assert_eq!((found.got, found.want), (1.25, 0.25));
        assert!(found.other_bits && found.digest != same.digest);
    }

    #[test]
    fn what_is_no_number_is_infinitely_far() {
        let sound = halves(&[1.0, 2.0, 3.0]);
        for wrong in [f32::NAN, f32::INFINITY] {
            let wrong = halves(&[1.0, wrong, 3.0]);
            for (got, want) in [(&wrong, &sound), (&sound, &wrong), (&wrong, &wrong)] {
                let found = apart(got, got, want).unwrap();
                assert_eq!(found.error, f64::INFINITY);
                assert_eq!(found.at, 1);
            }
        }
        assert!(apart(&sound, &sound, &halves(&[1.0, 2.0])).is_err());
    }
}
