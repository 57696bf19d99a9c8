//! The table of cases: an op, its sizes, its outputs and their bounds.
//!
//! Sizes are odd (1, 7, 33, 257) and, for each kernel that works in blocks, past one block.

mod adam;
mod add_bias;
mod attention;
mod cast;
mod concat;
mod copy_xent;
mod dot_attention;
mod dropout;
mod elementwise;
mod embedding;
mod gather;
mod gelu;
mod layer_norm;
mod likeliest;
mod matmul;
mod recurrent;
mod reduce;
mod side_by_side;
mod slice;
mod softmax_xent;
mod step;

pub(super) use recurrent::WHOLE;

use super::Case;
use super::probe::Output;
use super::side::Side;
use crate::dtype::DType;
use crate::error::Result;

/// The data types that a GPU stores numbers in.
const BOTH: &[DType] = &[DType::F32, DType::F16];

/// Sizes of what is taken element by element. The last is past one block of 2048 elements.
const SIZES: [usize; 5] = [1, 7, 33, 257, 5000];

/// All cases; those of an op stand together.
pub(super) fn table() -> Vec<Case> {
    let mut table = Vec::new();
    elementwise::cases(&mut table);
    gelu::cases(&mut table);
    cast::cases(&mut table);
    dropout::cases(&mut table);
    reduce::cases(&mut table);
    matmul::cases(&mut table);
    add_bias::cases(&mut table);
    layer_norm::cases(&mut table);
    embedding::cases(&mut table);
    slice::cases(&mut table);
    concat::cases(&mut table);
    gather::cases(&mut table);
    softmax_xent::cases(&mut table);
    likeliest::cases(&mut table);
    copy_xent::cases(&mut table);
    recurrent::cases(&mut table);
    side_by_side::cases(&mut table);
    attention::cases(&mut table);
    dot_attention::cases(&mut table);
    adam::cases(&mut table);
    step::cases(&mut table);
    table
}

/// Adds a case in both data types.
fn add(
    table: &mut Vec<Case>,
    op: &'static str,
    name: impl Into<String>,
    outputs: impl Fn(&Side) -> Result<Vec<Output>> + 'static,
) {
    add_in(table, BOTH, op, name, outputs);
}

fn add_in(
    table: &mut Vec<Case>,
    dtypes: &'static [DType],
    op: &'static str,
    name: impl Into<String>,
    outputs: impl Fn(&Side) -> Result<Vec<Output>> + 'static,
) {
    table.push(Case {
        op,
        name: name.into(),
        dtypes,
        outputs: Box::new(outputs),
    });
}
