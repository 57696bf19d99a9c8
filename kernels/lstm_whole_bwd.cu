// The backward pass of an LSTM over whole sequences in one launch: see lstm_whole.cuh. From the last step
// to the first, a block's product is dh of its own units, W_hh^T dz, over the gates of all units: so dz is
// what is handed on, [4H, 8] a group. A warp takes 16 units and two of the gates; its neighbour has the
// other two, and each adds up half of the units.
#include "lstm_whole.cuh"

#ifdef HAS_CLUSTERS

// Slices of 16 gate rows of its weights that a warp holds: with more it spills.
DEVICE constexpr u32 held_back(u32 hidden) { return hidden < 256 ? hidden / 8 : 28; }

// The block's dynamic shared memory.
template <u32 H>
struct Shared {
    ptr<u32x4> weights;  // [slice][warp][lane] those that are not in registers
    ptr<half> dz;        // [2][groups][4H][8]
    ptr<float> dc;       // [groups][64][8]
    ptr<u64> full;       // [groups][2] all of a dz is there
    ptr<u32> lengths;    // [groups] steps
    u32 groups;

    static constexpr u32 BYTES = 4 * H * ROWS * 2;  // of a dz
    DEVICE ptr<half> delta(u32 t, u32 j) const { return dz + ((t % 2 * groups + j) * 4 * H) * ROWS; }
    DEVICE ptr<u64> barrier(u32 t, u32 j) const { return full + (2 * j + t % 2); }
};
template <u32 H>
DEVICE Shared<H> shared_of(u32 groups) {
    auto weights = dynamic_shared<u32x4>();
    auto dz = view<half>(weights + (H / 8 - held_back(H)) * WARPS * 32);
    auto dc = view<float>(dz + 2 * groups * 4 * H * ROWS);
    auto full = view<u64>(dc + groups * OWN * ROWS);
    return Shared<H>{weights, dz, dc, full, view<u32>(full + 2 * groups), groups};
}

// A lane's part of slice k of the weights: 16 of its warp's gate rows, transposed.
DEVICE u32x4 weights_of(ptr<const half> w, u32 hidden, const Lane& me, u32 k) {
    u32x4 a;
    for (u32 r = 0; r < 4; r++) {
        u32 unit = me.unit - me.own + me.warp / 2 * 16 + me.lane / 4 + r % 2 * 8;
        u64 row = me.warp % 2 * 2 * hidden + 16 * k + 2 * me.pair + r / 2 * 8;
        a.word[r] = u32(w[row * hidden + unit].bits) | u32(w[(row + 1) * hidden + unit].bits) << 16;
    }
    return a;
}

// A warp's weights: in registers what it holds, the rest in shared memory.
template <u32 H>
DEVICE void hold(u32 (&w)[held_back(H)][4], ptr<u32x4> rest, ptr<const half> w_hh, const Lane& me) {
    constexpr u32 HELD = held_back(H);
    UNROLL
    for (u32 k = 0; k < HELD; k++) {
        u32x4 a = weights_of(w_hh, H, me, k);
        for (u32 r = 0; r < 4; r++) w[k][r] = a.word[r];
    }
    ROLLED
    for (u32 k = HELD; k < H / 8; k++)
        st16(rest + (((k - HELD) * WARPS + me.warp) * 32 + me.lane), weights_of(w_hh, H, me, k));
}

// How many steps each group has, and what the mbarriers of its last two wait for. The dz of steps down to
// `last` are sent.
template <u32 H>
DEVICE void begin(const Shared<H>& own, const Rows& all, u32 last) {
    if (thread_x() > 0) return;
    for (u32 j = 0; j < all.groups; j++) {
        u32 length = 0;
        while (all.row(j, 0) < all.active(length)) length++;
        own.lengths[j] = length;
        for (u32 back = 1; back <= 2; back++) {
            u32 parity = length + back;  // of step length - back, which may be none
            mbar_init(own.barrier(parity, j), 1);
            if (length >= back + last) mbar_arrive_expect_tx(own.barrier(parity, j), own.BYTES);
        }
    }
}

// What the pass reads and writes besides the weights.
struct Layer {
    ptr<const half> dy, gates;
    ptr<const float> cells;
    ptr<const half> y, h_0;
    ptr<const float> c_0;
    ptr<half> dz, before;
    ptr<float> dh, dc;
};

