// The forward pass of an LSTM over whole sequences in one launch: see lstm_whole.cuh. The product is
// (4 gates of 8 units) x (8 rows), so a lane's results are all four gates of its unit.
#include "lstm_whole.cuh"

#ifdef HAS_CLUSTERS

// The block's dynamic shared memory.
template <u32 H>
struct Shared {
    ptr<u32x4> weights;  // [slice][warp][tile][lane] those that are not in registers
    ptr<half> h;         // [2][groups][H][8]
    ptr<float> c;        // [groups][64][8]
    ptr<u64> full;       // [groups][2] all of an h is there
    u32 groups;

    static constexpr u32 BYTES = H * ROWS * 2;  // of an h
    DEVICE ptr<half> state(u32 t, u32 j) const { return h + ((t % 2 * groups + j) * H) * ROWS; }
    DEVICE ptr<u64> barrier(u32 t, u32 j) const { return full + (2 * j + t % 2); }
};
template <u32 H>
DEVICE Shared<H> shared_of(u32 groups) {
    auto weights = dynamic_shared<u32x4>();
    auto h = view<half>(weights + (H / 16 - held(H)) * WARPS * 2 * 32);
    auto c = view<float>(h + 2 * groups * H * ROWS);
    return Shared<H>{weights, h, c, view<u64>(c + groups * OWN * ROWS), groups};
}

// A lane's part of slice k of the weights: rows i, f (tile 0) or g, o (tile 1) of its warp's units.
DEVICE u32x4 weights_of(ptr<const half> w, u32 hidden, const Lane& me, u32 tile, u32 k) {
    u32x4 a;
    for (u32 r = 0; r < 4; r++) {
        u64 row = (2 * tile + r % 2) * hidden + me.unit;
        u64 at = row * hidden + 16 * k + 2 * me.pair + r / 2 * 8;
        a.word[r] = view<const u32>(w + at)[0];
    }
    return a;
}

// A warp's weights: in registers what it holds, the rest in shared memory.
template <u32 H>
DEVICE void hold(u32 (&w)[held(H)][2][4], ptr<u32x4> rest, ptr<const half> w_hh, const Lane& me) {
    constexpr u32 HELD = held(H);
    UNROLL
    for (u32 k = 0; k < HELD; k++)
        for (u32 tile = 0; tile < 2; tile++) {
            u32x4 a = weights_of(w_hh, H, me, tile, k);
            for (u32 r = 0; r < 4; r++) w[k][tile][r] = a.word[r];
        }
    ROLLED
    for (u32 k = HELD; k < H / 16; k++)
        for (u32 tile = 0; tile < 2; tile++) {
            u32 at = ((k - HELD) * WARPS + me.warp) * 2 + tile;
            st16(rest + (at * 32 + me.lane), weights_of(w_hh, H, me, tile, k));
        }
}

// The states before step 0, and what the mbarriers of the first two steps wait for.
template <u32 H>
DEVICE void begin(const Shared<H>& own, ptr<const half> h_0, ptr<const float> c_0, const Rows& all,
                  const Lane& me) {
    for (u32 i = thread_x(); i < all.groups * ROWS * H; i += threads()) {
        u32 j = i / (ROWS * H), r = i / H % ROWS, unit = i % H, row = all.row(j, r);
        bool given = h_0 && row < all.rows;
        own.h[(j * H + unit) * ROWS + r] = given ? h_0[u64(row) * H + unit] : half{0};
    }
    for (u32 j = 0; j < all.groups; j++)
        for (u32 e = 0; e < 2; e++) {
            u32 r = 2 * me.pair + e, row = all.row(j, r);
            bool given = c_0 && row < all.rows;
            own.c[(j * OWN + me.own) * ROWS + r] = given ? c_0[u64(row) * H + me.unit] : 0.0f;
        }
    if (thread_x() > 0) return;
    for (u32 j = 0; j < all.groups; j++)
        for (u32 t = 1; t <= 2; t++) {
            mbar_init(own.barrier(t, j), 1);
            if (j < all.live(t)) mbar_arrive_expect_tx(own.barrier(t, j), own.BYTES);
        }
}

