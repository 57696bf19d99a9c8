// The scheduler of the emulated device: fibers, barriers, collectives, and the launch itself.
#include "emu.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <memory>

#include "fiber.h"

#ifdef RNNX_EMU_SWITCH_X86
__asm__(R"(
    .text
    .p2align 4
    .globl rnnx_emu_switch
    .hidden rnnx_emu_switch
rnnx_emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
#endif

namespace emu {

// Limits of compute capability 8.0 and later (CUDA C++ Programming Guide, table of technical
// specifications); the shared memory is that of 9.0 with opt-in.
constexpr u32 MAX_THREADS = 1024;
constexpr u32 MAX_GRID[3] = {0x7FFFFFFF, 65535, 65535};
constexpr u32 MAX_SHARED = 227 * 1024;
constexpr u32 MAX_STATIC_SHARED = 48 * 1024;
constexpr u32 SHARED_ALIGN = 128;
constexpr u32 MAX_CLUSTER = 8;
constexpr int FRESH = 0xFF;  // fresh memory: NaN as f32 and as f16, far out of range as an index

thread_local Thread* current = nullptr;
thread_local Launch launch;

namespace {

const Kernel* kernels = nullptr;

struct Scheduler {
    Context home;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber*> idle;
    std::vector<Thread*> ready;
    size_t head = 0;
    u64 seed = 0;
    u64 random = 0;
    size_t done = 0;
    bool failed = false;
    std::string message;
    const Kernel* kernel = nullptr;
    const Arg* args = nullptr;
    std::vector<unsigned char> shared;

    // splitmix64
    u64 next_random() {
        u64 z = (random += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    void make_ready(Thread* t) {
        t->state = State::Ready;
        ready.push_back(t);
    }

    // The next thread to run: ascending for seed 0, descending for seed 1, else any.
    Thread* pick() {
        if (head == ready.size()) return nullptr;
        size_t left = ready.size() - head;
        size_t chosen = seed == 0 ? 0 : seed == 1 ? left - 1 : next_random() % left;
        if (seed == 1) {
            Thread* t = ready.back();
            ready.pop_back();
            return t;
        }
        std::swap(ready[head], ready[head + chosen]);
        Thread* t = ready[head++];
        if (head == ready.size()) {
            ready.clear();
            head = 0;
        }
        return t;
    }

    void reset(u64 order) {
        ready.clear();
        head = 0;
        seed = order;
        random = order;
        done = 0;
        failed = false;
        message.clear();
        idle.clear();
        for (auto& fiber : fibers) idle.push_back(fiber.get());
    }
};

thread_local Scheduler scheduler;

void run_threads();

Fiber* fresh_fiber() {
    auto& s = scheduler;
    if (s.idle.empty()) {
        s.fibers.push_back(std::make_unique<Fiber>());
        s.idle.push_back(s.fibers.back().get());
    }
    Fiber* fiber = s.idle.back();
    s.idle.pop_back();
    fiber->start(run_threads);
    return fiber;
}

// Leaves `from` for thread `t`, or for the launch itself if nobody can run.
void leave(Context& from, Thread* t) {
    if (!t) {
        current = nullptr;
        switch_to(from, scheduler.home);
        return;
    }
    if (!t->fiber) t->fiber = fresh_fiber();
    current = t;
    switch_to(from, t->fiber->context);
}

// A fiber's life: run threads from their beginning until only suspended ones are left.
void run_threads() {
    auto& s = scheduler;
    Fiber* self = current->fiber;
    for (;;) {
        current->state = State::Running;
        s.kernel->call(*s.kernel, s.args);
        Thread* t = current;
        if (!t->stores.empty())
            fail("returned with a remote store that no cluster barrier delivers");
        t->state = State::Done;
        t->fiber = nullptr;
        s.done++;
        Thread* next = s.pick();
        if (next && !next->fiber) {
            next->fiber = self;
            current = next;
            continue;
        }
        s.idle.push_back(self);
        leave(self->context, next);
    }
}

// Suspends the running thread until somebody makes it ready again.
void park() {
    Thread* self = current;
    Thread* next = scheduler.pick();
    if (next != self) leave(self->fiber->context, next);
    self->state = State::Running;
}

const char* describe(State state) {
    switch (state) {
        case State::Done: return "returned";
        case State::AtBlock: return "waits at a block barrier";
        case State::AtWarp: return "waits in a warp collective";
        case State::AtCluster: return "waits at the cluster barrier";
        default: return "has not arrived";
    }
}

std::string place(const Thread& t) {
    char text[400];
    const u32* b = t.block->index;
    int n = std::snprintf(text, sizeof text, "block (%u, %u, %u) thread %u", b[0], b[1], b[2], t.tid);
    if (t.state != State::Done && t.state != State::Running && t.site.what)
        std::snprintf(text + n, sizeof text - n, " at %s (%s:%d)", t.site.what, t.site.file,
                      t.site.line);
    return text;
}

// Nobody can run and not all are done: says who waits and who will never come.
std::string deadlock() {
    const Thread *waits = nullptr, *other = nullptr;
    for (const Block& block : launch.blocks)
        for (const Thread& t : block.threads)
            if (t.state != State::Done && !waits) waits = &t;
    for (const Block& block : launch.blocks)
        for (const Thread& t : block.threads) {
            bool concerned = waits->state == State::AtCluster || t.block == waits->block;
            if (waits->state == State::AtWarp)
                concerned = concerned && t.tid / 32 == waits->tid / 32 &&
                            (waits->mask >> (t.tid % 32) & 1);
            bool apart = t.state != waits->state || !(t.site == waits->site);
            if (concerned && apart && !other) other = &t;
        }
    std::string text = place(*waits) + " waits for ever";
    if (other) text += ": " + place(*other) + " " + describe(other->state);
    return text;
}

}  // namespace

void Kernel::enlist() {
    next = kernels;
    kernels = this;
}

void fail(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    scheduler.failed = true;
    scheduler.message = place(*current) + ": " + text;
    Context abandoned;
    switch_to(abandoned, scheduler.home);
    std::abort();  // the launch never comes back here
}

void block_barrier(Site site) {
    Block& block = *current->block;
    current->site = site;
    current->state = State::AtBlock;
    if (++block.at_barrier == block.threads.size()) {
        block.at_barrier = 0;
        for (Thread& t : block.threads) {
            if (!(t.site == site)) fail("the block's threads wait at different barriers: %s:%d and %s:%d",
                                        site.file, site.line, t.site.file, t.site.line);
            scheduler.make_ready(&t);
        }
    }
    park();
}

void cluster_arrive(Site site) {
    Thread& self = *current;
    self.site = site;
    if (self.arrived) fail("arrives twice at the cluster barrier without a wait");
    self.arrived = true;
}

void cluster_wait(Site site) {
    Thread& self = *current;
    self.site = site;
    if (!self.arrived) fail("waits at the cluster barrier without having arrived");
    self.state = State::AtCluster;
    for (Block& block : launch.blocks)
        for (Thread& t : block.threads)
            if (t.state != State::AtCluster) return park();
    // Everybody is here: remote stores become visible now, as late as they may.
    for (Block& block : launch.blocks)
        for (Thread& t : block.threads) {
            for (const RemoteStore& store : t.stores) std::memcpy(store.to, store.bytes, store.size);
            t.stores.clear();
            t.arrived = false;
            scheduler.make_ready(&t);
        }
    park();
}

void collective(u32 mask, void (*complete)(Thread*, u32), Site site) {
    Thread& self = *current;
    Block& block = *self.block;
    u32 warp = self.tid / 32, lane = self.tid % 32;
    u32 lanes = std::min<u32>(32, u32(block.threads.size()) - warp * 32);
    self.site = site;
    if (!(mask >> lane & 1)) fail("%s: lane %u is not in its own mask %08x", site.what, lane, mask);
    if (lanes < 32 && mask >> lanes) fail("%s: mask %08x names lanes that the block lacks", site.what, mask);
    self.mask = mask;
    self.complete = complete;
    self.state = State::AtWarp;
    u32& waiting = block.warps[warp];
    waiting |= 1u << lane;
    if ((waiting & mask) == mask) {
        Thread* first = &block.threads[warp * 32];
        for (u32 i = 0; i < lanes; i++)
            if (mask >> i & 1) {
                const Thread& t = first[i];
                if (t.mask != mask || !(t.site == site))
                    fail("%s (%s:%d) with mask %08x meets %s (%s:%d) with mask %08x of lane %u",
                         site.what, site.file, site.line, mask, t.site.what, t.site.file,
                         t.site.line, t.mask, i);
            }
        complete(first, mask);
        waiting &= ~mask;
        for (u32 i = 0; i < lanes; i++)
            if (mask >> i & 1) scheduler.make_ready(first + i);
    }
    park();
}

unsigned char* shared_array(const void* key, size_t bytes, size_t align) {
    Block& block = *current->block;
    for (const SharedArray& a : block.arrays)
        if (a.key == key) return block.shared + a.offset;
    size_t offset = (block.shared_used + align - 1) / align * align;
    size_t fixed = offset + bytes - launch.dynamic_shared;
    if (offset + bytes > MAX_SHARED || fixed > MAX_STATIC_SHARED)
        fail("%zu bytes of static shared memory and %u of dynamic: the limits are %u and %u in all",
             fixed, launch.dynamic_shared, MAX_STATIC_SHARED, MAX_SHARED);
    block.arrays.push_back({key, u32(offset)});
    std::memset(block.shared + offset, FRESH, bytes);
    block.shared_used = u32(offset + bytes);
    return block.shared + offset;
}

// ---- launch --------------------------------------------------------------------------------

namespace {

const char* kind_name(Kind kind) {
    const char* names[] = {"a pointer", "u32", "i32", "u64", "f32"};
    return names[u32(kind)];
}

std::string check_arguments(const Kernel& kernel, const Arg* args, u32 count) {
    char text[300] = "";
    if (count != kernel.count)
        std::snprintf(text, sizeof text, "%u arguments, the kernel takes %u", count, kernel.count);
    for (u32 i = 0; i < count && !*text; i++) {
        if (args[i].kind != kernel.kinds[i])
            std::snprintf(text, sizeof text, "argument %u is %s, the kernel takes %s", i,
                          kind_name(args[i].kind), kind_name(kernel.kinds[i]));
        else if (args[i].bits % kernel.aligns[i] != 0)
            std::snprintf(text, sizeof text, "argument %u is not aligned to %u bytes", i, kernel.aligns[i]);
    }
    return text;
}

std::string check_shape(const Launch& l) {
    char text[300] = "";
    for (int i = 0; i < 3; i++)
        if (l.grid[i] == 0 || l.grid[i] > MAX_GRID[i])
            std::snprintf(text, sizeof text, "grid (%u, %u, %u): each must be from 1 to (%u, %u, %u)",
                          l.grid[0], l.grid[1], l.grid[2], MAX_GRID[0], MAX_GRID[1], MAX_GRID[2]);
    if (l.threads == 0 || l.threads > MAX_THREADS)
        std::snprintf(text, sizeof text, "%u threads a block: from 1 to %u", l.threads, MAX_THREADS);
    if (l.cluster == 0 || l.cluster > MAX_CLUSTER || l.grid[0] % l.cluster != 0)
        std::snprintf(text, sizeof text, "cluster of %u blocks in a grid of %u: up to %u, a divisor",
                      l.cluster, l.grid[0], MAX_CLUSTER);
    if (l.dynamic_shared > MAX_SHARED)
        std::snprintf(text, sizeof text, "%u bytes of shared memory: at most %u", l.dynamic_shared, MAX_SHARED);
    return text;
}

// Block coordinates, NaN in shared memory, all threads to be run.
void prepare_cluster(u64 number) {
    auto& s = scheduler;
    u64 first = number * launch.cluster;
    auto base = reinterpret_cast<uintptr_t>(s.shared.data());
    auto shared = s.shared.data() + (SHARED_ALIGN - base % SHARED_ALIGN);
    s.ready.clear();
    s.head = 0;
    s.done = 0;
    for (u32 rank = 0; rank < launch.cluster; rank++) {
        Block& block = launch.blocks[rank];
        u64 id = first + rank;
        block.index[0] = u32(id % launch.grid[0]);
        block.index[1] = u32(id / launch.grid[0] % launch.grid[1]);
        block.index[2] = u32(id / launch.grid[0] / launch.grid[1]);
        block.rank = rank;
        block.at_barrier = 0;
        block.shared = shared + size_t(rank) * MAX_SHARED;
        std::memset(block.shared, FRESH, launch.dynamic_shared);
        block.shared_used = launch.dynamic_shared;
        block.arrays.clear();
        std::fill(block.warps.begin(), block.warps.end(), 0);
        for (Thread& t : block.threads) {
            t.state = State::Fresh;
            t.site = Site{nullptr, "", 0};
            t.fiber = nullptr;
            t.arrived = false;
            t.stores.clear();
            s.ready.push_back(&t);
        }
    }
}

void make_blocks() {
    launch.blocks.assign(launch.cluster, Block{});
    for (Block& block : launch.blocks) {
        block.threads.resize(launch.threads);
        block.warps.resize((launch.threads + 31) / 32);
        for (u32 i = 0; i < launch.threads; i++) {
            block.threads[i].block = &block;
            block.threads[i].tid = i;
        }
    }
    size_t shared = size_t(launch.cluster) * MAX_SHARED + SHARED_ALIGN;
    if (scheduler.shared.size() < shared) scheduler.shared.resize(shared);
}

bool run_cluster(u64 number) {
    auto& s = scheduler;
    prepare_cluster(number);
    leave(s.home, s.pick());
    if (!s.failed && s.done < size_t(launch.cluster) * launch.threads) {
        s.failed = true;
        s.message = deadlock();
    }
    return !s.failed;
}

}  // namespace

// Runs a kernel. Returns 0, or 1 with a message in `error`.
extern "C" int rnnx_emu_launch(const char* name, const u32* grid, u32 threads, u32 cluster,
                               u32 dynamic_shared, const Arg* args, u32 count, u64 seed,
                               char* error, size_t error_size) {
    auto refuse = [&](const std::string& message) {
        std::snprintf(error, error_size, "%s", message.c_str());
        return 1;
    };
    if (current) return refuse("a launch from inside a kernel");
    const Kernel* kernel = kernels;
    while (kernel && std::strcmp(kernel->name, name) != 0) kernel = kernel->next;
    if (!kernel) return refuse("no kernel of this name");
    launch = Launch{name, {grid[0], grid[1], grid[2]}, threads, cluster, dynamic_shared, {}};
    std::string wrong = check_arguments(*kernel, args, count);
    if (wrong.empty()) wrong = check_shape(launch);
    if (!wrong.empty()) return refuse(wrong);

    auto& s = scheduler;
    s.reset(seed);
    s.kernel = kernel;
    s.args = args;
    make_blocks();
    u64 clusters = u64(grid[0]) * grid[1] * grid[2] / cluster;
    std::vector<u64> order(seed < 2 ? 0 : clusters);
    for (u64 i = 0; i < order.size(); i++) order[i] = i;
    for (u64 i = order.size(); i > 1; i--) std::swap(order[i - 1], order[s.next_random() % i]);
    for (u64 i = 0; i < clusters && !s.failed; i++)
        run_cluster(seed == 0 ? i : seed == 1 ? clusters - 1 - i : order[i]);
    current = nullptr;
    return s.failed ? refuse(s.message) : 0;
}

// The name of kernel number `index`, or null after the last.
extern "C" const char* rnnx_emu_kernel_name(u32 index) {
    const Kernel* kernel = kernels;
    while (kernel && index-- > 0) kernel = kernel->next;
    return kernel ? kernel->name : nullptr;
}

}  // namespace emu
