// The backward pass of the decoder with attention over whole targets in one launch: see attention_whole.cuh.
// From the last step to the first:
//
//   dalpha_tj = dz_t . p_j + what arrives from above     de_tj = alpha_tj (dalpha_tj - sum_i alpha_ti dalpha_ti)
//   dq_t = sum_j de_tj v (1 - tanh(q_t + k_j)^2)         dh_{t-1} = W_hh^T dz_t + W_q^T dq_t
//
// The states of a step are dz above dq, [5H, 8]. A warp takes 16 units and half of their rows, as in
// lstm_whole_bwd.cu. The gradients of keys, values and v are made of de and dz after the loop
// (attention_steps.cu).
#include "attention_whole.cuh"

#ifdef HAS_CLUSTERS

namespace decoder {

// Slices of 16 rows of [W_hh; W_q] that a warp has, and that it holds in registers: with more it spills.
DEVICE constexpr u32 slices_back(u32 hidden) { return 5 * hidden / 32; }
DEVICE constexpr u32 held_back(u32 hidden) {
    return hidden == 256 ? 24 : hidden == 192 ? 26 : slices_back(hidden);
}

// The block's dynamic shared memory.
template <u32 H>
struct BackwardShared {
    ptr<u32x4> rest;     // [slice][warp][lane] of [W_hh; W_q]^T what is not in registers
    ptr<half> deltas;    // [2][5H][8] dz above dq
    ptr<u64> full;       // [3] all of them are there, of each of the two; all gradients of weights
    ptr<float> parts;    // [blocks][most] of the gradients of the weights
    ptr<float> weights;  // [most] alpha
    ptr<float> de;       // [most]
    Positions positions;

    static constexpr u32 BYTES = 5 * H * ROWS * 2;  // of dz and dq
    DEVICE ptr<half> delta(u32 t) const { return deltas + t % 2 * (5 * H * ROWS); }
    DEVICE ptr<u64> barrier(u32 t) const { return full + t % 2; }
    DEVICE ptr<u64> gradients() const { return full + 2; }
    // Bytes of the gradients of the weights of so many rows.
    DEVICE u32 expected(u32 live) const { return positions.first[live] * (H / OWN) * 4; }
};
template <u32 H>
DEVICE BackwardShared<H> backward_shared(ptr<u32> first, u32 most) {
    auto rest = dynamic_shared<u32x4>();
    auto gates = view<u32x2>(rest + (slices_back(H) - held_back(H)) * WARPS * 32);
    auto deltas = view<half>(gates + most * OWN);
    auto full = view<u64>(deltas + 2 * 5 * H * ROWS);
    auto parts = view<float>(full + 3);
    auto weights = parts + H / OWN * most, de = weights + most;
    auto keys = view<u32>(de + most);
    return {rest, deltas, full, parts, weights, de, Positions{gates, keys, keys + KEY_PITCH * most, first, most}};
}

// What mbarriers wait for in the last steps.
template <u32 H>
DEVICE void begin_barriers(const BackwardShared<H>& own, const Rows& all, u32 length) {
    using To = Blocks<H>;
    if (thread_x() > 0) return;
    for (u32 t = 0; t < 3; t++) To::prepare(own.full + t);
    for (u32 back = 1; back <= 2 && back <= length; back++) To::expect(own.barrier(length - back), own.BYTES);
    To::expect(own.gradients(), own.expected(live_of(all, all.step(length - 1))));
}

// A lane's part of slice k of the warp's half of [W_hh; W_q], transposed.
template <u32 H>
DEVICE u32x4 transposed_of(ptr<const half> w_hh, ptr<const half> w_q, const Lane& me, u32 k) {
    u32x4 a;
    for (u32 r = 0; r < 4; r++) {
        u32 unit = me.unit - me.own + me.warp / 2 * 16 + me.lane / 4 + r % 2 * 8;
        u32 row = (me.warp % 2 * slices_back(H) + k) * 16 + 2 * me.pair + r / 2 * 8;
        auto from = row < 4 * H ? w_hh + row * H : w_q + (row - 4 * H) * H;
        a.word[r] = packed(from[unit], from[unit + H]);
    }
    return a;
}

// What the pass reads and writes besides an LSTM's.
struct BackwardAttended {
    ptr<const float> alpha, above, queries;
    ptr<half> dq;
    ptr<float> de;
    u32 longest, pitch;
};

// One step back of the lane's unit and two rows. A row that ends with this step takes the gradients of its
// final state.
template <u32 H>
DEVICE void back(half (&dz)[2][4], const Layer& layer, float (&dc)[2], const Saved& s, float (&dh)[2], Step now,
                 Step after, const Rows& all, const Lane& me) {
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(0, 2 * me.pair + e);
        u64 of = u64(row) * H + me.unit;
        if (row >= after.rows) {
            dh[e] = row < now.rows ? layer.dh[of] : 0.0f;
            dc[e] = row < now.rows ? layer.dc[of] : 0.0f;
        }
        dc[e] = step_back(dz[e], s, e, dh[e], dc[e]);
    }
}

