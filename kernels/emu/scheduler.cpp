// The scheduler of the emulated device: fibers, barriers, collectives, shared memory.
#include "scheduler.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

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

thread_local Thread* current = nullptr;
thread_local Launch launch;
thread_local Scheduler scheduler;

namespace {

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

}  // namespace

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

namespace {

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

}  // namespace

void park() {
    Thread* self = current;
    Thread* next = scheduler.pick();
    if (next != self) leave(self->fiber->context, next);
    self->state = State::Running;
}

namespace {

const char* describe(State state) {
    switch (state) {
        case State::Done: return "returned";
        case State::AtBlock: return "waits at a block barrier";
        case State::AtWarp: return "waits in a warp collective";
        case State::AtCluster: return "waits at the cluster barrier";
        case State::AtMbarrier: return "waits at an mbarrier";
        default: return "has not arrived";
    }
}

std::string place(const Thread& t) {
    char text[400];
    const u32* b = t.block->index;
    int n = std::snprintf(text, sizeof text, "block (%u, %u, %u) thread %u", b[0], b[1], b[2],
                          t.tid);
    if (t.state != State::Done && t.state != State::Running && t.site.what)
        std::snprintf(text + n, sizeof text - n, " at %s (%s:%d)", t.site.what, t.site.file,
                      t.site.line);
    return text;
}

}  // namespace

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
    if (waits->state == State::AtMbarrier) return text + ": " + unfinished();
    if (other) text += ": " + place(*other) + " " + describe(other->state);
    return text;
}

void fail(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    abandon(place(*current) + ": " + text);
}

void abandon(std::string message) {
    scheduler.failed = true;
    scheduler.message = std::move(message);
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
            if (!(t.site == site))
                fail("the block's threads wait at different barriers: %s:%d and %s:%d", site.file,
                     site.line, t.site.file, t.site.line);
            scheduler.make_ready(&t);
        }
        share_block(block);
        for (u32 i = 0; i < block.threads.size(); i += 32) scheduler.banks.meet(block.threads[i]);
    }
    park();
}

void named_barrier(u32 number, u32 count, Site site) {
    Block& block = *current->block;
    if (number == 0 || number > 15 || count == 0 || count % 32 != 0 || count > block.threads.size())
        fail("bar_sync: barrier %u of %u threads", number, count);
    std::vector<Thread*>& here = block.at_named[number];
    current->site = site;
    current->state = State::AtBlock;
    here.push_back(current);
    if (here.size() == count) {
        Clock all;
        for (Thread* t : here) {
            if (!(t->site == site))
                fail("barrier %u: threads wait at %s:%d and at %s:%d", number, site.file, site.line,
                     t->site.file, t->site.line);
            release(*t, all);
        }
        for (Thread* t : here) {
            acquire(*t, all);
            scheduler.make_ready(t);
        }
        here.clear();
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
            for (const RemoteStore& s : t.stores) std::memcpy(s.to, s.bytes, s.size);
            t.stores.clear();
            t.arrived = false;
            scheduler.make_ready(&t);
        }
    share_cluster();
    scheduler.banks.meet_all();
    park();
}

void collective(u32 mask, void (*complete)(Thread*, u32), Site site) {
    Thread& self = *current;
    Block& block = *self.block;
    u32 warp = self.tid / 32, lane = self.tid % 32;
    u32 lanes = std::min<u32>(32, u32(block.threads.size()) - warp * 32);
    self.site = site;
    if (!(mask >> lane & 1)) fail("%s: lane %u is not in its own mask %08x", site.what, lane, mask);
    if (lanes < 32 && mask >> lanes)
        fail("%s: mask %08x names lanes that the block lacks", site.what, mask);
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
        if (mask == (lanes < 32 ? (1u << lanes) - 1 : ~0u)) scheduler.banks.meet(self);
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
    scheduler.races.clear(block.shared + offset - launch.blocks[0].shared, bytes);
    block.shared_used = u32(offset + bytes);
    return block.shared + offset;
}

}  // namespace emu
