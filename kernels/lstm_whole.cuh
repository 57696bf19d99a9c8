// What both passes of an LSTM over whole packed sequences have in common: lstm_whole_fwd.cu and
// lstm_whole_bwd.cu; see whole.cuh. Formulas and gate order are those of lstm.cu.
//
// A block of a cluster owns 64 units, a warp eight of them, a lane one unit of two rows. Each lane sends its
// part of what the steps hand on to every block of the cluster, and an mbarrier there counts the bytes of a
// group's step. Two buffers take turns. Nobody overwrites what
// is still read: who sends step t + 1 has all of step t, which every warp sent after it had read t - 1.
// Up to 128 units one block holds everything: it is its own cluster, and a barrier of the block stands
// for the mbarriers, so that matrix instructions (compute capability 8.0) are enough.
//
// Launch shape: clusters of H / 64 blocks of 256 threads; up to 128 units blocks of 4 H threads. Clusters
// are independent: any number may run at once. A wait has a bound; beyond it `fault` names the step
// and the cluster.
#pragma once
#include "whole.cuh"

#ifdef HAS_MMA

DEVICE constexpr u32 own_of(u32 hidden) { return hidden <= 128 ? hidden : 64; }  // units of a block
DEVICE constexpr u32 blocks_of(u32 hidden) { return hidden / own_of(hidden); }
DEVICE constexpr u32 warps_of(u32 hidden) { return own_of(hidden) / 8; }
DEVICE constexpr u32 threads_of(u32 hidden) { return warps_of(hidden) * 32; }
// Slices of 16 columns of its weights that a warp holds in registers; the others are in shared memory.
DEVICE constexpr u32 held(u32 hidden) { return hidden < 256 ? hidden / 16 : 16; }

// ---- who computes what -----------------------------------------------------------------------

DEVICE Lane lane_of(u32 rank, u32 units) {
    u32 warp = thread_x() / 32, lane = thread_x() % 32, own = warp * 8 + lane / 4;
    return Lane{warp, lane, lane % 4, own, rank * units + own};
}

// ---- what the blocks of a cluster hand on --------------------------------------------------------

// The peers of a block: B blocks, which mbarriers keep in step.
template <u32 B>
struct Peers;

// A block alone.
template <>
struct Peers<1> {
    DEVICE static u32 rank() { return 0; }
    // Before the first step, and after the last.
    DEVICE static void meet() { block_sync(); }
    DEVICE static void step_is_over() { block_sync(); }
    DEVICE static void prepare(ptr<u64>) {}
    DEVICE static void expect(ptr<u64>, u32) {}
    DEVICE static bool wait(ptr<u64>, u32) { return true; }
    DEVICE static void send(ptr<u32> to, u32 value, ptr<u64>) { to[0] = value; }
};

#ifdef HAS_CLUSTERS
template <u32 B>
struct Peers {
    DEVICE static u32 rank() { return cluster_rank(); }
    // Before it all mbarriers are made; and no block leaves while another one may reach into its memory.
    DEVICE static void meet() {
        cluster_arrive();
        cluster_wait();
    }
    DEVICE static void step_is_over() {}
    DEVICE static void prepare(ptr<u64> full) { mbar_init(full, 1); }
    DEVICE static void expect(ptr<u64> full, u32 bytes) { mbar_arrive_expect_tx(full, bytes); }
    DEVICE static bool wait(ptr<u64> full, u32 parity) { return mbar_wait(full, parity); }
    DEVICE static void send(ptr<u32> to, u32 value, ptr<u64> full) {
        for (u32 rank = 0; rank < B; rank++)
            st_async(map_remote(to, rank), value, map_remote(full, rank));
    }
};
#endif

// The first that gives up says where: step, cluster and number of the kernel.
DEVICE void give_up(ptr<u32> fault, u32 t, u32 kernel, const Lane& me) {
    if (me.lane > 0 || atomic_add(fault, 1) > 0) return;
    fault[1] = t;
    fault[2] = block_x() / blocks_of(kernel / 2);
    fault[3] = kernel;
}
constexpr half NOT_A_NUMBER{0x7FFF};

#endif