// Sends dz, keeps its rounded numbers and the query for the block, and writes dz and the state before.
template <u32 H>
DEVICE void hand_on(const BackwardShared<H>& own, ptr<u32x4> dz_own, ptr<float> queries, const half (&dz)[2][4],
                    const Layer& layer, const BackwardAttended& attended, const Saved& s, float b_q, u32 t, Step now,
                    const Rows& all, const Lane& me) {
    auto to = view<u32>(own.delta(t) + me.unit * ROWS) + me.pair;
    for (u32 k = 0; k < 4; k++)
        Blocks<H>::send(to + k * (H * ROWS / 2), packed(dz[0][k], dz[1][k]), own.barrier(t));
    for (u32 e = 0; e < 2; e++) {
        u32 r = 2 * me.pair + e, row = all.row(0, r);
        u64 at = now.first + row;
        u32x4 four;
        for (u32 k = 0; k < 4; k++) four.word[k] = bits_of(to_f32(dz[e][k]));
        st16(dz_own + (r * (OWN + 1) + me.own), four);
        if (row >= now.rows) continue;
        float q = attended.queries[at * H + me.unit] + b_q;
        queries[r * QUERY_PITCH + me.own] = EXPONENT * q;
        auto out = layer.dz + me.unit + at * attended.pitch;
        for (u32 k = 0; k < 4; k++) out[k * H] = dz[e][k];
        (layer.before + me.unit + at * H)[0] = half{u16(s.h_before[e])};
    }
}

// Sends the block's part of dz . p_j of the live rows' positions, a thread one of them at a time.
template <u32 H>
DEVICE void send_gradients(const BackwardShared<H>& own, ptr<const u32x4> dz_own, u32 count) {
    auto& of = own.positions;
    auto parts = own.parts + Blocks<H>::rank() * of.most;
    for (u32 p = thread_x(); p < count; p += THREADS) {
        auto dz = dz_own + of.row[p] * (OWN + 1);
        float sum[2] = {};  // of gates i and g, and of f and o
        UNROLL
        for (u32 unit = 0; unit < OWN; unit++) {
            u32x2 gates = of.gates[of.place(unit, p)];
            u32x4 d = ld16(dz + unit);
            for (u32 k = 0; k < 2; k++) {
                sum[0] += float_of(d.word[2 * k]) * low(gates.word[k]);
                sum[1] += float_of(d.word[2 * k + 1]) * high(gates.word[k]);
            }
        }
        Blocks<H>::send(view<u32>(parts + p), bits_of(sum[0] + sum[1]), own.gradients());
    }
}

// de of the live rows' positions, a warp a row. One of the blocks writes a row's.
template <u32 H>
DEVICE void energies_back(const BackwardShared<H>& own, const BackwardAttended& attended, const Rows& all, Step now,
                          u32 live, const Lane& me) {
    auto& of = own.positions;
    for (u32 r = me.warp; r < live; r += WARPS) {
        u32 first = of.first[r], length = of.first[r + 1] - first;
        u64 at = u64(now.first + all.row(0, r)) * attended.longest;
        float mean = 0.0f;
        for (u32 j = me.lane; j < length; j += 32) {
            float weight = attended.alpha[at + j], d = sum_of_parts<H>(own.parts, of.most, first + j);
            if (attended.above) d += attended.above[at + j];
            own.weights[first + j] = weight;
            own.de[first + j] = d;
            mean += weight * d;
        }
        mean = warp_sum(mean);
        bool writes = r % (H / OWN) == Blocks<H>::rank();
        for (u32 j = me.lane; j < length; j += 32) {
            float d = own.weights[first + j] * (own.de[first + j] - mean);
            own.de[first + j] = d;
            if (writes) attended.de[at + j] = d;
        }
    }
}

