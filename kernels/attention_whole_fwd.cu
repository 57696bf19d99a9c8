// The forward pass of the decoder with attention over whole targets in one launch: see attention_whole.cuh.
#include "attention_whole.cuh"

#ifdef HAS_CLUSTERS

namespace decoder {

// The block's dynamic shared memory.
template <u32 H>
struct ForwardShared {
    ptr<u32x2> w_q;      // [slice][warp][lane] rows of W_q of the warp's units
    ptr<half> h;         // [2][H][8]
    ptr<u64> full;       // [3] all of a state is there, of each of the two; all energies
    ptr<float> parts;    // [blocks][most] of the energies
    ptr<float> weights;  // [most] alpha
    Positions positions;

    static constexpr u32 BYTES = H * ROWS * 2;  // of a state
    DEVICE ptr<half> state(u32 t) const { return h + t % 2 * (H * ROWS); }
    DEVICE ptr<u64> barrier(u32 t) const { return full + t % 2; }
    DEVICE ptr<u64> energies() const { return full + 2; }
    // Bytes of the energies of so many rows.
    DEVICE u32 expected(u32 live) const { return positions.first[live] * (H / OWN) * 4; }
};
template <u32 H>
DEVICE ForwardShared<H> forward_shared(ptr<u32> first, u32 most) {
    auto w_q = dynamic_shared<u32x2>();
    auto gates = w_q + H / 16 * WARPS * 32;
    auto h = view<half>(gates + most * OWN);
    auto full = view<u64>(h + 2 * H * ROWS);
    auto parts = view<float>(full + 3);
    auto weights = parts + H / OWN * most;
    auto keys = view<u32>(weights + most);
    return {w_q, h, full, parts, weights, Positions{gates, keys, keys + KEY_PITCH * most, first, most}};
}

// What mbarriers wait for in the first steps.
template <u32 H>
DEVICE void begin_barriers(const ForwardShared<H>& own, const Rows& all) {
    using To = Blocks<H>;
    if (thread_x() > 0) return;
    for (u32 t = 0; t < 3; t++) To::prepare(own.full + t);
    for (u32 t = 1; t <= 2; t++)
        if (live_of(all, all.step(t)) > 0) To::expect(own.barrier(t), own.BYTES);
    To::expect(own.energies(), own.expected(live_of(all, all.step(0))));
}

// W_q h of the lane's unit and two rows. Half of the tile's rows are nobody's.
template <u32 H>
DEVICE void query(float (&q)[2], const ForwardShared<H>& own, ptr<const half> h, const Lane& me) {
    float sum[2][4] = {};  // over even and over odd slices
    auto mine = own.w_q + (me.warp * 32 + me.lane);
    UNROLL
    for (u32 k = 0; k < H / 16; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, h + (16 * k + me.lane) * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32x2 w = mine[(k + odd) * WARPS * 32];
            u32 a[4] = {w.word[0], 0, w.word[1], 0}, b2[2] = {b[2 * odd], b[2 * odd + 1]};
            mma_m16n8k16(sum[odd], a, b2, sum[odd]);
        }
    }
    for (u32 e = 0; e < 2; e++) q[e] = sum[0][e] + sum[1][e];
}

// Sends the block's part of the energies of the live rows' positions, a thread one of them at a time.
template <u32 H>
DEVICE void send_energies(const ForwardShared<H>& own, ptr<const float> queries, ptr<const float> v, u32 count) {
    auto parts = own.parts + Blocks<H>::rank() * own.positions.most;
    for (u32 p = thread_x(); p < count; p += THREADS) {
        auto keys = own.positions.keys + p * KEY_PITCH;
        auto q = view<const u32x2>(queries + own.positions.row[p] * QUERY_PITCH);
        float even = 0.0f, odd = 0.0f;
        UNROLL
        for (u32 a = 0; a < PAIRS; a++) {
            u32x2 two = q[a], of = view<const u32x2>(v)[a];
            u32 k = keys[a];
            even += float_of(of.word[0]) * r_of(float_of(two.word[0]), low(k));
            odd += float_of(of.word[1]) * r_of(float_of(two.word[1]), high(k));
        }
        Blocks<H>::send(view<u32>(parts + p), bits_of(-2.0f * (even + odd)), own.energies());
    }
}

