//! kernels/concat.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Columns 2..2 + columns of a matrix to columns 1.. of another, whose other columns stay.
fn columns_of<T: Storage>(rows: usize, columns: usize, accumulate: bool) {
    let (from_width, to_width) = (columns + 3, columns + 2);
    let from = values::<T>(rows * from_width, 1, 1.0);
    let to = values::<T>(rows * to_width, 2, 1.0);
    let mut bufs = vec![store::<T>(&from), store::<T>(&to)];
    let sizes = [from_width, 2, to_width, 1, rows, columns];
    bufs.extend(sizes.map(|n| number(n as u32)));
    bufs.push(number(u32::from(accumulate)));
    let name = format!("copy_columns_{}", T::SUFFIX);
    // Long rows take two blocks each.
    let mut launch = Launch::new(&name, 3, 32);
    launch.grid[1] = if columns > 64 { 2 } else { 1 };
    let out = run(launch, &bufs);
    let mut want = to.clone();
    for r in 0..rows {
        for j in 0..columns {
            let (x, y) = (
                from[r * from_width + 2 + j],
                &mut want[r * to_width + 1 + j],
            );
            *y = T::from_f32(if accumulate { *y + x } else { x }).to_f32();
        }
    }
    assert_eq!(load::<T>(&out[1]), want, "{name} {rows}x{columns}");
}

#[test]
fn columns_side_by_side() {
    for rows in SIZES {
        for columns in [1, 32, 33, 65, 200] {
            for accumulate in [false, true] {
                columns_of::<f32>(rows, columns, accumulate);
                columns_of::<f16>(rows, columns, accumulate);
            }
        }
    }
}
