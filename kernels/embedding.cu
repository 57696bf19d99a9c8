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

// Rows that one block sorts: a list.
constexpr u32 LIST = 2048;

// Sorts the rows of a list by their ids, those of an id in their order, and says where each id
// begins. A bitonic sort (Batcher 1968) of (id, row) in shared memory: the same steps whatever the
// ids are. A block takes a list.
DEVICE void sort_rows_of(ptr<const u32> ids, ptr<u32> order, ptr<u32> starts, u32 rows, u32 vocab) {
    SHARED(u64, keys, LIST);
    u64 first = u64(block_x()) * LIST;
    u32 n = u32(rows - first < LIST ? rows - first : LIST), size = 2;
    while (size < n) size *= 2;
    for (u32 i = thread_x(); i < size; i += threads())
        keys[i] = i < n ? u64(ids[first + i]) << 32 | i : ~u64(0);
    for (u32 run = 2; run <= size; run *= 2)  // runs of this length become sorted, up and down in turn
        for (u32 apart = run / 2; apart > 0; apart /= 2) {
            block_sync();
            for (u32 t = thread_x(); t < size / 2; t += threads()) {
                u32 i = 2 * t - (t & (apart - 1)), j = i + apart;
                u64 a = keys[i], b = keys[j];
                if ((a > b) == ((i & run) == 0)) {
                    keys[i] = b;
                    keys[j] = a;
                }
            }
        }
    block_sync();
    for (u32 i = thread_x(); i < n; i += threads()) order[first + i] = u32(first) + u32(keys[i]);
    for (u32 id = thread_x(); id <= vocab; id += threads()) {
        u32 below = 0, above = n;  // the first key that is not below `id`
        while (below < above) {
            u32 middle = (below + above) / 2;
            if (u32(keys[middle] >> 32) < id)
                below = middle + 1;
            else
                above = middle;
        }
        starts[u64(block_x()) * (vocab + 1) + id] = below;
    }
}

// out[part][id] = sum of dy[r] over the rows r with ids[r] = id of the lists of that part, in a
// fixed order. A block owns one id (block x), one part (block y), and lanes * 8 columns (block z);
// its slots go over the id's rows in turn, and are added in their order.
template <class T, class U>
DEVICE void scatter(ptr<const T> dy, ptr<const u32> order, ptr<const u32> starts, ptr<U> out,
                    u32 rows, u32 width, u32 lists, u32 lanes, u32 accumulate) {
    SHARED(float, partial, 256 * GROUP);
    Part part = part_of(block_z(), lanes);
    u32 id = block_x(), vocab = grid_x();
    u32 all = (rows + LIST - 1) / LIST, list = block_y() * lists;
    u32 end = list + lists < all ? list + lists : all;
    float total[GROUP] = {};
    if (part.slot < part.slots && part.column < width)
        for (; list < end; list++) {
            u64 at = u64(list) * (vocab + 1) + id, base = u64(list) * LIST;
            u32 last = starts[at + 1];
            for (u32 r = starts[at] + part.slot; r < last; r += FLIGHT * part.slots) {
                float v[FLIGHT][GROUP] = {};
                for (u32 k = 0; k < FLIGHT; k++)
                    if (u32 i = r + k * part.slots; i < last)
                        load_columns(dy, u64(order[base + i]) * width, part.column, width, v[k]);
                for (u32 k = 0; k < FLIGHT; k++)
                    for (u32 j = 0; j < GROUP; j++) total[j] += v[k][j];
            }
        }
    for (u32 j = 0; j < GROUP; j++) partial[thread_x() * GROUP + j] = total[j];
    block_sync();
    u32 columns = lanes * GROUP;
    for (u32 t = thread_x(); t < columns; t += threads()) {
        u32 column = block_z() * columns + t;
        if (column >= width) break;
        float sum = partial[t];
        for (u32 s = 1; s < part.slots; s++) sum += partial[s * columns + t];
        u64 at = (u64(block_y()) * vocab + id) * width + column;
        out[at] = from_f32<U>(accumulate ? to_f32(out[at]) + sum : sum);
    }
}

// ---- kernels -------------------------------------------------------------------------------

// gather: table [V, width], ids [rows] below V -> y [rows, width].
// embedding_sort: ids [rows] below V -> order [rows], starts [lists, V + 1]; a list is 2,048 rows, and a
// block along x: order[2048 l + starts[l][id] ..] are its rows of that id.
// embedding_bwd: dy [rows, width], order, starts -> out [parts, V, width] f32 with grid (V, parts =
// ceil(lists / lists a part), ceil(width / (8 lanes))) of at most 256 threads; several parts are
// added up by column_sum_f32. With accumulate, added to what `out` holds.
KERNEL(embedding_sort, ptr<const u32> ids, ptr<u32> order, ptr<u32> starts, u32 rows, u32 vocab) {
    sort_rows_of(ids, order, starts, rows, vocab);
}
#define EMBEDDING(T, suffix)                                                                       \
    KERNEL(embedding_fwd_##suffix, ptr<const T> table, ptr<const u32> ids, ptr<T> y, u32 rows,     \
           u32 width) {                                                                            \
        gather(table, ids, y, rows, width);                                                        \
    }                                                                                              \
    KERNEL(embedding_bwd_##suffix, ptr<const T> dy, ptr<const u32> order, ptr<const u32> starts,   \
           ptr<float> out, u32 rows, u32 width, u32 lists, u32 lanes, u32 accumulate) {            \
        scatter(dy, order, starts, out, rows, width, lists, lanes, accumulate);                    \
    }

EMBEDDING(float, f32)
EMBEDDING(half, f16)

// As embedding_bwd_f16 with one part, for a table that is an activation: its gradient is f16, too.
KERNEL(gather_bwd_f16, ptr<const half> dy, ptr<const u32> order, ptr<const u32> starts,
       ptr<half> out, u32 rows, u32 width, u32 lists, u32 lanes, u32 accumulate) {
    scatter(dy, order, starts, out, rows, width, lists, lanes, accumulate);
}