// The weights of the live rows' positions: softmax over the energies, a warp a row. One of the blocks writes a
// row's, [N, longest].
template <u32 H>
DEVICE void weigh(const ForwardShared<H>& own, ptr<float> alpha, u32 longest, const Rows& all, Step step,
                  u32 live, const Lane& me) {
    for (u32 r = me.warp; r < live; r += WARPS) {
        u32 first = own.positions.first[r], length = own.positions.first[r + 1] - first;
        auto weights = own.weights + first;
        float largest = -float_of(0x7F800000), sum = 0.0f;
        for (u32 j = me.lane; j < length; j += 32) {
            float e = sum_of_parts<H>(own.parts, own.positions.most, first + j);
            weights[j] = e;
            largest = e > largest ? e : largest;
        }
        for (u32 lanes = 16; lanes > 0; lanes /= 2) {
            float other = shfl_xor(largest, lanes);
            largest = other > largest ? other : largest;
        }
        for (u32 j = me.lane; j < length; j += 32) {
            float x = exponential(weights[j] - largest);
            weights[j] = x;
            sum += x;
        }
        sum = warp_sum(sum);
        bool writes = r % (H / OWN) == Blocks<H>::rank();
        auto to = alpha + u64(step.first + all.row(0, r)) * longest;
        for (u32 j = me.lane; j < (writes ? longest : length); j += 32) {
            float weight = j < length ? weights[j] / sum : 0.0f;
            if (j < length) weights[j] = weight;
            if (writes) to[j] = weight;
        }
    }
}

// z += W_c c of the lane's unit and two rows.
template <u32 H>
DEVICE void add_context(float (&z)[4][2], const ForwardShared<H>& own, u32 live, const Lane& me) {
    auto& of = own.positions;
    for (u32 e = 0; e < 2; e++) {
        u32 r = 2 * me.pair + e, end = r < live ? of.first[r + 1] : 0;
        for (u32 p = r < live ? of.first[r] : 0; p < end; p++) {
            float weight = own.weights[p];
            u32x2 gates = of.gates[of.place(me.own, p)];
            z[0][e] += weight * low(gates.word[0]);
            z[1][e] += weight * high(gates.word[0]);
            z[2][e] += weight * low(gates.word[1]);
            z[3][e] += weight * high(gates.word[1]);
        }
    }
}

// What the pass writes besides an LSTM's.
struct ForwardAttended {
    ptr<float> alpha;    // [N, longest]
    ptr<float> queries;  // rows of `pitch` numbers; null where no backward pass wants them
    u32 longest, pitch;
};

template <u32 H>
DEVICE void whole_fwd(ptr<const half> w_hh, ptr<const half> x, ptr<const half> bias, const Source& source,
                      ptr<const half> h_0, ptr<const float> c_0, const Results& out, const ForwardAttended& attended,
                      ptr<u32> fault, const Rows& all, u32 most) {
    using To = Blocks<H>;
    SHARED(float, queries, ROWS * QUERY_PITCH);
    SHARED(float, v, OWN);
    SHARED(u32, first, ROWS + 1);
    SHARED(u32, came, 2 * WARPS);
    Lane me = lane_of(To::rank(), OWN);
    auto own = forward_shared<H>(first, most);
    u32 w[H / 16][2][4];
    auto part = [&](u32 tile, u32 k) { return gates_of(w_hh, H, me, tile, k); };
    hold<H / 16, H / 16, WARPS, 2>(w, ptr<u32x4>(nullptr), me, part);
    for (u32 k = 0; k < H / 16; k++) {
        auto from = view<const u32>(source.w_q + (me.unit * H + 16 * k + 2 * me.pair));
        own.w_q[(k * WARPS + me.warp) * 32 + me.lane] = u32x2{from[0], from[4]};
    }
    if (thread_x() < OWN) v[thread_x()] = to_f32(source.v[To::rank() * OWN + thread_x()]);
    float b_q = to_f32(source.b_q[me.unit]), c[2];
    u32 b[2];  // of gates i, f and of g, o
    for (u32 tile = 0; tile < 2; tile++) {
        auto of = bias + (2 * tile * H + me.unit);
        b[tile] = packed(of[0], of[H]);
    }
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(0, 2 * me.pair + e);
        c[e] = row < all.rows ? c_0[u64(row) * H + me.unit] : 0.0f;
    }
    begin_states<H>(own.h, h_0, all);
    begin_positions<H>(own.positions, source, all);
    begin_barriers<H>(own, all);
    To::meet();

    Step now = all.step(0), next = all.step(1);
    u32 live = live_of(all, now), kernel = KERNEL_NUMBER + 2 * H;
    Inputs in;
    load<4 * H, H>(in, x, me, places_of(nullptr, all, me, now, 0));
    for (u32 t = 0; live > 0; t++) {
        u32 goes_on = live_of(all, next);
        // 1. The query, once all of the state is there.
        bool here = t == 0 || To::wait(own.barrier(t), (t - 1) / 2 % 2);
        float q[2] = {};
        if (here) query<H>(q, own, own.state(t), me);
        if (here && t > 0 && thread_x() == 0 && live_of(all, all.step(t + 2)) > 0)
            To::expect(own.barrier(t), own.BYTES);
        for (u32 e = 0; e < 2; e++) {
            u32 r = 2 * me.pair + e;
            queries[r * QUERY_PITCH + me.own] = EXPONENT * (q[e] + b_q);
            if (attended.queries && r < live)
                attended.queries[u64(now.first + all.row(0, r)) * attended.pitch + me.unit] = q[e];
        }
        if (me.lane == 0) came[me.warp] = here;
        if (!here) give_up(fault, t, all.cluster, kernel, me);
        block_sync();
        if (!all_came(came)) break;
        // 2. The energies; while they are under way, the state's part of the gates.
        send_energies<H>(own, queries, v, own.positions.first[live]);
        Sums sums = sums_of(b, in);
        load<4 * H, H>(in, x, me, places_of(nullptr, all, me, next.rows == 0 ? now : next, 0));
        float z[4][2];
        multiply<H / 16, H / 16, WARPS>(z, sums, w, ptr<const u32x4>(nullptr), own.state(t), me);
        // 3. The weights, once all energies are there.
        here = To::wait(own.energies(), t % 2);
        if (here && goes_on > 0 && thread_x() == 0) To::expect(own.energies(), own.expected(goes_on));
        if (here) weigh<H>(own, attended.alpha, attended.longest, all, now, live, me);
        if (me.lane == 0) came[WARPS + me.warp] = here;
        if (!here) give_up(fault, t, all.cluster, kernel, me);
        block_sync();
        if (!all_came(came + WARPS)) break;
        // 4. The context's part of the gates, and the step.
        add_context<H>(z, own, live, me);
        Unit one = step_of(z, 0, c[0]), two = step_of(z, 1, c[1]);
        auto to = view<u32>(own.state(t + 1) + me.unit * ROWS) + me.pair;
        if (goes_on > 0) To::send(to, packed(one.h, two.h), own.barrier(t + 1));
        c[0] = one.c;
        c[1] = two.c;
        u32 row = all.row(0, 2 * me.pair);
        write<H>(out, one, now, next.rows, row, me);
        write<H>(out, two, now, next.rows, row + 1, me);
        now = next;
        next = all.step(t + 2);
        live = goes_on;
    }
    if (live > 0) spoil<H>(out, all, me, now);
    To::meet();
}

}  // namespace decoder