// What the forward pass left of a unit for a lane's two rows, and dy; halves are packed.
struct Saved {
    u32 gate[4], dy;
    float c[2], before[2];
};
template <u32 H>
DEVICE Saved saved_of(const Layer& of, const Rows& all, const Lane& me, u32 t, u32 j) {
    Saved s = {};
    u32 n = all.active(t);
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e);
        if (row >= n) continue;
        u64 at = (all.first(t) + row) * H + me.unit;
        for (u32 k = 0; k < 4; k++)
            s.gate[k] |= packed(ld_nc(of.gates + (4 * at - 3 * me.unit + k * H)), e);
        s.c[e] = ld_nc(of.cells + at);
        if (t > 0) s.before[e] = ld_nc(of.cells + ((all.first(t - 1) + row) * H + me.unit));
        else if (of.c_0) s.before[e] = ld_nc(of.c_0 + (u64(row) * H + me.unit));
        if (of.dy) s.dy |= packed(ld_nc(of.dy + at), e);
    }
    return s;
}

// W_hh^T dz of the warp's 16 units and a group's rows over its two gates: what the lane adds up, and
// what its neighbour does.
template <u32 H>
DEVICE void multiply(float (&own)[2], float (&other)[2], const u32 (&w)[held_back(H)][4],
                     ptr<const u32x4> rest, ptr<const half> dz, const Lane& me) {
    float sum[2][4] = {};  // over even and over odd slices
    constexpr u32 HELD = held_back(H);
    u32 mine = me.warp % 2;
    ptr<const half> gates = dz + mine * 2 * H * ROWS;
    UNROLL
    for (u32 k = 0; k < HELD; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, gates + (16 * k + me.lane) * ROWS);
        u32 even[2] = {b[0], b[1]}, odd[2] = {b[2], b[3]};
        mma_m16n8k16(sum[0], w[k], even, sum[0]);
        mma_m16n8k16(sum[1], w[k + 1], odd, sum[1]);
    }
    ROLLED
    for (u32 k = HELD; k < H / 8; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, gates + (16 * k + me.lane) * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32 b2[2] = {b[2 * odd], b[2 * odd + 1]}, at = (k + odd - HELD) * WARPS + me.warp;
            u32x4 a = ld16(rest + (at * 32 + me.lane));
            mma_m16n8k16(sum[odd], a.word, b2, sum[odd]);
        }
    }
    for (u32 e = 0; e < 2; e++) {
        float first = sum[0][e] + sum[1][e], second = sum[0][2 + e] + sum[1][2 + e];
        own[e] = mine ? second : first;
        other[e] = mine ? first : second;
    }
}

// One step back of the lane's unit and two rows of a group, as gates_bwd in lstm.cu: its dz, packed.
// A row that ends with this step takes the gradients of its final state.
template <u32 H>
DEVICE void cell(u32 (&packed_dz)[4], const Layer& layer, const Shared<H>& own, const Saved& s,
                 const float (&dh_next)[2], const Rows& all, const Lane& me, u32 t, u32 j) {
    u32 n = all.active(t), goes_on = all.active(t + 1);
    for (u32 e = 0; e < 2; e++) {
        u32 r = 2 * me.pair + e, row = all.row(j, r), at = (j * OWN + me.own) * ROWS + r;
        if (row >= n) continue;
        u64 of = u64(row) * H + me.unit, to = all.first(t) * H + of;
        float i = unpacked(s.gate[0], e), f = unpacked(s.gate[1], e);
        float g = unpacked(s.gate[2], e), o = unpacked(s.gate[3], e);
        float dh = unpacked(s.dy, e), dc = 0.0f;
        dh += row < goes_on ? dh_next[e] : layer.dh[of];
        dc += row < goes_on ? own.dc[at] : layer.dc[of];
        float tanh_c = tanh_exact(s.c[e]);
        dc += dh * o * (1.0f - tanh_c * tanh_c);
        half dz[4] = {to_half(dc * g * i * (1.0f - i)), to_half(dc * s.before[e] * f * (1.0f - f)),
                      to_half(dc * i * (1.0f - g * g)), to_half(dh * tanh_c * o * (1.0f - o))};
        for (u32 k = 0; k < 4; k++) {
            layer.dz[(all.first(t) + row) * 4 * H + k * H + me.unit] = dz[k];
            packed_dz[k] |= packed(dz[k], e);
        }
        own.dc[at] = dc * f;
        if (t == 0) layer.dc[of] = dc * f;
        if (!layer.before) continue;
        half h = half{0};
        if (t > 0) h = layer.y[all.first(t - 1) * H + of];
        else if (layer.h_0) h = layer.h_0[of];
        layer.before[to] = h;
    }
}

