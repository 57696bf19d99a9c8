// One kernel for each primitive of device.cuh that has a meaning of its own to check.
#include "device.cuh"

// x [32 warps], lanes [32]: y = x of lane i ^ lanes, z = x of lane source[i]
KERNEL(probe_shuffle, ptr<const u32> x, u32 lanes, ptr<const u32> source, ptr<u32> y, ptr<u32> z) {
    u32 i = thread_x();
    y[i] = shfl_xor(x[i], lanes);
    z[i] = shfl_idx(x[i], source[i]);
}
// Two half warps with masks of their own. x, y, votes [32]
KERNEL(probe_half_warps, ptr<const float> x, ptr<float> y, ptr<u32> votes) {
    u32 i = thread_x(), mask = i < 16 ? 0x0000FFFFu : 0xFFFF0000u;
    y[i] = shfl_xor(x[i], 8, mask);
    votes[i] = vote_ballot(x[i] > 0.0f, mask);
    syncwarp(mask);
}

#ifdef HAS_MMA
// a [16, 16] row-major halves, b [8, 16] (column-major K x N), c and d [16, 8] f32.
// The fragments of A and of B come through ldmatrix.
KERNEL(probe_mma, ptr<const half> a, ptr<const half> b, ptr<const float> c, ptr<float> d) {
    SHARED(half, tile_a, 256);
    SHARED(half, tile_b, 256);
    u32 lane = thread_x(), g = lane / 4, t = lane % 4;
    for (u32 i = lane; i < 256; i += 32) {
        tile_a[i] = a[i];
        tile_b[i] = b[i % 128];
    }
    block_sync();
    // Matrices 0..3: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15.
    u32 fa[4], fb[4];
    ldmatrix_x4(fa, tile_a + ((lane % 16) * 16 + lane / 16 * 8));
    // B by columns: matrix 0 is k 0-7, matrix 1 k 8-15 (2 and 3 repeat them).
    ldmatrix_x4(fb, tile_b + ((lane % 8) * 16 + lane / 8 % 2 * 8));
    float fc[4], fd[4];
    for (u32 v = 0; v < 4; v++) fc[v] = c[(g + v / 2 * 8) * 8 + 2 * t + v % 2];
    u32 fb2[2] = {fb[0], fb[1]};
    mma_m16n8k16(fd, fa, fb2, fc);
    for (u32 v = 0; v < 4; v++) d[(g + v / 2 * 8) * 8 + 2 * t + v % 2] = fd[v];
}
#endif

// x [8, 32] row-major halves; y [32, 8]: every 8 x 8 block of x, transposed by ldmatrix.
KERNEL(probe_ldmatrix_trans, ptr<const half> x, ptr<half> y) {
    SHARED(half, tile, 256);
    u32 lane = thread_x();
    for (u32 i = lane; i < 256; i += 32) tile[i] = x[i];
    block_sync();
    u32 r[4];
    ldmatrix_x4_trans(r, tile + (lane % 8 * 32 + lane / 8 * 8));
    for (u32 m = 0; m < 4; m++) {
        u32 at = (m * 8 + lane / 4) * 8 + 2 * (lane % 4);
        y[at] = half{u16(r[m])};
        y[at + 1] = half{u16(r[m] >> 16)};
    }
}

