// Adam over a flat buffer of parameters with named segments, in two launches.
//
//   adam_prepare  g = grad * mean / scale + decay * w; norms of g; loss scale; clip factors
//   adam_update   m, v, w of Kingma & Ba 2015, Algorithm 1, or w of plain gradient descent; weight
//                 decay (Loshchilov & Hutter 2019); and the half copy of w
//
// A block owns one span of one segment, at most a few thousand elements, listed in `spans`: how the
// sums are cut depends on the parameters alone.
#include "device.cuh"

// The optimizer's state, 32-bit words; SCALE, UNSCALE and NORM are f32.
constexpr u32 SCALE = 0;    // loss scale
constexpr u32 GOOD = 1;     // steps since the scale last changed
constexpr u32 STEPS = 2;    // updates made: Adam's t
constexpr u32 SKIPPED = 3;  // updates skipped
constexpr u32 FOUND = 4;    // 1 if this step's gradient is not finite
constexpr u32 UNSCALE = 5;  // mean / scale of this step
constexpr u32 NORM = 6;     // norm of g over all segments
constexpr u32 DONE = 7;     // blocks of adam_prepare that are done; 0 between launches

// The learning rates of the next steps, 32-bit words: how many have been used, how many there are,
// then the rates, f32. So a captured step has a rate that changes; the last one stays.
constexpr u32 USED = 0;
constexpr u32 GIVEN = 1;
DEVICE float learning_rate(ptr<const u32> rates) { return float_of(rates[1 + rates[USED]]); }

// One block's span.
struct Span {
    u32 segment, first, end;
};
DEVICE Span span_of(ptr<const u32> spans) {
    u32 at = 3 * block_x();
    return Span{spans[at], spans[at + 1], spans[at + 2]};
}

// ---- finite check, norms, loss scale, clip -------------------------------------------------

// What the last block does: the sums of all blocks in a fixed order, and what follows from them.
DEVICE void conclude(ptr<const u32> starts, ptr<float> partial, ptr<float> factor, ptr<u32> state,
                     ptr<u32> rates, u32 segments, float unscale, float clip, float clip_epsilon,
                     u32 per_tensor, u32 growth) {
    for (u32 s = thread_x() / 32; s < segments; s += threads() / 32) {  // a warp each
        u32 lane = thread_x() % 32;
        float total = 0.0f;
        for (u32 b = starts[s] + lane; b < starts[s + 1]; b += 32) total += partial[b];
        total = warp_sum(total);
        if (lane == 0) factor[s] = total;
    }
    block_sync();
    float all = 0.0f;
    for (u32 s = 0; s < segments; s++) all += factor[s];
    bool found = !finite(all);
    float norm = square_root(all);
    block_sync();  // the sums become factors
    for (u32 s = thread_x(); s < segments; s += threads()) {
        float of = per_tensor ? square_root(factor[s]) : norm;
        factor[s] = of > clip ? clip / (of + clip_epsilon) : 1.0f;
    }
    if (thread_x() != 0) return;
    float scale = float_of(state[SCALE]);
    if (rates[USED] < rates[GIVEN]) rates[USED] += 1;
    state[DONE] = 0;
    state[FOUND] = found;
    state[UNSCALE] = bits_of(unscale);
    state[NORM] = bits_of(norm);
    if (found) {
        state[SKIPPED] += 1;
        state[GOOD] = 0;
        if (growth) state[SCALE] = bits_of(scale > 1.0f ? scale * 0.5f : scale);
        return;
    }
    state[STEPS] += 1;
    state[GOOD] += 1;
    if (growth && state[GOOD] == growth) {
        state[GOOD] = 0;
        state[SCALE] = bits_of(scale * 2.0f);
    }
}

// grads, params [n] f32; decay [S] f32 (2 l2 for the L2 term l2 * sum w^2); spans [blocks, 3]:
// segment, first and end element of each block; starts [S + 1]: first block of each segment;
// partial [blocks] f32 scratch; factor [S] f32; state [8]; rates [2 + R]: at least one is given.
// mean: 1 / number of rows that the loss is a mean over. growth: good steps after which the scale
// doubles, 0 for a scale that never changes. clip: infinity for none; per_tensor: each segment has
// a norm of its own (Keras: clip_epsilon 0), else all have one (torch: clip_epsilon 1e-6).
KERNEL(adam_prepare, ptr<const float> grads, ptr<const float> params, ptr<const float> decay,
       ptr<const u32> spans, ptr<const u32> starts, ptr<float> partial, ptr<float> factor,
       ptr<u32> state, ptr<u32> rates, u32 segments, float mean, float clip, float clip_epsilon,
       u32 per_tensor, u32 growth) {
    SHARED(float, scratch, 32);
    SHARED(u32, last, 1);
    Span span = span_of(spans);
    float unscale = mean / float_of(state[SCALE]), l2 = decay[span.segment], total = 0.0f;
    for (u32 i = span.first + thread_x(); i < span.end; i += threads()) {
        float g = grads[i] * unscale;
        if (l2 != 0.0f) g += l2 * params[i];
        total += g * g;
    }
    total = block_sum(total, scratch);
    if (thread_x() == 0) {
        partial[block_x()] = total;
        fence();
        last[0] = atomic_add(state + DONE, 1) == grid_x() - 1;
        fence();
    }
    block_sync();
    if (last[0])
        conclude(starts, partial, factor, state, rates, segments, unscale, clip, clip_epsilon,
                 per_tensor, growth);
}

// ---- update --------------------------------------------------------------------------------

// grads, params, m, v [n] f32; halves [n] or null: a half copy of params; decay, spans, factor, state
// and rates as above. log_beta1 and log_beta2 are the logarithms of the betas, in double precision
// rounded once: 1 - beta^t = -expm1(t log beta) keeps its digits for small t. For t = 1 that is also
// the factor of g: 1 - 0.999f would be 1e-5 off 0.001. plain: gradient descent, without moments.
KERNEL(adam_update, ptr<const float> grads, ptr<float> params, ptr<float> m, ptr<float> v,
       ptr<half> halves, ptr<const float> decay, ptr<const u32> spans, ptr<const float> factor,
       ptr<const u32> state, ptr<const u32> rates, float beta1, float beta2, float log_beta1,
       float log_beta2, float epsilon, float weight_decay, u32 plain) {
    if (state[FOUND]) return;
    float rate = learning_rate(rates);
    Span span = span_of(spans);
    float t = float(state[STEPS]), unscale = float_of(state[UNSCALE]);
    float l2 = decay[span.segment], clip = factor[span.segment];
    float correction1 = -exp_minus_1(t * log_beta1), correction2 = -exp_minus_1(t * log_beta2);
    float rest1 = -exp_minus_1(log_beta1), rest2 = -exp_minus_1(log_beta2);
    for (u32 i = span.first + thread_x(); i < span.end; i += threads()) {
        float w = params[i];
        float g = grads[i] * unscale;
        if (l2 != 0.0f) g += l2 * w;
        g *= clip;
        if (weight_decay != 0.0f) w -= rate * weight_decay * w;
        if (plain) {
            w -= rate * g;
            params[i] = w;
            if (halves) halves[i] = to_half(w);
            continue;
        }
        float m_t = beta1 * m[i] + rest1 * g;
        float v_t = beta2 * v[i] + rest2 * g * g;
        w -= rate * (m_t / correction1) / (square_root(v_t / correction2) + epsilon);
        m[i] = m_t;
        v[i] = v_t;
        params[i] = w;
        if (halves) halves[i] = to_half(w);
    }
}
