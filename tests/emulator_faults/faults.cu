// Kernels with one planted fault each: the emulated device must catch every one.
#include "device.cuh"

// Reverses 64 values through shared memory. x, y [64]
DEVICE void reverse(ptr<const float> x, ptr<float> y, bool barrier) {
    SHARED(float, tile, 64);
    tile[thread_x()] = x[thread_x()];
    if (barrier) block_sync();
    y[thread_x()] = tile[63 - thread_x()];
}
KERNEL(fault_none, ptr<const float> x, ptr<float> y) { reverse(x, y, true); }
KERNEL(fault_missing_barrier, ptr<const float> x, ptr<float> y) { reverse(x, y, false); }

// Sums of neighbours, twice over, with no barrier before the tile is written again: every value
// that is read is a number, but which one depends on the schedule. x, y [64]
KERNEL(fault_missing_second_barrier, ptr<const float> x, ptr<float> y) {
    SHARED(float, tile, 64);
    float v = x[thread_x()];
    for (u32 pass = 0; pass < 2; pass++) {
        tile[thread_x()] = v;
        block_sync();
        v += tile[(thread_x() + 1) % 64];
    }
    y[thread_x()] = v;
}

// x [n], thread i writes x[i + shift]
KERNEL(fault_stray_write, ptr<float> x, i32 shift) { x[i32(thread_x()) + shift] = 1.0f; }
KERNEL(fault_stray_read, ptr<const float> x, ptr<float> y, i32 shift) {
    y[thread_x()] = x[i32(thread_x()) + shift];
}
KERNEL(fault_stray_shared, ptr<float> y) {
    SHARED(float, tile, 32);
    tile[thread_x() + 1] = 1.0f;
    y[thread_x()] = tile[thread_x()];
}

// Writes past the end through a pointer that knows no bounds. x [n]
KERNEL(fault_plain_pointer, ptr<float> x, u32 n) { *(&x[0] + n) = 1.0f; }

KERNEL(fault_early_return, ptr<float> x, u32 n) {
    if (thread_x() >= n) return;
    block_sync();
    x[thread_x()] = 1.0f;
}
KERNEL(fault_early_return_from_warp, ptr<float> x, u32 n) {
    if (thread_x() >= n) return;
    x[thread_x()] = shfl_xor(1.0f, 1);
}
KERNEL(fault_divergent_barriers, ptr<float> x) {
    if (thread_x() < 32) {
        block_sync();
    } else {
        block_sync();
    }
    x[thread_x()] = 1.0f;
}
KERNEL(fault_divergent_collectives, ptr<float> x) {
    float v = thread_x() < 16 ? shfl_xor(1.0f, 1) : shfl_idx(1.0f, 1);
    x[thread_x()] = v;
}
KERNEL(fault_not_in_mask, ptr<float> x) { x[thread_x()] = shfl_xor(1.0f, 1, 0x0000FFFF); }

KERNEL(fault_unaligned_load, ptr<const float> x, ptr<float> y) { st16(y, ld16(x + 1)); }
KERNEL(fault_unaligned_store, ptr<const float> x, ptr<float> y) { st16(y + 2, ld16(x)); }

// y [32]: copies of memory that nobody wrote
KERNEL(fault_uninitialised, ptr<const float> x, ptr<float> y) { y[thread_x()] = x[thread_x()]; }
KERNEL(fault_uninitialised_shared, ptr<float> y) {
    SHARED(float, tile, 32);
    y[thread_x()] = tile[thread_x()];
}

// The GPU's assembler refuses this one.
#ifndef __CUDACC_RTC__
KERNEL(fault_too_much_shared, ptr<float> x) {
    SHARED(float, tile, 13000);
    tile[thread_x()] = 1.0f;
    x[thread_x()] = tile[thread_x()];
}
#endif

#ifdef HAS_CLUSTERS
// A store to the peer that no barrier delivers.
KERNEL(fault_unawaited_store, ptr<float> x) {
    SHARED(float, tile, 1);
    st_cluster(map_remote(tile + 0, cluster_rank() ^ 1), 1.0f);
    x[0] = 1.0f;
}
// Reads what the peer stored before waiting for it. y [blocks]
KERNEL(fault_early_remote_read, ptr<float> y) {
    SHARED(float, tile, 1);
    tile[0] = 0.0f;
    cluster_arrive();
    cluster_wait();
    st_cluster(map_remote(tile + 0, cluster_rank() ^ 1), 1.0f);
    cluster_arrive();
    y[block_x()] = tile[0];
    cluster_wait();
}
KERNEL(fault_no_cluster_arrive, ptr<float> x) {
    cluster_wait();
    x[0] = 1.0f;
}
#endif