// dq of a row and two of the block's units, which a thread sends and writes. Rows that do not live have zeros.
template <u32 H>
DEVICE void send_queries(const BackwardShared<H>& own, ptr<const float> queries, ptr<const float> v,
                         const BackwardAttended& attended, const Rows& all, Step now, u32 live, u32 t) {
    auto& of = own.positions;
    u32 r = thread_x() / PAIRS, a = thread_x() % PAIRS, unit = Blocks<H>::rank() * OWN + 2 * a;
    float dq[2] = {};
    if (r < live) {
        u32x2 q = view<const u32x2>(queries + r * QUERY_PITCH)[a];
        u32 end = of.first[r + 1];
        for (u32 p = of.first[r]; p < end; p++) {
            u32 k = of.keys[p * KEY_PITCH + a];
            float d = own.de[p];
            float first = r_of(float_of(q.word[0]), low(k)), second = r_of(float_of(q.word[1]), high(k));
            dq[0] += d * (first - first * first);
            dq[1] += d * (second - second * second);
        }
        for (u32 e = 0; e < 2; e++) dq[e] *= 4.0f * v[2 * a + e];
    }
    half one = to_half(dq[0]), two = to_half(dq[1]);
    if (r < live) {
        auto to = attended.dq + (u64(now.first + all.row(0, r)) * attended.pitch + unit);
        view<u32>(to)[0] = packed(one, two);
    }
    // Rows 2 i and 2 i + 1 of a unit are one word: their threads, half a warp apart, give each other a unit.
    u32 odd = r % 2, theirs = shfl_xor(u32(odd ? one.bits : two.bits), PAIRS);
    u32 word = odd ? theirs | u32(two.bits) << 16 : u32(one.bits) | theirs << 16;
    auto to = view<u32>(own.delta(t) + (4 * H + unit + odd) * ROWS) + r / 2;
    Blocks<H>::send(to, word, own.barrier(t));
}

template <u32 H>
DEVICE void whole_bwd(ptr<const half> w_hh, const Source& source, const Layer& layer,
                      const BackwardAttended& attended, ptr<u32> fault, const Rows& all, u32 most) {
    using To = Blocks<H>;
    constexpr u32 HELD = held_back(H);
    SHARED(float, queries, ROWS * QUERY_PITCH);
    SHARED(float, v, OWN);
    SHARED(u32x4, dz_own, ROWS * (OWN + 1));
    SHARED(float, halves, 2 * THREADS);
    SHARED(u32, first, ROWS + 1);
    SHARED(u32, came, 2 * WARPS);
    Lane me = lane_of(To::rank(), OWN);
    auto own = backward_shared<H>(first, most);
    u32 w[HELD][1][4];
    auto part = [&](u32, u32 k) { return transposed_of<H>(w_hh, source.w_q, me, k); };
    hold<slices_back(H), HELD, WARPS, 1>(w, own.rest, me, part);
    if (thread_x() < OWN) v[thread_x()] = to_f32(source.v[To::rank() * OWN + thread_x()]);
    float b_q = to_f32(source.b_q[me.unit]);
    u32 length = all.length(0), kernel = KERNEL_NUMBER + 2 * H + 1, t = length;
    begin_positions<H>(own.positions, source, all);
    begin_barriers<H>(own, all, length);
    To::meet();

    Step after = {0, 0}, now = all.step(length - 1), before = all.step(length - 2);
    Saved saved;
    load_saved<H>(saved, layer, all, me, now, before, length == 1, 0);
    float dh[2] = {}, dc[2] = {};
    bool whole = true;
    while (t > 0) {
        t--;
        u32 live = live_of(all, now), turn = length - 1 - t;
        // 1. The gates, and the gradients of the weights through them.
        half dz[2][4];
        back<H>(dz, layer, dc, saved, dh, now, after, all, me);
        hand_on<H>(own, dz_own, queries, dz, layer, attended, saved, b_q, t, now, all, me);
        block_sync();
        send_gradients<H>(own, dz_own, own.positions.first[live]);
        if (t > 0) load_saved<H>(saved, layer, all, me, before, all.step(t - 2), t == 1, 0);
        // 2. The energies, once all of those are there.
        bool here = To::wait(own.gradients(), turn % 2);
        if (here && t > 0 && thread_x() == 0) To::expect(own.gradients(), own.expected(live_of(all, before)));
        if (here) energies_back<H>(own, attended, all, now, live, me);
        if (me.lane == 0) came[me.warp] = here;
        if (!here) give_up(fault, t, all.cluster, kernel, me);
        block_sync();
        if (!all_came(came)) {
            whole = false;
            break;
        }
        // 3. The queries, and the state before, once all of dz and dq is there.
        send_queries<H>(own, queries, v, attended, all, now, live, t);
        here = To::wait(own.barrier(t), turn / 2 % 2);
        if (here && t >= 2 && thread_x() == 0) To::expect(own.barrier(t), own.BYTES);
        float other[2] = {};
        if (here) multiply_back<slices_back(H), HELD, WARPS, 4>(dh, other, w, own.rest, own.delta(t), me);
        for (u32 e = 0; e < 2; e++) halves[e * THREADS + thread_x()] = other[e];
        if (me.lane == 0) came[WARPS + me.warp] = here;
        if (!here) give_up(fault, t, all.cluster, kernel, me);
        block_sync();
        if (!all_came(came + WARPS)) {
            whole = false;
            break;
        }
        for (u32 e = 0; e < 2; e++) dh[e] += halves[e * THREADS + (thread_x() ^ 32)];
        after = now;
        now = before;
        before = all.step(t - 2);
    }
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(0, 2 * me.pair + e);
        if (row >= all.rows) continue;
        // What was given up must not pass for a result.
        if (!whole) layer.dz[u64(now.first + all.row(0, 0)) * attended.pitch + me.unit] = NOT_A_NUMBER;
        layer.dh[u64(row) * H + me.unit] = whole ? dh[e] : to_f32(NOT_A_NUMBER);
        layer.dc[u64(row) * H + me.unit] = dc[e];
    }
    To::meet();
}

}  // namespace decoder

