// Layer normalisation of rows and its gradients (Ba, Kiros, Hinton 2016):
//
//   m = mean of x      r = 1 / sqrt(mean of (x - m)^2 + epsilon)      u = (x - m) r
//   y = gamma u + beta
//
// and with g = gamma dy:
//
//   dx = r (g - mean of g - u mean of (g u))
//   dgamma = sum over rows of dy u             dbeta = sum over rows of dy
//
// Launch shape: per row, a block of a multiple of 32 threads that reads its row once for each sum,
// from the cache but for the first time. The sums over rows are of the shape of `column_sum` in
// reduce.cu.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void layer_norm_fwd(ptr<const T> x, ptr<const T> gamma, ptr<const T> beta, ptr<T> y,
                           ptr<float> moments, u32 columns, float epsilon) {
    SHARED(float, scratch, 32);
    u64 row = u64(block_x()) * columns;
    float v[GROUP], sum = 0.0f, squares = 0.0f;
    for (u32 c = thread_x() * GROUP; c < columns; c += threads() * GROUP) {
        load_columns(x, row, c, columns, v);
        for (u32 j = 0; j < GROUP; j++) sum += v[j];
    }
    float mean = block_sum(sum, scratch + 0) / float(columns);
    for (u32 c = thread_x() * GROUP; c < columns; c += threads() * GROUP) {
        load_columns(x, row, c, columns, v);
        for (u32 j = 0; j < GROUP; j++)
            if (c + j < columns) squares += (v[j] - mean) * (v[j] - mean);
    }
    float r = 1.0f / square_root(block_sum(squares, scratch + 0) / float(columns) + epsilon);
    for (u32 c = thread_x() * GROUP; c < columns; c += threads() * GROUP) {
        float a[GROUP], b[GROUP];
        load_columns(x, row, c, columns, v);
        load_columns(gamma, 0, c, columns, a);
        load_columns(beta, 0, c, columns, b);
        for (u32 j = 0; j < GROUP; j++) v[j] = (v[j] - mean) * r * a[j] + b[j];
        store_columns(y, row, c, columns, v);
    }
    if (thread_x() == 0) {
        moments[2 * u64(block_x())] = mean;
        moments[2 * u64(block_x()) + 1] = r;
    }
}

// ---- backward ------------------------------------------------------------------------------

template <class T>
DEVICE void layer_norm_bwd(ptr<const T> dy, ptr<const T> x, ptr<const T> gamma,
                           ptr<const float> moments, ptr<T> dx, u32 columns, u32 accumulate) {
    SHARED(float, scratch, 32);
    u64 row = u64(block_x()) * columns;
    float mean = moments[2 * u64(block_x())], r = moments[2 * u64(block_x()) + 1];
    float u[GROUP], g[GROUP], a[GROUP], of_g = 0.0f, of_gu = 0.0f;
    for (u32 c = thread_x() * GROUP; c < columns; c += threads() * GROUP) {
        load_columns(x, row, c, columns, u);
        load_columns(dy, row, c, columns, g);
        load_columns(gamma, 0, c, columns, a);
        // Beyond the row g is zero.
        for (u32 j = 0; j < GROUP; j++) {
            of_g += g[j] * a[j];
            of_gu += g[j] * a[j] * (u[j] - mean) * r;
        }
    }
    of_g = block_sum(of_g, scratch + 0) / float(columns);
    of_gu = block_sum(of_gu, scratch + 0) / float(columns);
    for (u32 c = thread_x() * GROUP; c < columns; c += threads() * GROUP) {
        load_columns(x, row, c, columns, u);
        load_columns(dy, row, c, columns, g);
        load_columns(gamma, 0, c, columns, a);
        for (u32 j = 0; j < GROUP; j++)
            g[j] = (g[j] * a[j] - of_g - (u[j] - mean) * r * of_gu) * r;
        if (accumulate) {
            load_columns(dx, row, c, columns, a);
            for (u32 j = 0; j < GROUP; j++) g[j] += a[j];
        }
        store_columns(dx, row, c, columns, g);
    }
}

// A block owns lanes * 8 columns (block x) of one chunk of rows (block y).
template <class T>
DEVICE void layer_norm_sums(ptr<const T> dy, ptr<const T> x, ptr<const float> moments,
                            ptr<float> out, u32 rows, u32 columns, u32 chunk, u32 lanes) {
    SHARED(float, partial, 2 * 256 * GROUP);
    Part part = part_of(block_x(), lanes);
    u64 first = u64(block_y()) * chunk, last = rows - first < chunk ? rows : first + chunk;
    float of_gamma[GROUP] = {}, of_beta[GROUP] = {};
    if (part.slot < part.slots && part.column < columns)
        for (u64 row = first + part.slot; row < last; row += part.slots) {
            float mean = moments[2 * row], r = moments[2 * row + 1], u[GROUP], d[GROUP];
            load_columns(x, row * columns, part.column, columns, u);
            load_columns(dy, row * columns, part.column, columns, d);
            for (u32 j = 0; j < GROUP; j++) {
                of_gamma[j] += d[j] * (u[j] - mean) * r;
                of_beta[j] += d[j];
            }
        }
    u32 all = 256 * GROUP;
    for (u32 j = 0; j < GROUP; j++) {
        partial[thread_x() * GROUP + j] = of_gamma[j];
        partial[all + thread_x() * GROUP + j] = of_beta[j];
    }
    block_sync();
    u32 width = lanes * GROUP;
    for (u32 t = thread_x(); t < 2 * width; t += threads()) {
        u32 of = t < width ? 0 : 1, at = t - of * width, column = block_x() * width + at;
        if (column >= columns) continue;
        float sum = 0.0f;
        for (u32 s = 0; s < part.slots; s++) sum += partial[of * all + s * width + at];
        out[(u64(block_y()) * 2 + of) * columns + column] = sum;
    }
}

// ---- kernels -------------------------------------------------------------------------------

// x, y, dy, dx [N, columns]; gamma, beta [columns]; moments [N, 2] f32: m and r of each row. With
// accumulate dx is added to what is there. layer_norm_sums: out [chunks, 2, columns] f32, the rows'
// shares of dgamma and dbeta, chunks = ceil(rows / chunk) along grid y, ceil(columns / (8 lanes))
// blocks of 256 threads along x.
#define LAYER_NORM(T, suffix)                                                                      \
    KERNEL(layer_norm_fwd_##suffix, ptr<const T> x, ptr<const T> gamma, ptr<const T> beta,         \
           ptr<T> y, ptr<float> moments, u32 columns, float epsilon) {                             \
        layer_norm_fwd(x, gamma, beta, y, moments, columns, epsilon);                              \
    }                                                                                              \
    KERNEL(layer_norm_bwd_##suffix, ptr<const T> dy, ptr<const T> x, ptr<const T> gamma,           \
           ptr<const float> moments, ptr<T> dx, u32 columns, u32 accumulate) {                     \
        layer_norm_bwd(dy, x, gamma, moments, dx, columns, accumulate);                            \
    }                                                                                              \
    KERNEL(layer_norm_sums_##suffix, ptr<const T> dy, ptr<const T> x, ptr<const float> moments,    \
           ptr<float> out, u32 rows, u32 columns, u32 chunk, u32 lanes) {                          \
        layer_norm_sums(dy, x, moments, out, rows, columns, chunk, lanes);                         \
    }

LAYER_NORM(float, f32)
LAYER_NORM(half, f16)
