//! Where the rows of each sequence stand in a matrix.

use crate::data::spans::Spans;
use crate::device::driver::{Arg, DevicePtr};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Which rows of a matrix are the elements of each sequence of a batch, in their order. Every row is an
/// element of one sequence.
#[derive(Clone, Debug)]
pub struct Sequences {
    spans: Spans,
    order: Order,
    /// First element of each sequence and behind the last `[B + 1]`, on a GPU.
    offsets: Option<Tensor>,
}

/// How the elements lie.
#[derive(Clone, Debug)]
enum Order {
    /// Sequence after sequence.
    Spans,
    /// Element i of all sequences, one after the other, is the row that this names at i.
    Listed(Tensor),
    /// Element after element, of all sequences; they are of one length.
    Steps,
}

impl Sequences {
    /// Sequence after sequence; with `rows` `[M]` element i is the row that it names at i. `offsets`
    /// `[B + 1]` are those of the spans on the GPU that holds the matrix.
    pub fn of(spans: &Spans, rows: Option<&Tensor>, offsets: Option<&Tensor>) -> Self {
        Sequences {
            spans: spans.clone(),
            order: rows.map_or(Order::Spans, |rows| Order::Listed(rows.clone())),
            offsets: offsets.cloned(),
        }
    }

    /// `batch` sequences of `steps` elements: element t of all of them, then element t + 1.
    ///
    /// # Errors
    /// [`Error::Op`] if one of the two is zero.
    pub fn steps(steps: usize, batch: usize) -> Result<Self> {
        Ok(Sequences {
            spans: Spans::new(&vec![steps; batch])?,
            order: Order::Steps,
            offsets: None,
        })
    }

    /// The elements of each sequence.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// The row of each element, sequence after sequence.
    ///
    /// # Errors
    /// If the device fails.
    pub fn places(&self) -> Result<Vec<u32>> {
        let (total, batch) = (self.spans.total() as u32, self.spans.rows() as u32);
        Ok(match &self.order {
            Order::Spans => (0..total).collect(),
            Order::Listed(rows) => rows.to_cpu()?.data::<u32>()?.to_vec(),
            Order::Steps => {
                let of = |b| (0..total / batch).map(move |t| t * batch + b);
                (0..batch).flat_map(of).collect()
            }
        })
    }

    /// Checks that they are the rows of a matrix, each once; of one on a GPU its number of rows alone.
    pub(super) fn check(&self, matrix: &Tensor) -> Result<()> {
        let (rows, total) = (matrix.shape().rows(), self.spans.total());
        let fail = |message: String| Err(Error::op("dot_attention", message));
        if rows != total {
            return fail(format!("{total} elements of sequences for {rows} rows"));
        }
        let listed = match &self.order {
            Order::Listed(listed) => {
                crate::ops::gpu::common("dot_attention", matrix, listed)?;
                listed
            }
            Order::Spans | Order::Steps => return Ok(()),
        };
        if listed.numel() != rows {
            return fail(format!("a list of {} for {rows} rows", listed.numel()));
        }
        if matrix.gpu().is_some() {
            return Ok(());
        }
        let mut seen = vec![false; rows];
        for &row in listed.data::<u32>()? {
            match seen.get_mut(row as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return fail(format!("row {row} of {rows} is listed twice, or is none")),
            }
        }
        Ok(())
    }

    /// The rows of sequence b, in host memory.
    pub(super) fn rows(&self, b: usize, to: &mut Vec<usize>) -> Result<()> {
        let (span, batch) = (self.spans.start(b)..self.spans.end(b), self.spans.rows());
        to.clear();
        match &self.order {
            Order::Spans => to.extend(span),
            Order::Listed(rows) => {
                let rows = &rows.data::<u32>()?[span];
                to.extend(rows.iter().map(|&row| row as usize));
            }
            Order::Steps => to.extend((0..span.len()).map(|t| t * batch + b)),
        }
        Ok(())
    }

    /// A kernel's arguments: offsets and rows, either may be null, and the length of the longest.
    pub(super) fn args(&self) -> Result<[Arg; 3]> {
        let longest = Arg::from(self.spans.longest() as u32);
        let offsets = match (&self.order, &self.offsets) {
            (Order::Steps, _) => DevicePtr::NULL,
            (_, Some(offsets)) => offsets.ptr()?,
            (_, None) => {
                let message = "sequences on a GPU need their offsets there";
                return Err(Error::op("dot_attention", message));
            }
        };
        let rows = match &self.order {
            Order::Listed(rows) => rows.ptr()?,
            Order::Spans | Order::Steps => DevicePtr::NULL,
        };
        Ok([offsets.into(), rows.into(), longest])
    }
}
