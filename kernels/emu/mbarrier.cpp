// mbarriers, and the stores that complete their bytes there.
#include <algorithm>
#include <cstdio>

#include "scheduler.h"

namespace emu {

namespace {

Mbarrier& find(unsigned char* at, Site site) {
    auto found = scheduler.mbarriers.find(at);
    if (found == scheduler.mbarriers.end()) fail("%s: no mbarrier was made here", site.what);
    touch(at, 8, Access::Atomic, site);
    return found->second;
}

Block& block_of(const unsigned char* at) {
    size_t offset = reinterpret_cast<uintptr_t>(at) - shared_range.begin;
    if (offset >= shared_range.bytes) fail("not shared memory");
    return launch.blocks[offset / MAX_SHARED];
}

bool has_returned(const Block& block) {
    return std::all_of(block.threads.begin(), block.threads.end(),
                       [](const Thread& t) { return t.state == State::Done; });
}

void end_phase(Mbarrier& m) {
    if (m.pending > 0 || m.bytes != 0) return;
    m.phase++;
    m.pending = m.arrivals;
    // Who waited for the phase knows of the stores that it counted.
    if (m.gathered.size() <= m.number) m.gathered.resize(m.number + 1);
    m.gathered[m.number] = m.phase;
    m.told = m.gathered;
    for (Thread* t : m.waiting) scheduler.make_ready(t);
    m.waiting.clear();
}

}  // namespace

void mbar_init(unsigned char* at, u32 arrivals, Site site) {
    if (reinterpret_cast<uintptr_t>(at) % 8 != 0) fail("mbar_init: not aligned to 8 bytes");
    Block* block = &block_of(at);
    if (block != current->block) fail("mbar_init: in the shared memory of another block");
    if (arrivals == 0 || arrivals >= 1u << 20) fail("mbar_init: %u arrivals", arrivals);
    touch(at, 8, Access::Write, site);
    u32 number = launch.threads * launch.cluster + u32(scheduler.mbarriers.size());
    Mbarrier made{block, number, arrivals, arrivals, 0, 0, {}, {}, {}, {}};
    if (!scheduler.mbarriers.emplace(at, made).second) fail("mbar_init: it has been made before");
}

void mbar_arrive_expect_tx(unsigned char* at, u32 bytes, Site site) {
    Mbarrier& m = find(at, site);
    if (m.block != current->block) fail("mbar_arrive_expect_tx: an mbarrier of another block");
    if (m.pending == 0) fail("mbar_arrive_expect_tx: more arrivals than the %u of a phase", m.arrivals);
    m.bytes += bytes;
    if (m.bytes >= 1 << 20) fail("mbar_arrive_expect_tx: %lld bytes pending", (long long)m.bytes);
    m.pending--;
    release(*current, m.gathered);
    end_phase(m);
}

bool mbar_wait(unsigned char* at, u32 parity, Site site) {
    Mbarrier& m = find(at, site);
    Thread& self = *current;
    if (m.block != self.block) fail("mbar_wait: an mbarrier of another block");
    self.gave_up = false;
    if ((m.phase & 1) == parity) {
        self.site = site;
        self.state = State::AtMbarrier;
        m.waiting.push_back(&self);
        park();
    }
    if (!self.gave_up) acquire(self, m.told);
    return !self.gave_up;
}

void store_async(unsigned char* to, const void* value, u32 bytes, unsigned char* mbar, Site site) {
    Mbarrier& m = find(mbar, site);
    if (&block_of(to) != m.block) fail("st_async: to another block than its mbarrier's");
    if (has_returned(*m.block)) fail("st_async: to a block that has returned");
    // It is ordered before those who wait for the phase that counts it.
    size_t offset = reinterpret_cast<uintptr_t>(to) - shared_range.begin;
    scheduler.races.touch(offset, bytes, Access::Write, *current, m.number, m.phase + 1, site);
    scheduler.banks.note(*current, offset, bytes, Access::Write, site);
    release(*current, m.gathered);
    AsyncStore store{to, {}, bytes};
    std::memcpy(store.bytes, value, bytes);
    if (++scheduler.stores != scheduler.lost) m.coming.push_back(store);
}

// One mbarrier's stores at a time, so that those of the others are as late as can be.
bool Scheduler::let_time_pass() {
    std::vector<Mbarrier*> expecting;
    for (auto& [at, m] : mbarriers)
        if (!m.coming.empty()) expecting.push_back(&m);
    if (!expecting.empty()) {
        size_t last = expecting.size() - 1;
        Mbarrier& m = *expecting[seed == 0 ? 0 : seed == 1 ? last : next_random() % (last + 1)];
        if (has_returned(*m.block)) abandon("st_async arrives at a block that has returned");
        for (const AsyncStore& s : m.coming) {
            std::memcpy(s.to, s.bytes, s.size);
            m.bytes -= s.size;
        }
        m.coming.clear();
        end_phase(m);
        return true;
    }
    if (lost == 0) return false;
    bool waiting = false;
    for (auto& [at, m] : mbarriers) {
        for (Thread* t : m.waiting) {
            t->gave_up = waiting = true;
            make_ready(t);
        }
        m.waiting.clear();
    }
    return waiting;
}

std::string unfinished() {
    auto& s = scheduler;
    for (const auto& [at, m] : s.mbarriers) {
        bool whole = m.coming.empty() && m.bytes == 0 && (m.waiting.empty() || m.pending == 0);
        if (whole || s.lost != 0) continue;
        char text[200];
        const u32* b = m.block->index;
        std::snprintf(text, sizeof text,
                      "an mbarrier of block (%u, %u, %u) in phase %u lacks %u arrivals and %lld bytes, "
                      "%zu stores to it are under way",
                      b[0], b[1], b[2], m.phase, m.pending, (long long)m.bytes, m.coming.size());
        return text;
    }
    return "";
}

}  // namespace emu
