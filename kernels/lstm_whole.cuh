// What both passes of an LSTM over whole packed sequences have in common, lstm_whole_fwd.cu and
// lstm_whole_bwd.cu, some of it with the decoder of attention_whole.cuh; see whole.cuh. Formulas and gate order
// are those of lstm.cu.
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

// A namespace for the kernels of each cell: the emulated device links them all.
namespace lstm {

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
DEVICE void give_up(ptr<u32> fault, u32 t, u32 cluster, u32 kernel, const Lane& me) {
    if (me.lane > 0 || atomic_add(fault, 1) > 0) return;
    fault[1] = t;
    fault[2] = cluster;
    fault[3] = kernel;
}
constexpr half NOT_A_NUMBER{0x7FFF};

// ---- forward -------------------------------------------------------------------------------

// A lane's part of slice k of W_hh [4H, H]: rows i, f (tile 0) or g, o (tile 1) of its warp's units.
DEVICE u32x4 gates_of(ptr<const half> w, u32 hidden, const Lane& me, u32 tile, u32 k) {
    u32x4 a;
    for (u32 r = 0; r < 4; r++) {
        u64 row = (2 * tile + r % 2) * hidden + me.unit;
        u64 at = row * hidden + 16 * k + 2 * me.pair + r / 2 * 8;
        a.word[r] = view<const u32>(w + at)[0];
    }
    return a;
}

// A unit of a row after a step.
struct Unit {
    float i, f, g, o, c;
    half h;
};
DEVICE Unit step_of(const float (&z)[4][2], u32 e, float c_before) {
    Unit u;
    u.i = sigmoid(z[0][e]);
    u.f = sigmoid(z[1][e]);
    u.g = tanh_exact(z[2][e]);
    u.o = sigmoid(z[3][e]);
    u.c = u.i * u.g + u.f * c_before;
    u.h = to_half(u.o * tanh_exact(u.c));
    return u;
}

// What the pass writes.
struct Results {
    ptr<half> y, gates;
    ptr<float> cells;
    ptr<half> h_n;
    ptr<float> c_n;
};

// A lane's unit of a row of a step; `next` are the rows of the step after it.
template <u32 H>
DEVICE void write(const Results& out, const Unit& u, Step step, u32 next, u32 row, const Lane& me) {
    if (row >= step.rows) return;
    u64 at = step.first + row;
    (out.y + me.unit + at * H)[0] = u.h;
    if (out.gates) {
        auto gates = out.gates + me.unit + at * (4 * H);
        gates[0] = to_half(u.i);
        gates[H] = to_half(u.f);
        gates[2 * H] = to_half(u.g);
        gates[3 * H] = to_half(u.o);
        (out.cells + me.unit + at * H)[0] = u.c;
    }
    if (row < next) return;
    u64 of = u64(row) * H + me.unit;
    out.h_n[of] = u.h;
    out.c_n[of] = u.c;
}

// What was given up must not pass for a result.
template <u32 H>
DEVICE void spoil(const Results& out, const Rows& all, const Lane& me, Step step) {
    for (u32 r = 0; r < all.live(step) * ROWS; r++) {
        u32 row = all.row(r / ROWS, r % ROWS);
        if (row >= step.rows) continue;
        out.y[u64(step.first + row) * H + me.unit] = NOT_A_NUMBER;
        out.h_n[u64(row) * H + me.unit] = NOT_A_NUMBER;
        out.c_n[u64(row) * H + me.unit] = to_f32(NOT_A_NUMBER);
    }
}

// ---- backward ------------------------------------------------------------------------------

// What the backward pass reads and writes besides the weights.
struct Layer {
    ptr<const half> dy, gates;
    ptr<const float> cells;
    ptr<const half> y, h_0;
    ptr<const float> c_0;
    ptr<half> dz, before;
    ptr<float> dh, dc;
};

// What the forward pass left of a unit for a lane's two rows, and dy; halves are bits. h and c before are
// those of the step before.
struct Saved {
    u32 gate[4][2], dy[2], h_before[2];
    float c[2], c_before[2];
};
// `before` is the step before, with t > 0.
template <u32 H>
DEVICE void load_saved(Saved& s, const Layer& of, const Rows& all, const Lane& me, Step step, Step before,
                       bool first, u32 j) {
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e);
        u64 at = step.at(row);
        auto gates = of.gates + me.unit + at * (4 * H);
        for (u32 k = 0; k < 4; k++) s.gate[k][e] = ld_nc_bits(gates + k * H);
        s.c[e] = ld_nc(of.cells + me.unit + at * H);
        s.dy[e] = of.dy ? ld_nc_bits(of.dy + me.unit + at * H) : 0;
        u64 last = before.at(row), given = row < all.rows ? row : all.rows - 1;
        auto c = first ? of.c_0 + me.unit + given * H : of.cells + me.unit + last * H;
        auto h = first ? of.h_0 + me.unit + given * H : of.y + me.unit + last * H;
        s.c_before[e] = first && !of.c_0 ? 0.0f : ld_nc(c);
        s.h_before[e] = !of.before || (first && !of.h_0) ? 0 : ld_nc_bits(h);
    }
}