// How lanes meet in the banks of shared memory, a line each. x [64], y [32]
KERNEL(probe_banks, ptr<const float> x, ptr<float> y) {
    SHARED(float, tile, 32 * 33);
    SHARED(half, rows, 32 * 64);
    u32 lane = thread_x();
    for (u32 i = lane; i < 32 * 33; i += 32) tile[i] = 1.0f;      // one word a bank
    for (u32 i = lane; i < 32 * 64; i += 32) rows[i] = half{0};   // two lanes a word
    block_sync();
    float sum = 0.0f;
    sum += tile[32 * lane];                // all words in one bank
    sum += tile[33 * lane];                // padded
    sum += tile[7];                        // all lanes the same word
    sum += tile[2 * lane];                 // two words a bank
    sum += tile[lane / 2 * 32];            // 16 words in one bank, each for two lanes
    if (lane < 8) sum += tile[32 * lane];  // the lanes that there are
    u32x4 apart = ld16(tile + 4 * lane);     // a pass a quarter warp
    u32x4 stacked = ld16(tile + 32 * lane);  // eight lanes in the same four banks
    u32 r[4];
    ldmatrix_x4(r, rows + 8 * lane);   // rows of 16 bytes after one another
    ldmatrix_x4(r, rows + 64 * lane);  // rows 128 bytes apart
    y[lane] = sum + float_of(apart.word[0]) + float_of(stacked.word[3]) + x[lane];
}

// Elements of dynamic shared memory travel backwards through the block. x, y [threads]
KERNEL(probe_dynamic_shared, ptr<const float> x, ptr<float> y) {
    auto tile = dynamic_shared<float>();
    tile[thread_x()] = x[thread_x()];
    block_sync();
    y[thread_x()] = tile[threads() - 1 - thread_x()];
}

// total [1], seen [blocks * threads]: integer atomics count every thread once.
KERNEL(probe_atomics, ptr<u32> total, ptr<u32> seen) {
    u32 place = atomic_add(total, 1);
    fence();
    seen[place] = block_x() * threads() + thread_x();
}

// y [blocks, threads]: sums over blocks and warps of x, and popcount.
KERNEL(probe_sums, ptr<const float> x, ptr<float> y, ptr<u32> bits) {
    SHARED(float, scratch, 32);
    u32 i = block_x() * threads() + thread_x();
    float first = block_sum(x[i], scratch);
    y[i] = first + block_sum(1.0f, scratch);
    bits[i] = count_bits(i);
}

// counters [n, 4], keys [n, 2], y [n, 4]
KERNEL(probe_philox, ptr<const u32> counters, ptr<const u32> keys, ptr<u32> y, u32 n) {
    u32 i = block_x() * threads() + thread_x();
    if (i >= n) return;
    u32 c[4];
    for (u32 w = 0; w < 4; w++) c[w] = counters[4 * i + w];
    philox4x32_10(c, keys[2 * i], keys[2 * i + 1]);
    for (u32 w = 0; w < 4; w++) y[4 * i + w] = c[w];
}

// x [n] halves and f32 to each other; y, z [n]
KERNEL(probe_halves, ptr<const half> x, ptr<const float> w, ptr<float> y, ptr<half> z, u32 n) {
    u32 i = block_x() * threads() + thread_x();
    if (i >= n) return;
    y[i] = to_f32(ld_nc(x + i));
    st_cs(z + i, to_half(ld_nc(w + i)));
}

// x [n], y [5, n]: the functions of the special function unit and what is made of them
KERNEL(probe_functions, ptr<const float> x, ptr<float> y, u32 n) {
    u32 i = block_x() * threads() + thread_x();
    if (i >= n) return;
    y[i] = ex2(x[i]);
    y[n + i] = rcp(x[i]);
    y[2 * n + i] = tanh_fast(x[i]);
    y[3 * n + i] = tanh_exact(x[i]);
    y[4 * n + i] = sigmoid(x[i]);
}

#ifdef HAS_CLUSTERS
// Each block of a cluster sends its values to the next one. x, y [blocks, threads]
KERNEL(probe_cluster, ptr<const float> x, ptr<float> y, u32 cluster) {
    SHARED(float, inbox, 64);
    u32 i = block_x() * threads() + thread_x();
    cluster_arrive();
    cluster_wait();  // every block runs before the first remote store
    auto to = map_remote(inbox + 0, (cluster_rank() + 1) % cluster);
    st_cluster(to + thread_x(), x[i]);
    cluster_arrive();
    cluster_wait();
    y[i] = inbox[thread_x()];
}
#endif
