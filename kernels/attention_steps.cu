// What of additive attention is made for all steps at once where the steps themselves are one kernel
// (attention_whole.cuh); formulas as in attention.cu:
//
//   c_t = sum_j alpha_tj m_j         above_tj = dc_t . m_j + what arrives at alpha
//   dm_j = sum_t alpha_tj dc_t       dk_j = sum_t de_tj v (1 - u_tj^2)    dv = sum_tj de_tj u_tj
//   u_tj = tanh(q_t + k_j)
//
// Launch shape: a block for each step and row of the batch, the rows of a step behind those of the one before,
// or a block for each row of the batch and TILE of its positions, whose threads are the columns. Blocks of a
// multiple of 32 threads. There are no barriers: a block with nothing to do returns.
#include "whole.cuh"

#ifdef HAS_MMA

// Its names would meet those of other kernels in the emulated device, which links them all.
namespace attention_steps {

// Positions of a block.
constexpr u32 TILE = 8;

// Targets of the batch, and their sources: where they begin among the positions.
struct Sequences {
    ptr<const u32> offsets, spans;
    u32 steps, rows;

    DEVICE Step step(u32 t) const { return rows_of(offsets, steps, rows, 1, 1, 1).step(t); }
    DEVICE u32 length(u32 row) const { return spans[row + 1] - spans[row]; }
};

// ---- forward -------------------------------------------------------------------------------

DEVICE void contexts(ptr<const float> alpha, ptr<const half> values, ptr<half> context, const Sequences& all,
                     u32 longest, u32 depth) {
    u32 row = block_x() % all.rows;
    Step step = all.step(block_x() / all.rows);
    if (row >= step.rows) return;
    u64 at = step.first + row, begin = all.spans[row];
    u32 length = all.length(row);
    for (u32 d = thread_x(); d < depth; d += threads()) {
        float c = 0.0f;
        for (u32 j = 0; j < length; j++) c += alpha[at * longest + j] * to_f32(values[(begin + j) * depth + d]);
        context[at * depth + d] = to_half(c);
    }
}

// ---- backward ------------------------------------------------------------------------------

// A warp takes positions warp, warp + warps, ...; its lanes go over the columns.
DEVICE void above(ptr<const float> dalpha, ptr<const half> dcontext, ptr<const half> values, ptr<float> to,
                  const Sequences& all, u32 longest, u32 depth) {
    u32 row = block_x() % all.rows;
    Step step = all.step(block_x() / all.rows);
    if (row >= step.rows) return;
    u64 at = step.first + row, begin = all.spans[row];
    u32 length = all.length(row);
    for (u32 j = thread_x() / 32; j < length; j += threads() / 32) {
        float dot = 0.0f;
        for (u32 d = thread_x() % 32; d < depth; d += 32)
            dot += to_f32(dcontext[at * depth + d]) * to_f32(values[(begin + j) * depth + d]);
        dot = warp_sum(dot);
        if (thread_x() % 32 == 0) to[at * longest + j] = dalpha ? dot + dalpha[at * longest + j] : dot;
    }
}

DEVICE void values_bwd(ptr<const float> alpha, ptr<const half> dcontext, ptr<const float> through,
                       ptr<float> dvalues, const Sequences& all, u32 longest, u32 depth) {
    u32 tiles = (longest + TILE - 1) / TILE, row = block_x() / tiles, first = block_x() % tiles * TILE;
    u32 length = all.length(row);
    u64 begin = all.spans[row];
    for (u32 d = thread_x(); d < depth && first < length; d += threads()) {
        float sum[TILE] = {};
        for (u32 t = 0; row < all.step(t).rows; t++) {
            u64 at = all.step(t).first + row;
            float dc = through[at * depth + d];
            if (dcontext) dc += to_f32(dcontext[at * depth + d]);
            for (u32 i = 0; i < TILE; i++)
                if (first + i < length) sum[i] += alpha[at * longest + first + i] * dc;
        }
        for (u32 i = 0; i < TILE; i++)
            if (first + i < length) dvalues[(begin + first + i) * depth + d] = sum[i];
    }
}

DEVICE void keys_bwd(ptr<const float> de, ptr<const float> queries, ptr<const half> bias, ptr<const half> keys,
                     ptr<const half> v, ptr<float> dkeys, ptr<float> dv, const Sequences& all, u32 longest,
                     u32 units) {
    u32 tiles = (longest + TILE - 1) / TILE, row = block_x() / tiles, first = block_x() % tiles * TILE;
    u32 length = all.length(row);
    u64 begin = all.spans[row];
    for (u32 a = thread_x(); a < units; a += threads()) {
        float b = to_f32(bias[a]), v_a = to_f32(v[a]), dv_a = 0.0f, k[TILE], dk[TILE];
        for (u32 i = 0; i < TILE; i++) {
            k[i] = first + i < length ? to_f32(keys[(begin + first + i) * units + a]) : 0.0f;
            dk[i] = 0.0f;
        }
        for (u32 t = 0; first < length && row < all.step(t).rows; t++) {
            u64 at = all.step(t).first + row;
            float q = queries[at * units + a] + b;
            for (u32 i = 0; i < TILE; i++)
                if (first + i < length) {
                    float u = tanh_exact(q + k[i]), d = de[at * longest + first + i];
                    dv_a += d * u;
                    dk[i] += d * v_a * (1.0f - u * u);
                }
        }
        for (u32 i = 0; i < TILE; i++)
            if (first + i < length) dkeys[(begin + first + i) * units + a] = dk[i];
        dv[u64(block_x()) * units + a] = dv_a;
    }
}

}  // namespace attention_steps