// What a lane adds to the product: the input side of its unit for its two rows, packed.
struct Inputs {
    u32 gate[4];
};
template <u32 H>
DEVICE Inputs inputs_of(ptr<const half> x, ptr<const u32> ids, const Rows& all, const Lane& me, u32 t,
                        u32 j) {
    Inputs in = {};
    u32 n = all.active(t);
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e);
        if (row >= n) continue;
        u64 at = all.first(t) + row, from = (ids ? ids[at] : at) * 4 * H + me.unit;
        for (u32 k = 0; k < 4; k++) in.gate[k] |= packed(ld_nc(x + (from + k * H)), e);
    }
    return in;
}

// z = W_hh h of the warp's gates and a group's rows, of which the lane gets four of two.
template <u32 H>
DEVICE void multiply(float (&z)[4][2], const u32 (&w)[held(H)][2][4], ptr<const u32x4> rest,
                     ptr<const half> h, const Lane& me) {
    float sum[2][2][4] = {};  // of a tile, over even and over odd slices: four chains
    constexpr u32 SLICES = H / 16, HELD = held(H);
    UNROLL
    for (u32 k = 0; k < HELD; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, h + (16 * k + me.lane) * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32 b2[2] = {b[2 * odd], b[2 * odd + 1]};
            for (u32 tile = 0; tile < 2; tile++)
                mma_m16n8k16(sum[tile][odd], w[k + odd][tile], b2, sum[tile][odd]);
        }
    }
    ROLLED
    for (u32 k = HELD; k < SLICES; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, h + (16 * k + me.lane) * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32 b2[2] = {b[2 * odd], b[2 * odd + 1]};
            for (u32 tile = 0; tile < 2; tile++) {
                u32 at = ((k + odd - HELD) * WARPS + me.warp) * 2 + tile;
                u32x4 a = ld16(rest + (at * 32 + me.lane));
                mma_m16n8k16(sum[tile][odd], a.word, b2, sum[tile][odd]);
            }
        }
    }
    for (u32 tile = 0; tile < 2; tile++)
        for (u32 v = 0; v < 4; v++)
            z[2 * tile + v / 2][v % 2] = sum[tile][0][v] + sum[tile][1][v];
}

// What the pass writes.
struct Results {
    ptr<half> y, gates;
    ptr<float> cells;
    ptr<half> h_n;
    ptr<float> c_n;
};

// One step of the lane's unit and two rows of a group: its h, packed.
template <u32 H>
DEVICE u32 cell(const Results& out, const Shared<H>& own, const float (&z)[4][2], const Inputs& in,
                const float (&b)[4], const Rows& all, const Lane& me, u32 t, u32 j) {
    u32 h_pair = 0, n = all.active(t), goes_on = all.active(t + 1);
    for (u32 e = 0; e < 2; e++) {
        u32 r = 2 * me.pair + e, row = all.row(j, r), at = (j * OWN + me.own) * ROWS + r;
        float i = sigmoid(z[0][e] + unpacked(in.gate[0], e) + b[0]);
        float f = sigmoid(z[1][e] + unpacked(in.gate[1], e) + b[1]);
        float g = tanh_exact(z[2][e] + unpacked(in.gate[2], e) + b[2]);
        float o = sigmoid(z[3][e] + unpacked(in.gate[3], e) + b[3]);
        float c = i * g + f * own.c[at];
        half h = to_half(o * tanh_exact(c));
        own.c[at] = c;
        h_pair |= packed(h, e);
        if (row >= n) continue;
        u64 to = all.first(t) + row, of = u64(row) * H + me.unit;
        out.y[to * H + me.unit] = h;
        if (out.cells) out.cells[to * H + me.unit] = c;
        if (out.gates) {
            auto gates = out.gates + (to * 4 * H + me.unit);
            gates[0] = to_half(i);
            gates[H] = to_half(f);
            gates[2 * H] = to_half(g);
            gates[3 * H] = to_half(o);
        }
        if (row < goes_on) continue;
        out.h_n[of] = h;
        out.c_n[of] = c;
    }
    return h_pair;
}

// What was given up must not pass for a result.
template <u32 H>
DEVICE void spoil(const Results& out, const Rows& all, const Lane& me, u32 t) {
    u32 n = all.active(t);
    for (u32 r = 0; r < all.live(t) * ROWS; r++) {
        u32 row = all.row(r / ROWS, r % ROWS);
        if (row >= n) continue;
        out.y[(all.first(t) + row) * H + me.unit] = NOT_A_NUMBER;
        out.h_n[u64(row) * H + me.unit] = NOT_A_NUMBER;
        out.c_n[u64(row) * H + me.unit] = to_f32(NOT_A_NUMBER);
    }
}