// With a `state` before step 0 its gradient is wanted.
template <u32 H>
DEVICE void whole_bwd(ptr<const half> w_hh, const Layer& layer, ptr<u32> fault, const Rows& all,
                      bool state) {
    SHARED(float, halves, 2 * 64 * WARPS);  // two in turn: one may still be read
    SHARED(u32, there, 2 * WARPS);          // whether they are of a dz that came
    Lane me = lane_of();
    Shared<H> own = shared_of<H>(all.groups);
    u32 w[held_back(H)][4];
    hold<H>(w, own.weights, w_hh + u64(all.way) * 4 * H * H, me);
    u32 last = state ? 0 : 1, turn = 0;
    begin<H>(own, all, last);
    cluster_sync();

    // dh of a group's rows from the dz of step t, once all of it is there. Neighbours give up together.
    auto back_from = [&](u32 t, u32 j, float (&dh)[2]) {
        u32 which = turn++ % 2, neighbour = thread_x() ^ 32;
        bool came = mbar_wait(own.barrier(t, j), (own.lengths[j] - 1 - t) / 2 % 2);
        float mine[2] = {}, other[2] = {};
        if (came) multiply<H>(mine, other, w, own.weights, own.delta(t, j), me);
        for (u32 e = 0; e < 2; e++) halves[(which * 32 * WARPS + thread_x()) * 2 + e] = other[e];
        if (me.lane == 0) there[which * WARPS + me.warp] = came;
        bar_sync(1 + me.warp / 2, 64);
        for (u32 e = 0; e < 2; e++) dh[e] = mine[e] + halves[(which * 32 * WARPS + neighbour) * 2 + e];
        came = came && there[which * WARPS + (me.warp ^ 1)];
        if (came && thread_x() == 0 && t >= 2 + last)
            mbar_arrive_expect_tx(own.barrier(t, j), own.BYTES);
        if (!came) {
            // What was given up must not pass for a result.
            give_up(fault, t, 2 * H + 1, me);
            layer.dz[(all.first(t) + all.row(j, 0)) * 4 * H + me.unit] = NOT_A_NUMBER;
        }
        return came;
    };
    u32 longest = own.lengths[0];
    Saved now = saved_of<H>(layer, all, me, longest - 1, 0);
    bool lost = false;
    for (u32 t = longest; t-- > 0 && !lost;) {
        u32 live = all.live(t), later = all.live(t + 1);
        for (u32 j = 0; j < live && !lost; j++) {
            // What the next one reads is on its way while dz is waited for.
            bool more = j + 1 < live;
            Saved next = saved_of<H>(layer, all, me, more ? t : t - 1, more ? j + 1 : 0);
            float dh_next[2] = {};
            lost = j < later && !back_from(t + 1, j, dh_next);
            if (lost) break;
            u32 dz[4] = {};
            cell<H>(dz, layer, own, now, dh_next, all, me, t, j);
            for (u32 rank = 0; t >= last && rank < H / OWN; rank++) {
                auto to = map_remote(view<u32>(own.delta(t, j) + me.unit * ROWS) + me.pair, rank);
                auto full = map_remote(own.barrier(t, j), rank);
                for (u32 k = 0; k < 4; k++) st_async(to + k * H * ROWS / 2, dz[k], full);
            }
            now = next;
        }
    }
    for (u32 j = 0; state && !lost && j < all.live(0); j++) {
        float dh_0[2];
        lost = !back_from(0, j, dh_0);
        for (u32 e = 0; e < 2 && !lost; e++) {
            u32 row = all.row(j, 2 * me.pair + e);
            if (row < all.rows) layer.dh[u64(row) * H + me.unit] = dh_0[e];
        }
    }
    cluster_sync();
}

// ---- kernels -----------------------------------------------------------------------------------

// Shapes and names as in lstm_whole_fwd.cu, whose y, gates and cells are read.
// dy [N, H], null for zero; dz [N, 4H]; before [N, H]: h_{t-1} of each row, null where that is not wanted;
// dh, dc [B, H] f32: gradients of h_n and c_n, and then, with a `state` before step 0, of that one's.
#define LSTM_WHOLE_BWD(H)                                                                          \
    KERNEL(lstm_whole_bwd_##H, ptr<const half> w_hh, ptr<const half> dy, ptr<const half> gates,    \
           ptr<const float> cells, ptr<const half> y, ptr<const half> h_0, ptr<const float> c_0,   \
           ptr<const u32> offsets, ptr<half> dz, ptr<half> before, ptr<float> dh, ptr<float> dc,   \
           ptr<u32> fault, u32 steps, u32 rows, u32 ways, u32 groups, u32 state) {                 \
        Rows all = rows_of(offsets, steps, rows, ways, groups, H / OWN);                           \
        Layer layer{dy, gates, cells, y, h_0, c_0, dz, before, dh, dc};                            \
        whole_bwd<H>(w_hh, layer, fault, all, state != 0);                                         \
    }

LSTM_WHOLE_BWD(64)
LSTM_WHOLE_BWD(128)
LSTM_WHOLE_BWD(192)
LSTM_WHOLE_BWD(256)
LSTM_WHOLE_BWD(320)
LSTM_WHOLE_BWD(384)
LSTM_WHOLE_BWD(448)
LSTM_WHOLE_BWD(512)

#endif
