// Launching a kernel: the table of kernels, the checks, and block after block.
#include <algorithm>
#include <cstdio>

#include "scheduler.h"

namespace emu {

namespace {

const Kernel* kernels = nullptr;

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
            std::snprintf(text, sizeof text, "argument %u is not aligned to %u bytes", i,
                          kernel.aligns[i]);
    }
    return text;
}

std::string check_shape(const Kernel& kernel, const Launch& l) {
    char text[300] = "";
    for (int i = 0; i < 3; i++)
        if (l.grid[i] == 0 || l.grid[i] > MAX_GRID[i])
            std::snprintf(text, sizeof text, "grid (%u, %u, %u): each from 1 to (%u, %u, %u)",
                          l.grid[0], l.grid[1], l.grid[2], MAX_GRID[0], MAX_GRID[1], MAX_GRID[2]);
    u32 most = std::min(MAX_THREADS, kernel.max_threads);
    if (l.threads == 0 || l.threads > most)
        std::snprintf(text, sizeof text, "%u threads a block: from 1 to %u", l.threads, most);
    if (l.cluster == 0 || l.cluster > MAX_CLUSTER || l.grid[0] % l.cluster != 0)
        std::snprintf(text, sizeof text, "cluster of %u blocks in a grid of %u: a divisor up to %u",
                      l.cluster, l.grid[0], MAX_CLUSTER);
    if (l.dynamic_shared > MAX_SHARED)
        std::snprintf(text, sizeof text, "%u bytes of shared memory: at most %u", l.dynamic_shared,
                      MAX_SHARED);
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
    s.mbarriers.clear();
    shared_range = {reinterpret_cast<uintptr_t>(shared), size_t(launch.cluster) * MAX_SHARED};
    for (u32 rank = 0; rank < launch.cluster; rank++) {
        Block& block = launch.blocks[rank];
        u64 id = first + rank;
        block.index[0] = u32(id % launch.grid[0]);
        block.index[1] = u32(id / launch.grid[0] % launch.grid[1]);
        block.index[2] = u32(id / launch.grid[0] / launch.grid[1]);
        block.rank = rank;
        block.at_barrier = 0;
        for (auto& here : block.at_named) here.clear();
        block.shared = shared + size_t(rank) * MAX_SHARED;
        std::memset(block.shared, FRESH, launch.dynamic_shared);
        block.shared_used = launch.dynamic_shared;
        s.races.clear(size_t(rank) * MAX_SHARED, launch.dynamic_shared);
        block.arrays.clear();
        block.known.clear();
        std::fill(block.warps.begin(), block.warps.end(), 0);
        for (Thread& t : block.threads) {
            t.state = State::Fresh;
            t.site = Site{nullptr, "", 0};
            t.fiber = nullptr;
            t.arrived = false;
            t.stores.clear();
            t.number = rank * launch.threads + t.tid;
            t.time = 1;
            t.apart = false;
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

void run_cluster(u64 number) {
    auto& s = scheduler;
    prepare_cluster(number);
    leave(s.home, s.pick());
    if (!s.failed && s.done < size_t(launch.cluster) * launch.threads) {
        s.failed = true;
        s.message = deadlock();
    }
    shared_range = {0, 0};
    if (s.failed) return;
    s.banks.meet_all();
    s.message = unfinished();
    s.failed = !s.message.empty();
}

}  // namespace

void Kernel::enlist() {
    next = kernels;
    kernels = this;
}

// Runs a kernel; its asynchronous store number `lost`, if not 0, never arrives, and waits end when time
// is over. With `banks` its bank conflicts are counted. Returns 0, or 1 with a message in `error`.
extern "C" int rnnx_emu_launch(const char* name, const u32* grid, u32 threads, u32 cluster,
                               u32 dynamic_shared, const Arg* args, u32 count, u64 seed, u64 lost,
                               u32 banks, char* error, size_t error_size) {
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
    if (wrong.empty()) wrong = check_shape(*kernel, launch);
    if (!wrong.empty()) return refuse(wrong);

    auto& s = scheduler;
    s.reset(seed);
    s.lost = lost;
    s.banks.reset(banks != 0);
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

// What was counted at place number `index` of this operating-system thread's last launch; returns 0 after
// the last.
extern "C" int rnnx_emu_bank_line(u32 index, BankLine* line) {
    const auto& lines = scheduler.banks.lines();
    if (index >= lines.size()) return 0;
    *line = lines[index];
    return 1;
}

}  // namespace emu