template <u32 H>
DEVICE void whole_fwd(ptr<const half> w_hh, ptr<const half> x, ptr<const u32> ids,
                      ptr<const half> bias, ptr<const half> h_0, ptr<const float> c_0,
                      const Results& out, ptr<u32> fault, const Rows& all) {
    Lane me = lane_of();
    Shared<H> own = shared_of<H>(all.groups);
    u32 w[held(H)][2][4];
    hold<H>(w, own.weights, w_hh + u64(all.way) * 4 * H * H, me);
    begin<H>(own, h_0, c_0, all, me);
    float b[4];
    for (u32 k = 0; k < 4; k++) b[k] = bias ? to_f32(bias[(all.way * 4 + k) * H + me.unit]) : 0.0f;
    cluster_sync();

    Inputs now = inputs_of<H>(x, ids, all, me, 0, 0);
    for (u32 t = 0, live = all.live(0); live > 0; t++) {
        u32 goes_on = all.live(t + 1), later = all.live(t + 2);
        for (u32 j = 0; j < live; j++) {
            // The next input is on its way while h is waited for.
            bool more = j + 1 < live;
            Inputs next = inputs_of<H>(x, ids, all, me, more ? t : t + 1, more ? j + 1 : 0);
            if (t > 0 && !mbar_wait(own.barrier(t, j), (t - 1) / 2 % 2)) {
                give_up(fault, t, 2 * H, me);
                spoil<H>(out, all, me, t);
                goes_on = 0;
                break;
            }
            if (t > 0 && j < later && thread_x() == 0)
                mbar_arrive_expect_tx(own.barrier(t, j), own.BYTES);
            float z[4][2];
            multiply<H>(z, w, own.weights, own.state(t, j), me);
            u32 h = cell<H>(out, own, z, now, b, all, me, t, j);
            auto to = view<u32>(own.state(t + 1, j) + me.unit * ROWS) + me.pair;
            for (u32 rank = 0; j < goes_on && rank < H / OWN; rank++)
                st_async(map_remote(to, rank), h, map_remote(own.barrier(t + 1, j), rank));
            now = next;
        }
        live = goes_on;
    }
    cluster_sync();
}

// ---- kernels -----------------------------------------------------------------------------------

// N rows of all steps, B of the first one, of `ways` layers that take turns in them.
// w_hh [ways, 4H, H]; x [N, 4H], or with ids [N] the gate table [V, 4H] whose rows they name;
// bias [ways, 4H]; h_0 [B, H]; c_0 [B, H] f32; offsets [steps + 1]: all of these but w_hh and x may be
// null, and count as zero, offsets as sequences of one length. y [N, H]; gates [N, 4H] activated and
// cells [N, H] f32: null where no backward pass wants them; h_n [B, H]; c_n [B, H] f32; fault [4]: zero,
// or the number of warps that gave up, and of the first one the step, the cluster, and 2 H, or 2 H + 1
// in the backward pass. A pass that gives up leaves at least one result that is not a number.
// `groups`: eight rows each, the most that a cluster takes; `rows` is B.
#define LSTM_WHOLE_FWD(H)                                                                          \
    KERNEL(lstm_whole_fwd_##H, ptr<const half> w_hh, ptr<const half> x, ptr<const u32> ids,        \
           ptr<const half> bias, ptr<const half> h_0, ptr<const float> c_0, ptr<const u32> offsets, \
           ptr<half> y, ptr<half> gates, ptr<float> cells, ptr<half> h_n, ptr<float> c_n,          \
           ptr<u32> fault, u32 steps, u32 rows, u32 ways, u32 groups) {                            \
        Rows all = rows_of(offsets, steps, rows, ways, groups, H / OWN);                           \
        Results out{y, gates, cells, h_n, c_n};                                                    \
        whole_fwd<H>(w_hh, x, ids, bias, h_0, c_0, out, fault, all);                               \
    }

LSTM_WHOLE_FWD(64)
LSTM_WHOLE_FWD(128)
LSTM_WHOLE_FWD(192)
LSTM_WHOLE_FWD(256)
LSTM_WHOLE_FWD(320)
LSTM_WHOLE_FWD(384)
LSTM_WHOLE_FWD(448)
LSTM_WHOLE_FWD(512)

#endif
