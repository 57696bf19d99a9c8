// Sums in a fixed order: of all elements or of their squares, with their gradients, and over the
// rows of a matrix.
//
// A long sum takes two launches of the same kernel: over chunks, then over the chunks' sums. How an
// input is cut into chunks depends on its size alone, never on the device.
#include "device.cuh"

// ---- sum of all ----------------------------------------------------------------------------

// Block b sums its chunk: each thread strides through it, then the block's tree. Per row.
template <bool SQUARES, class T>
DEVICE void sum(ptr<const T> x, ptr<float> out, u64 n, u64 chunk) {
    SHARED(float, scratch, 32);
    u64 first = block_x() * chunk, last = first + chunk < n ? first + chunk : n;
    float total = 0.0f;
    for (u64 i = first + thread_x(); i < last; i += threads()) {
        float v = to_f32(x[i]);
        total += SQUARES ? v * v : v;
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

// A block owns 32 columns (block x) of one chunk of rows (block y). Warp w adds up rows
// w, w + warps, ... of the chunk, then the warps' sums are added in their order.
template <class T>
DEVICE void column_sum(ptr<const T> x, ptr<float> out, u32 rows, u32 columns, u32 chunk,
                       u32 accumulate) {
    SHARED(float, partial, 1024);
    u32 warp = thread_x() / 32, warps = threads() / 32, lane = thread_x() % 32;
    u32 column = block_x() * 32 + lane;
    u32 first = block_y() * chunk, last = rows - first < chunk ? rows : first + chunk;
    float total = 0.0f;
    if (column < columns)
        for (u32 r = first + warp; r < last; r += warps)
            total += to_f32(x[u64(r) * columns + column]);
    partial[thread_x()] = total;
    block_sync();
    if (warp == 0 && column < columns) {
        for (u32 w = 1; w < warps; w++) total += partial[w * 32 + lane];
        u64 at = u64(block_y()) * columns + column;
        out[at] = accumulate ? out[at] + total : total;
    }
}

// ---- kernels -------------------------------------------------------------------------------

// sum, sum_squares: x [n] -> out [blocks], block b adds x[b * chunk .. (b + 1) * chunk] or the
// squares; their sums are added up by sum_f32.
// sum_bwd: dy [1], x [n] or null for a sum without squares -> dx [n].
// column_sum: x [rows, columns] -> out [chunks, columns], chunks = ceil(rows / chunk) along grid y,
// ceil(columns / 32) blocks along x; with accumulate, added to what `out` holds.
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
    KERNEL(column_sum_##suffix, ptr<const T> x, ptr<float> out, u32 rows, u32 columns, u32 chunk,  \
           u32 accumulate) {                                                                       \
        column_sum(x, out, rows, columns, chunk, accumulate);                                      \
    }

REDUCE(float, f32)
REDUCE(half, f16)
