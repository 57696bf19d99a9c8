// y = x + bias in each row. The sums behind the bias's gradient are reduce.cu's column_sum.
//
// Launch shape: per row; a thread keeps its eight columns of the bias and goes over rows.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

// A block takes lanes * 8 columns (block y); its rows are those of its slots, every grid_x * slots.
template <class T>
DEVICE void add_bias(ptr<const T> x, ptr<const T> bias, ptr<T> y, u32 rows, u32 columns,
                     u32 lanes) {
    Part part = part_of(block_y(), lanes);
    if (part.slot >= part.slots || part.column >= columns) return;  // no barrier follows
    float b[GROUP];
    load_columns(bias, 0, part.column, columns, b);
    u64 stride = u64(grid_x()) * part.slots;
    for (u64 r = u64(block_x()) * part.slots + part.slot; r < rows; r += FLIGHT * stride) {
        float v[FLIGHT][GROUP];
        for (u32 k = 0; k < FLIGHT; k++) {
            u64 row = r + k * stride;
            if (row < rows) load_columns(x, row * columns, part.column, columns, v[k]);
        }
        for (u32 k = 0; k < FLIGHT; k++) {
            u64 row = r + k * stride;
            if (row >= rows) break;
            for (u32 j = 0; j < GROUP; j++) v[k][j] += b[j];
            store_columns(y, row * columns, part.column, columns, v[k]);
        }
    }
}

// ---- kernels -------------------------------------------------------------------------------

#define ADD_BIAS(T, suffix)                                                                       \
    /* x [rows, columns], bias [columns], y [rows, columns], which may be x; any blocks along x,  \
       ceil(columns / (8 lanes)) along y */                                                       \
    KERNEL(add_bias_##suffix, ptr<const T> x, ptr<const T> bias, ptr<T> y, u32 rows, u32 columns, \
           u32 lanes) {                                                                           \
        add_bias(x, bias, y, rows, columns, lanes);                                               \
    }

ADD_BIAS(float, f32)
ADD_BIAS(half, f16)
