// What both passes of an LSTM over whole packed sequences have in common: lstm_whole_fwd.cu and
// lstm_whole_bwd.cu (Diamos et al., "Persistent RNNs", 2016). A cluster of blocks holds W_hh on the chip
// and takes groups of eight rows through all their steps, one launch for a pass. Formulas and gate order
// are those of lstm.cu.
//
// A block owns 64 units, a warp eight of them, a lane one unit of two rows. Weights are the matrix
// instruction's A: they stay in registers, the part of H above 256 in shared memory. What the steps
// hand on is its B, [K, 8] in shared memory: each lane sends its part to every block of the cluster, and
// an mbarrier there counts the bytes of a group's step. Two buffers take turns. Nobody overwrites what
// is still read: who sends step t + 1 has all of step t, which every warp sent after it had read t - 1.
//
// Launch shape: clusters of H / 64 blocks of 256 threads. Clusters are independent: any number may
// run at once. A wait has a bound; beyond it `fault` names the step and the cluster.
#pragma once
#include "device.cuh"

#ifdef HAS_CLUSTERS

constexpr u32 OWN = 64;     // units of a block
constexpr u32 WARPS = 8;    // of a block, of 8 units each
constexpr u32 ROWS = 8;     // of a group
// Slices of 16 columns of its weights that a warp holds in registers; the others are in shared memory.
DEVICE constexpr u32 held(u32 hidden) { return hidden < 256 ? hidden / 16 : 16; }

// ---- who computes what -----------------------------------------------------------------------

// Rows of a step: sequences are sorted by length, so those that have a step are the first ones. Where
// several layers take turns in the rows, a cluster works for one of them.
struct Rows {
    ptr<const u32> offsets;  // [steps + 1] rows before each step; null if all sequences have all steps
    u32 steps, rows, ways;
    u32 cluster, clusters;  // of a layer's
    u32 way, groups;

    DEVICE u64 first(u32 t) const { return offsets ? offsets[t] : u64(t) * rows; }
    DEVICE u32 active(u32 t) const {
        if (t >= steps) return 0;
        return offsets ? offsets[t + 1] - offsets[t] : rows;
    }
    // Row `r` of the cluster's group j among all of a step.
    DEVICE u32 row(u32 j, u32 r) const { return ((cluster + j * clusters) * ROWS + r) * ways + way; }
    // Groups of the cluster that have step t.
    DEVICE u32 live(u32 t) const {
        u32 n = active(t), j = 0;
        while (j < groups && row(j, 0) < n) j++;
        return j;
    }
};

// A lane's place: unit `own` of its block, `unit` of the layer, rows 2 pair and the next of a group.
struct Lane {
    u32 warp, lane, pair, own, unit;
};
DEVICE Lane lane_of() {
    u32 warp = thread_x() / 32, lane = thread_x() % 32, own = warp * 8 + lane / 4;
    return Lane{warp, lane, lane % 4, own, cluster_rank() * OWN + own};
}
DEVICE Rows rows_of(ptr<const u32> offsets, u32 steps, u32 rows, u32 ways, u32 groups, u32 blocks) {
    u32 cluster = block_x() / blocks, clusters = grid_x() / blocks / ways;
    return Rows{offsets, steps, rows, ways, cluster % clusters, clusters, cluster / clusters, groups};
}

// A lane's two rows in a register.
DEVICE u32 packed(half h, u32 e) { return u32(h.bits) << (16 * e); }
DEVICE float unpacked(u32 pair, u32 e) { return to_f32(half{u16(pair >> (16 * e))}); }

// The first that gives up says where: step, cluster and number of the kernel.
DEVICE void give_up(ptr<u32> fault, u32 t, u32 kernel, const Lane& me) {
    if (me.lane > 0 || atomic_add(fault, 1) > 0) return;
    fault[1] = t;
    fault[2] = block_x() / (kernel / 2 / OWN);
    fault[3] = kernel;
}
constexpr half NOT_A_NUMBER{0x7FFF};

// A cluster barrier: before it all mbarriers are made; and no block leaves while another one may reach
// into its memory.
DEVICE void cluster_sync() {
    cluster_arrive();
    cluster_wait();
}

#endif
