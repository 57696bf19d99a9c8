// Micro-benchmarks of what the kernels of whole sequences are predicted from, each with a known result.
#include "device.cuh"

#ifdef HAS_MMA
// Matrix instructions with everything in registers, in four chains a warp: products of ones.
// y [blocks, threads]: 64 `rounds`, exactly below 2^24
KERNEL_OF(256, measure_mma, ptr<float> y, u32 rounds) {
    constexpr u32 ONES = 0x3C003C00;
    u32 a[4] = {ONES, ONES, ONES, ONES}, b[2] = {ONES, ONES};
    float sum[4][4] = {};
    ROLLED
    for (u32 round = 0; round < rounds; round++)
        for (u32 chain = 0; chain < 4; chain++) mma_m16n8k16(sum[chain], a, b, sum[chain]);
    float of_all = 0.0f;
    for (u32 chain = 0; chain < 4; chain++) of_all += sum[chain][0];
    y[u64(block_x()) * threads() + thread_x()] = of_all;
}
#endif

#ifdef HAS_CLUSTERS
// Two blocks of a warp send each other a number to and fro, each time one more than what came.
// y [2]: 2 `rounds` and one less; UINT32_MAX where a wait took too long
KERNEL_OF(32, measure_ping_pong, ptr<u32> y, u32 rounds) {
    SHARED(u32, inbox, 2);  // they take turns
    SHARED(u64, full, 2);
    u32 rank = cluster_rank(), value = 0;
    bool first = thread_x() == 0, in_time = true;
    for (u32 slot = 0; first && slot < 2; slot++) {
        mbar_init(full + slot, 1);
        if (slot < rounds) mbar_arrive_expect_tx(full + slot, 4);
    }
    cluster_arrive();
    cluster_wait();
    for (u32 turn = 0; turn < 2 * rounds && in_time; turn++) {
        u32 slot = turn / 2 % 2;
        if (turn % 2 == rank) {
            auto to = map_remote(inbox + slot, rank ^ 1);
            if (first) st_async(to, value + 1, map_remote(full + slot, rank ^ 1));
            continue;
        }
        in_time = mbar_wait(full + slot, turn / 4 % 2);
        if (first && in_time) value = inbox[slot];
        if (first && in_time && turn + 4 < 2 * rounds) mbar_arrive_expect_tx(full + slot, 4);
    }
    if (first) y[rank] = in_time ? value : ~0u;
    cluster_arrive();
    cluster_wait();
}
#endif