// W^T dz of the warp's 16 units and a group's rows over half of W's rows, of which its neighbour has the other
// half: what the lane adds up, and what its neighbour does. The half is so many slices of 16 rows; the first HELD
// are in registers. CHAINS are the sums that go on side by side, up to four: with more some kernels spill.
template <u32 SLICES, u32 HELD, u32 WARPS, u32 CHAINS>
DEVICE void multiply_back(float (&own)[2], float (&other)[2], const u32 (&w)[HELD][1][4],
                          ptr<const u32x4> rest, ptr<const half> dz, const Lane& me) {
    float sum[4][4] = {};  // over every second or fourth slice
    u32 mine = me.warp % 2;
    auto half_of = dz + (mine * SLICES * 16 + me.lane) * ROWS;
    UNROLL
    for (u32 k = 0; k < HELD; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, half_of + 16 * k * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32 b2[2] = {b[2 * odd], b[2 * odd + 1]}, chain = (k + odd) % CHAINS;
            mma_m16n8k16(sum[chain], w[k + odd][0], b2, sum[chain]);
        }
    }
    auto beside = rest + (me.warp * 32 + me.lane);
    ROLLED
    for (u32 k = HELD; k < SLICES; k += 4)
        for (u32 half_way = 0; half_way < 2; half_way++) {
            u32 b[4];
            ldmatrix_x4_trans(b, half_of + 16 * (k + 2 * half_way) * ROWS);
            for (u32 odd = 0; odd < 2; odd++) {
                u32 b2[2] = {b[2 * odd], b[2 * odd + 1]}, at = 2 * half_way + odd;
                u32x4 a = ld16(beside + (k + at - HELD) * WARPS * 32);
                mma_m16n8k16(sum[at % CHAINS], a.word, b2, sum[at % CHAINS]);
            }
        }
    for (u32 e = 0; e < 2; e++) {
        float first = (sum[0][e] + sum[2][e]) + (sum[1][e] + sum[3][e]);
        float second = (sum[0][2 + e] + sum[2][2 + e]) + (sum[1][2 + e] + sum[3][2 + e]);
        own[e] = mine ? second : first;
        other[e] = mine ? first : second;
    }
}

// One step back of the lane's unit and a row, as gates_bwd in lstm.cu. dh and dc are the gradients of h and
// c after it; returns that of c before it.
DEVICE float step_back(half (&dz)[4], const Saved& s, u32 e, float dh, float dc) {
    auto gate = [&](u32 k) { return to_f32(half{u16(s.gate[k][e])}); };
    float i = gate(0), f = gate(1), g = gate(2), o = gate(3);
    dh += to_f32(half{u16(s.dy[e])});
    float tanh_c = tanh_exact(s.c[e]);
    dc += dh * o * (1.0f - tanh_c * tanh_c);
    dz[0] = to_half(dc * g * i * (1.0f - i));
    dz[1] = to_half(dc * s.c_before[e] * f * (1.0f - f));
    dz[2] = to_half(dc * i * (1.0f - g * g));
    dz[3] = to_half(dh * tanh_c * o * (1.0f - o));
    return dc * f;
}

}  // namespace lstm

#endif
