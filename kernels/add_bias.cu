// y = x + bias in each row. The sums behind the bias's gradient are reduce.cu's column_sum.
//
// Launch shape: per row.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

// A block takes rows block_x, block_x + grid_x, ...; its threads go over the columns.
template <class T>
DEVICE void add_bias(ptr<const T> x, ptr<const T> bias, ptr<T> y, u32 rows, u32 columns) {
    for (u32 r = block_x(); r < rows; r += grid_x())
        for (u32 j = thread_x(); j < columns; j += threads()) {
            u64 at = u64(r) * columns + j;
            y[at] = from_f32<T>(to_f32(x[at]) + to_f32(bias[j]));
        }
}

// ---- kernels -------------------------------------------------------------------------------

#define ADD_BIAS(T, suffix)                                                                       \
    /* x [rows, columns], bias [columns], y [rows, columns] */                                    \
    KERNEL(add_bias_##suffix, ptr<const T> x, ptr<const T> bias, ptr<T> y, u32 rows,              \
           u32 columns) {                                                                         \
        add_bias(x, bias, y, rows, columns);                                                      \
    }

ADD_BIAS(float, f32)
ADD_BIAS(half, f16)
