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

// Sums of neighbours, twice over, with no barrier before the tile is written again. x, y [64]
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

// Two warps exchange numbers at a barrier of their own; a third one may look, too. x, y [threads]
enum Meeting { TOGETHER, NOT_AT_ALL, ONE_STAYS_AWAY, AT_TWO_NUMBERS, AT_TWO_PLACES };
DEVICE void meet(ptr<const float> x, ptr<float> y, u32 count, Meeting how) {
    SHARED(float, tile, 96);
    u32 me = thread_x(), warp = me / 32;
    tile[me] = x[me];
    if (how == AT_TWO_PLACES && warp == 0) {
        bar_sync(1, count);
    } else if (how == AT_TWO_NUMBERS && warp == 0) {
        bar_sync(2, count);
    } else if (how != NOT_AT_ALL && warp < 2 && !(how == ONE_STAYS_AWAY && warp == 0)) {
        bar_sync(1, count);
    }
    if (how == ONE_STAYS_AWAY && warp == 0) return;
    y[me] = tile[warp < 2 ? me ^ 32 : me - 32];
}
KERNEL(fault_meeting_none, ptr<const float> x, ptr<float> y, u32 count) { meet(x, y, count, TOGETHER); }
KERNEL(fault_meeting_missing, ptr<const float> x, ptr<float> y, u32 count) {
    meet(x, y, count, NOT_AT_ALL);
}
KERNEL(fault_meeting_alone, ptr<const float> x, ptr<float> y, u32 count) {
    meet(x, y, count, ONE_STAYS_AWAY);
}
KERNEL(fault_meeting_two_numbers, ptr<const float> x, ptr<float> y, u32 count) {
    meet(x, y, count, AT_TWO_NUMBERS);
}
KERNEL(fault_meeting_two_places, ptr<const float> x, ptr<float> y, u32 count) {
    meet(x, y, count, AT_TWO_PLACES);
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

// With more threads than it is compiled for.
KERNEL_OF(64, fault_more_threads, ptr<float> x) { x[thread_x()] = 1.0f; }

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

// Two blocks of a warp send each other 32 numbers and add what they get, four times, through two
// buffers in turn and an mbarrier each. y [blocks, 32]
enum Fault { NONE, NO_WAIT, WRONG_PARITY, TOO_SOON, EARLY_EXIT, NOT_EXPECTED, NO_CLUSTER_BARRIER };
DEVICE void exchange(ptr<float> y, Fault fault) {
    SHARED(u32, inbox, 64);
    SHARED(u64, full, 2);
    u32 lane = thread_x(), peer = cluster_rank() ^ 1;
    if (lane == 0)
        for (u32 b = 0; b < 2; b++) {
            mbar_init(full + b, 1);
            if (fault != NOT_EXPECTED) mbar_arrive_expect_tx(full + b, 128);
        }
    if (fault != NO_CLUSTER_BARRIER) {
        cluster_arrive();
        cluster_wait();
    }
    float v = float(lane + 32 * block_x());
    for (u32 step = 0; step < 4; step++) {
        u32 b = fault == TOO_SOON ? 0 : step % 2, turn = fault == TOO_SOON ? step : step / 2;
        if (fault == EARLY_EXIT && step == 2 && peer == 0) return;
        st_async(map_remote(inbox + (32 * b + lane), peer), bits_of(v), map_remote(full + b, peer));
        u32 parity = fault == WRONG_PARITY && step == 3 ? 0 : turn % 2;
        if (fault != NO_WAIT || step != 3)
            if (!mbar_wait(full + b, parity)) {
                v = -1.0f;
                break;
            }
        v += float_of(inbox[32 * b + (lane + 1) % 32]);
        if (lane == 0 && step + (fault == TOO_SOON ? 1 : 2) < 4) mbar_arrive_expect_tx(full + b, 128);
    }
    y[32 * block_x() + lane] = v;
    cluster_arrive();
    cluster_wait();
}
KERNEL(fault_exchange_none, ptr<float> y) { exchange(y, NONE); }
KERNEL(fault_exchange_no_wait, ptr<float> y) { exchange(y, NO_WAIT); }
KERNEL(fault_exchange_wrong_parity, ptr<float> y) { exchange(y, WRONG_PARITY); }
KERNEL(fault_exchange_too_soon, ptr<float> y) { exchange(y, TOO_SOON); }
KERNEL(fault_exchange_early_exit, ptr<float> y) { exchange(y, EARLY_EXIT); }
KERNEL(fault_exchange_not_expected, ptr<float> y) { exchange(y, NOT_EXPECTED); }
KERNEL(fault_exchange_no_cluster_barrier, ptr<float> y) { exchange(y, NO_CLUSTER_BARRIER); }
// A store that nobody waits for.
KERNEL(fault_unawaited_async_store, ptr<float> y) {
    SHARED(u32, inbox, 1);
    SHARED(u64, full, 1);
    if (thread_x() == 0) mbar_init(full + 0, 1);
    cluster_arrive();
    cluster_wait();
    u32 peer = cluster_rank() ^ 1;
    if (thread_x() == 0) st_async(map_remote(inbox + 0, peer), 1, map_remote(full + 0, peer));
    cluster_arrive();
    cluster_wait();
    y[block_x()] = 1.0f;
}
#endif