// ---- kernels -----------------------------------------------------------------------------------

// N rows of all steps, B of the first one, M positions of all rows; longest = S, the most of a row; depth = D,
// units = A; offsets [steps + 1], null for targets of one length; spans [B + 1].
// alpha, de, dalpha and what is above [N, S] f32: only a row's positions are read and written; dalpha null for
// zero; values [M, D]; context and dcontext [N, D], the latter what arrives from above, null for zero;
// through [N, D] f32: what arrives through the gates; queries [N, A] f32 without their bias [A]; keys [M, A];
// v [A]. dvalues [M, D] f32; dkeys [M, A] f32; dv [B tiles, A] f32, to be added up over its rows.
KERNEL(attention_contexts_f16, ptr<const float> alpha, ptr<const half> values, ptr<const u32> spans,
       ptr<const u32> offsets, ptr<half> context, u32 steps, u32 rows, u32 longest, u32 depth) {
    attention_steps::Sequences all{offsets, spans, steps, rows};
    attention_steps::contexts(alpha, values, context, all, longest, depth);
}
KERNEL(attention_above_f16, ptr<const float> dalpha, ptr<const half> dcontext, ptr<const half> values,
       ptr<const u32> spans, ptr<const u32> offsets, ptr<float> to, u32 steps, u32 rows, u32 longest,
       u32 depth) {
    attention_steps::Sequences all{offsets, spans, steps, rows};
    attention_steps::above(dalpha, dcontext, values, to, all, longest, depth);
}
KERNEL(attention_values_bwd_f16, ptr<const float> alpha, ptr<const half> dcontext, ptr<const float> through,
       ptr<const u32> spans, ptr<const u32> offsets, ptr<float> dvalues, u32 steps, u32 rows, u32 longest,
       u32 depth) {
    attention_steps::Sequences all{offsets, spans, steps, rows};
    attention_steps::values_bwd(alpha, dcontext, through, dvalues, all, longest, depth);
}
KERNEL(attention_keys_bwd_f16, ptr<const float> de, ptr<const float> queries, ptr<const half> bias,
       ptr<const half> keys, ptr<const half> v, ptr<const u32> spans, ptr<const u32> offsets, ptr<float> dkeys,
       ptr<float> dv, u32 steps, u32 rows, u32 longest, u32 units) {
    attention_steps::Sequences all{offsets, spans, steps, rows};
    attention_steps::keys_bwd(de, queries, bias, keys, v, dkeys, dv, all, longest, units);
}

#endif
