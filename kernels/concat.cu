// y = [a | b | ..], matrices side by side, and slices: columns of a matrix copied to columns of
// another. Forward and backward are the same, in opposite directions.
//
// Launch shape: per row, and several blocks (grid y) a row where rows are long.
#include "device.cuh"

// A block takes rows block_x, block_x + grid_x, ...; its threads go over the columns, with
// those of the other blocks of the row. With `accumulate`, what `to` holds is added.
template <class T>
DEVICE void copy_columns(ptr<const T> from, ptr<T> to, u32 from_width, u32 from_first, u32 to_width,
                         u32 to_first, u32 rows, u32 columns, u32 accumulate) {
    for (u32 r = block_x(); r < rows; r += grid_x()) {
        u64 a = u64(r) * from_width + from_first, b = u64(r) * to_width + to_first;
        for (u32 j = block_y() * threads() + thread_x(); j < columns; j += grid_y() * threads())
            to[b + j] = accumulate ? from_f32<T>(to_f32(to[b + j]) + to_f32(from[a + j]))
                                   : from[a + j];
    }
}

// ---- kernels -------------------------------------------------------------------------------

// from [rows, from_width], to [rows, to_width]: `columns` columns, from `from_first` on there and
// from `to_first` on here.
#define CONCAT(T, suffix)                                                                          \
    KERNEL(copy_columns_##suffix, ptr<const T> from, ptr<T> to, u32 from_width, u32 from_first,    \
           u32 to_width, u32 to_first, u32 rows, u32 columns, u32 accumulate) {                    \
        copy_columns(from, to, from_width, from_first, to_width, to_first, rows, columns,          \
                     accumulate);                                                                  \
    }

CONCAT(float, f32)
CONCAT(half, f16)
