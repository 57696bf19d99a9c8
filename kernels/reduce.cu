// Sums in a fixed order: of all elements or of their squares, with their gradients, and over the
// rows of a matrix.
//
// A long sum takes two launches of the same kernel: over chunks, then over the chunks' sums. How an
// input is cut into chunks depends on its size alone, never on the device.
#include "device.cuh"

// ---- sum of all ----------------------------------------------------------------------------

// Block b sums its chunk, a multiple of eight: each thread strides through it, then the block's tree.
// Per row.
template <bool SQUARES, class T>
DEVICE void sum(ptr<const T> x, ptr<float> out, u64 n, u64 chunk) {
    SHARED(float, scratch, 32);
    u64 first = block_x() * chunk, last = first + chunk < n ? first + chunk : n;
    u64 stride = u64(threads()) * GROUP;
    float total = 0.0f;
    for (u64 i = first + thread_x() * GROUP; i < last; i += FLIGHT * stride) {
        float v[FLIGHT][GROUP];
        for (u32 k = 0; k < FLIGHT; k++) load8(x, i + k * stride, last, v[k]);
        for (u32 k = 0; k < FLIGHT; k++)
            for (u32 j = 0; j < GROUP; j++) total += SQUARES ? v[k][j] * v[k][j] : v[k][j];
    }
    total = block_sum(total, scratch);
    if (thread_x() == 0) out[block_x()] = total;
}

// dx = factor dy for a sum, or factor dy x for one of squares. Per element (eight a thread).
template <class T>
DEVICE void sum_bwd(ptr<const float> dy, ptr<const T> x, ptr<T> dx, float factor, u64 n) {
    u64 i = first_element();
    if (i >= n) return;
    float d = dy[0] * factor, v[GROUP];
    if (x) load8(x, i, n, v);
    for (u32 j = 0; j < GROUP; j++) v[j] = x ? d * v[j] : d;
    store8(dx, i, n, v);
}

// ---- sum over rows -------------------------------------------------------------------------

// A block owns lanes * 8 columns (block x) of one chunk of rows (block y). Each thread adds up its
// part of the chunk, then the threads of a column are added in their order.
template <class T>
DEVICE void column_sum(ptr<const T> x, ptr<float> out, ptr<const float> factor, u32 rows, u32 columns,
                       u32 ld, u32 chunk, u32 lanes, u32 accumulate) {
    SHARED(float, partial, 256 * GROUP);
    Part part = part_of(block_x(), lanes);
    u64 first = u64(block_y()) * chunk, last = rows - first < chunk ? rows : first + chunk;
    float total[GROUP] = {};
    if (part.slot < part.slots && part.column < columns)
        for (u64 r = first + part.slot; r < last; r += FLIGHT * part.slots) {
            float v[FLIGHT][GROUP] = {};
            for (u32 k = 0; k < FLIGHT; k++) {
                u64 row = r + k * part.slots;
                if (row < last) load_columns(x, row * ld, part.column, columns, v[k]);
            }
            for (u32 k = 0; k < FLIGHT; k++)
                for (u32 j = 0; j < GROUP; j++) total[j] += v[k][j];
        }
    for (u32 j = 0; j < GROUP; j++) partial[thread_x() * GROUP + j] = total[j];
    block_sync();
    u32 width = lanes * GROUP;
    for (u32 t = thread_x(); t < width; t += threads()) {
        u32 column = block_x() * width + t;
        if (column >= columns) break;
        float sum = partial[t];
        for (u32 s = 1; s < part.slots; s++) sum += partial[s * width + t];
        if (factor) sum *= factor[0];
        u64 at = u64(block_y()) * columns + column;
        out[at] = accumulate ? out[at] + sum : sum;
    }
}

// ---- kernels -------------------------------------------------------------------------------

// sum, sum_squares: x [n] -> out [blocks], block b adds x[b * chunk .. (b + 1) * chunk] or the
// squares; their sums are added up by sum_f32.
// sum_bwd: dy [1], x [n] or null for a sum without squares -> dx [n].
// column_sum: x [rows, ld], of which the first `columns` count, times factor [1] or null -> out
// [chunks, columns], chunks = ceil(rows / chunk) along grid y, ceil(columns / (8 lanes)) blocks of at
// most 256 threads along x; with accumulate, added to what `out` holds.
#define REDUCE(T, suffix)                                                                          \
    KERNEL(sum_##suffix, ptr<const T> x, ptr<float> out, u64 n, u64 chunk) {                       \
        sum<false>(x, out, n, chunk);                                                              \
    }                                                                                              \
    KERNEL(sum_squares_##suffix, ptr<const T> x, ptr<float> out, u64 n, u64 chunk) {               \
        sum<true>(x, out, n, chunk);                                                               \
    }                                                                                              \
    KERNEL(sum_bwd_##suffix, ptr<const float> dy, ptr<const T> x, ptr<T> dx, float factor,         \
           u64 n) {                                                                                \
        sum_bwd(dy, x, dx, factor, n);                                                             \
    }                                                                                              \
    KERNEL(column_sum_##suffix, ptr<const T> x, ptr<float> out, ptr<const float> factor, u32 rows, \
           u32 columns, u32 ld, u32 chunk, u32 lanes, u32 accumulate) {                            \
        column_sum(x, out, factor, rows, columns, ld, chunk, lanes, accumulate);                   \
    }

REDUCE(float, f32)
REDUCE(half, f16)