// ---- kernels -----------------------------------------------------------------------------------

// N rows of all steps, B of the first one, M positions of all rows, of which each has some.
// w_hh [4H, H]; x [N, 4H]: the inputs but for the context, through W_ih; bias [4H]; w_q [H, H]; b_q, v [H];
// keys [M, H]; projected [M, 4H]: values through W_c; spans [B + 1]: positions before each row; h_0 [B, H];
// c_0 [B, H] f32; offsets [steps + 1], null for targets of one length.
// y [N, H]; gates [N, 4H] activated and cells [N, H] f32: both null where no backward pass wants them;
// h_n [B, H]; c_n [B, H] f32; alpha [N, longest] f32, exactly 0 past a row's positions; queries [N, H] f32, W_q h
// without its bias, in rows of `pitch` numbers, or null; fault [4] as in lstm_whole_fwd.cu, with KERNEL_NUMBER
// more.
// `most`: positions of the rows of a group, at most; `rows` is B.
#define ATTENTION_WHOLE_FWD(H)                                                                       \
    KERNEL_OF(decoder::THREADS, attention_whole_fwd_##H, ptr<const half> w_hh, ptr<const half> x,    \
              ptr<const half> bias, ptr<const half> w_q, ptr<const half> b_q, ptr<const half> v,     \
              ptr<const half> keys, ptr<const half> projected, ptr<const u32> spans,                 \
              ptr<const half> h_0, ptr<const float> c_0, ptr<const u32> offsets, ptr<half> y,        \
              ptr<half> gates, ptr<float> cells, ptr<half> h_n, ptr<float> c_n, ptr<float> alpha,    \
              ptr<float> queries, ptr<u32> fault, u32 steps, u32 rows, u32 most, u32 longest,        \
              u32 pitch) {                                                                           \
        Rows all = rows_of(offsets, steps, rows, 1, 1, H / decoder::OWN);                            \
        decoder::Source source{w_q, b_q, v, keys, projected, spans};                                 \
        decoder::ForwardAttended attended{alpha, queries, longest, pitch};                           \
        lstm::Results out{y, gates, cells, h_n, c_n};                                                \
        decoder::whole_fwd<H>(w_hh, x, bias, source, h_0, c_0, out, attended, fault, all, most);     \
    }

ATTENTION_WHOLE_FWD(64)
ATTENTION_WHOLE_FWD(128)
ATTENTION_WHOLE_FWD(192)
ATTENTION_WHOLE_FWD(256)

#endif
