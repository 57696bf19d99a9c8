// y[i] = table[ids[i]], and the gradient of the table: the sum of dy over each id's occurrences.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

// A block takes rows block_x, block_x + grid_x, ... of y. Per row.
template <class T>
DEVICE void gather(ptr<const T> table, ptr<const u32> ids, ptr<T> y, u32 rows, u32 width) {
    for (u32 r = block_x(); r < rows; r += grid_x()) {
        u64 from = u64(ids[r]) * width, to = u64(r) * width;
        for (u32 j = thread_x(); j < width; j += threads()) y[to + j] = table[from + j];
    }
}

// ---- backward ------------------------------------------------------------------------------

// out[chunk][id] = sum of dy[r] over the rows r of the chunk with ids[r] = id, in order of r.
//
// A block owns one id (block x), one chunk of rows (block y), and as many columns as it has threads
// (block z). It lists the chunk's matches in order, one tile of rows after another: each thread
// looks at one row, and its place in the list is the number of matches before it. No sort, no
// atomics: the order is that of the rows. (The next tile writes the list only after its own first
// barrier, which is after every use of this tile's.)
template <class T, class U>
DEVICE void scatter(ptr<const T> dy, ptr<const u32> ids, ptr<U> out, u32 rows, u32 width,
                    u32 chunk, u32 accumulate) {
    SHARED(u32, matches, 1024);
    SHARED(u32, counts, 32);
    u32 id = block_x(), lane = thread_x() % 32, warp = thread_x() / 32;
    u32 column = block_z() * threads() + thread_x();
    u32 first = block_y() * chunk, last = rows - first < chunk ? rows : first + chunk;
    float total = 0.0f;
    for (u32 tile = first; tile < last; tile += threads()) {
        u32 r = tile + thread_x();
        bool match = r < last && ids[r] == id;
        u32 votes = vote_ballot(match);
        if (lane == 0) counts[warp] = count_bits(votes);
        block_sync();
        u32 before = 0, all = 0;
        for (u32 w = 0; w < threads() / 32; w++) {
            if (w < warp) before += counts[w];
            all += counts[w];
        }
        if (match) matches[before + count_bits(votes & ((1u << lane) - 1))] = r;
        block_sync();
        if (column < width)
            for (u32 m = 0; m < all; m++) total += to_f32(dy[u64(matches[m]) * width + column]);
    }
    if (column < width) {
        u64 at = (u64(block_y()) * grid_x() + id) * width + column;
        out[at] = from_f32<U>(accumulate ? to_f32(out[at]) + total : total);
    }
}

// ---- kernels -------------------------------------------------------------------------------

// gather: table [V, width], ids [rows] below V -> y [rows, width].
// embedding_bwd: dy [rows, width], ids [rows] -> out [chunks, V, width] f32 with grid
// (V, chunks = ceil(rows / chunk), ceil(width / threads)); several chunks are added up by
// column_sum_f32. With accumulate, added to what `out` holds.
#define EMBEDDING(T, suffix)                                                                       \
    KERNEL(embedding_fwd_##suffix, ptr<const T> table, ptr<const u32> ids, ptr<T> y, u32 rows,     \
           u32 width) {                                                                            \
        gather(table, ids, y, rows, width);                                                        \
    }                                                                                              \
    KERNEL(embedding_bwd_##suffix, ptr<const T> dy, ptr<const u32> ids, ptr<float> out, u32 rows,  \
           u32 width, u32 chunk, u32 accumulate) {                                                 \
        scatter(dy, ids, out, rows, width, chunk, accumulate);                                     \
    }

EMBEDDING(float, f32)
EMBEDDING(half, f16)

// As embedding_bwd_f16 with one chunk, for a table that is an activation: its gradient is f16, too.
KERNEL(gather_bwd_f16, ptr<const half> dy, ptr<const u32> ids, ptr<half> out, u32 rows, u32 width,
       u32 chunk, u32 accumulate) {
    scatter(dy, ids, out, rows, width, chunk, accumulate);
}
