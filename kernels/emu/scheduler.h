// What the emulated device's files share: the limits of a launch, and who runs next.
#pragma once
#include <map>
#include <memory>
#include <utility>

#include "banks.h"
#include "emu.h"
#include "fiber.h"
#include "race.h"

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

// A store on its way to shared memory.
struct AsyncStore {
    unsigned char* to;
    unsigned char bytes[4];
    u32 size;
};

// PTX ISA, "Parallel synchronization: mbarrier". A phase is over when no arrivals and no bytes are
// pending; the next one begins with as many arrivals to come as the first. Bytes may arrive before
// they are expected.
struct Mbarrier {
    Block* block;
    u32 number;  // after those of the threads
    u32 arrivals, pending;
    int64_t bytes;
    u32 phase;
    Clock gathered;  // from those who arrive
    Clock told;      // to those who wait for the last phase that is over
    std::vector<Thread*> waiting;
    std::vector<AsyncStore> coming;
};

// Who runs, who can run next, and the stacks and shared memory they run on.
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
    Races races;
    Banks banks;
    std::map<unsigned char*, Mbarrier> mbarriers;
    u64 stores = 0;  // asynchronous ones of this launch so far
    u64 lost = 0;    // the one among them that never arrives, counted from 1

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

    // The next thread to run: ascending for seed 0, descending for seed 1, else any. Asynchronous
    // stores arrive when nobody can run without them.
    Thread* pick() {
        while (head == ready.size())
            if (!let_time_pass()) return nullptr;
        if (seed == 1) {
            Thread* t = ready.back();
            ready.pop_back();
            return t;
        }
        if (seed != 0) std::swap(ready[head], ready[head + next_random() % (ready.size() - head)]);
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
        races.reset();
        mbarriers.clear();
        stores = 0;
    }

    // Lets stores arrive, or waits that can have no end give up; false where neither is there.
    bool let_time_pass();
};

extern thread_local Scheduler scheduler;

// Leaves `from` for thread `t`, or for the launch itself if `t` is null: nobody can run.
void leave(Context& from, Thread* t);

// Suspends the running thread until somebody makes it ready again.
void park();

// Ends the launch with this message.
[[noreturn]] void abandon(std::string message);

// Nobody can run and not all threads are done: says who waits and who will never come.
std::string deadlock();
// What an mbarrier still waits for at the end of its cluster; empty if nothing.
std::string unfinished();

}  // namespace emu