// ---- kernels -----------------------------------------------------------------------------------

// Shapes and names as in attention_whole_fwd.cu, whose y, gates, cells, alpha and queries [N, H] are read. dy [N, H],
// null for zero; above [N, longest] f32: what arrives at alpha from elsewhere than the gates, null for zero;
// dz [N, 4H] and dq [N, H] in rows of `pitch` elements; before [N, H]: h_{t-1} of each row; de [N, longest] f32, only
// of a row's positions; dh, dc [B, H] f32: gradients of h_n and c_n, and then of h_0 and c_0.
#define ATTENTION_WHOLE_BWD(H)                                                                       \
    KERNEL_OF(decoder::THREADS, attention_whole_bwd_##H, ptr<const half> w_hh, ptr<const half> w_q,  \
              ptr<const half> b_q, ptr<const half> v, ptr<const half> keys,                          \
              ptr<const half> projected, ptr<const u32> spans, ptr<const half> dy,                   \
              ptr<const float> above, ptr<const half> gates, ptr<const float> cells,                 \
              ptr<const half> y, ptr<const float> alpha, ptr<const float> queries,                   \
              ptr<const half> h_0, ptr<const float> c_0, ptr<const u32> offsets, ptr<half> dz,       \
              ptr<half> dq, ptr<half> before, ptr<float> de, ptr<float> dh, ptr<float> dc,           \
              ptr<u32> fault, u32 steps, u32 rows, u32 most, u32 longest, u32 pitch) {               \
        Rows all = rows_of(offsets, steps, rows, 1, 1, H / decoder::OWN);                            \
        decoder::Source source{w_q, b_q, v, keys, projected, spans};                                 \
        decoder::BackwardAttended attended{alpha, above, queries, dq, de, longest, pitch};           \
        lstm::Layer layer{dy, gates, cells, y, h_0, c_0, dz, before, dh, dc};                        \
        decoder::whole_bwd<H>(w_hh, source, layer, attended, fault, all, most);                      \
    }

ATTENTION_WHOLE_BWD(64)
ATTENTION_WHOLE_BWD(128)
ATTENTION_WHOLE_BWD(192)
ATTENTION_WHOLE_BWD(256)

#endif
