//! What ranks send: lists of numbers, one after the other.

use crate::error::{Error, Result};

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Adds a list.
    pub fn f64s(&mut self, numbers: &[f64]) {
        self.length(numbers.len());
        self.0.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    }

    /// Adds a list.
    pub fn f32s(&mut self, numbers: &[f32]) {
        self.length(numbers.len());
        self.0.reserve(4 * numbers.len());
        self.0.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    }

    fn length(&mut self, n: usize) {
        self.0.extend((n as u64).to_le_bytes());
    }

    /// The message.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A message that is read in the order in which it was written.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads a message from its beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The next list.
    ///
    /// # Errors
    /// [`Error::Ranks`] for a message that ends before it.
    pub fn f64s(&mut self) -> Result<Vec<f64>> {
        let numbers = self.list(8)?.chunks_exact(8);
        let number =
            |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        Ok(numbers.map(number).collect())
    }

    /// The next list.
    ///
    /// # Errors
    /// As [`Reader::f64s`].
    pub fn f32s(&mut self) -> Result<Vec<f32>> {
        let numbers = self.list(4)?.chunks_exact(4);
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        Ok(numbers.map(number).collect())
    }

    fn list(&mut self, size: usize) -> Result<&'a [u8]> {
        let short = || {
            Error::Ranks(
                "a rank sent a message that is too short: start all ranks with the same version of \
                 rnnx"
                    .into(),
            )
        };
        let (length, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        let bytes = usize::try_from(u64::from_le_bytes(*length)).ok();
        let bytes = bytes.and_then(|n| n.checked_mul(size)).ok_or_else(short)?;
        let (list, rest) = rest.split_at_checked(bytes).ok_or_else(short)?;
        self.0 = rest;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_to_the_bit() {
        let mut message = Writer::default();
        message.f64s(&[1.5, f64::NEG_INFINITY]);
        message.f32s(&[]);
        message.f32s(&[f32::MIN_POSITIVE, -0.0, f32::NAN]);
        let bytes = message.bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.f64s().unwrap(), [1.5, f64::NEG_INFINITY]);
        assert!(reader.f32s().unwrap().is_empty());
        let bits: Vec<u32> = reader.f32s().unwrap().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [f32::MIN_POSITIVE, -0.0, f32::NAN].map(f32::to_bits));
    }

    #[test]
    fn a_message_that_was_cut_is_an_error() {
        let mut message = Writer::default();
        message.f32s(&[1.0, 2.0]);
        let bytes = message.bytes();
        for n in 0..bytes.len() {
            assert!(Reader::new(&bytes[..n]).f32s().is_err(), "{n}");
        }
        let huge = u64::MAX.to_le_bytes();
        assert!(Reader::new(&huge).f64s().is_err());
    }
}
