// Who knows of what: vector clocks, and accesses to shared memory that no barrier orders.
//
// An access is (who, when): a thread at its own time, or an mbarrier in its phase for a store that
// completes there. It happened before thread t's present where t's clock has reached it. Every two
// accesses of a place, one of them a write, must stand in that order (Flanagan & Freund 2009). Shuffles,
// votes and matrix instructions order no memory; barriers, syncwarp and mbarriers do.
#include "race.h"

#include <algorithm>

#include "scheduler.h"

namespace emu {

__thread SharedRange shared_range = {0, 0};

namespace {

void join(Clock& into, const Clock& from) {
    if (into.size() < from.size()) into.resize(from.size());
    const u32* f = from.data();
    u32* t = into.data();
    for (size_t i = 0, n = from.size(); i < n; i++) t[i] = t[i] < f[i] ? f[i] : t[i];
}

void reach(Clock& clock, u32 who, u32 time) {
    if (clock.size() <= who) clock.resize(who + 1);
    clock[who] = std::max(clock[who], time);
}

// The time of `who` that the thread knows of.
u32 known(const Thread& t, u32 who) {
    if (who == t.number) return t.time;
    const Clock& clock = t.apart ? t.known : t.block->known;
    return who < clock.size() ? clock[who] : 0;
}

}  // namespace

void release(Thread& t, Clock& into) {
    join(into, t.apart ? t.known : t.block->known);
    reach(into, t.number, t.time++);
}

void acquire(Thread& t, const Clock& from) {
    if (!t.apart) t.known = t.block->known;
    t.apart = true;
    join(t.known, from);
}

void share_block(Block& block) {
    Clock all = block.known;
    for (Thread& t : block.threads)
        if (t.apart) join(all, t.known);
    for (Thread& t : block.threads) {
        reach(all, t.number, t.time++);
        t.apart = false;
    }
    block.known = std::move(all);
}

void share_cluster() {
    Clock all;
    for (Block& block : launch.blocks) {
        share_block(block);
        join(all, block.known);
    }
    for (Block& block : launch.blocks) block.known = all;
}

void share_warp(Thread* lanes, u32 mask) {
    Clock all;
    for (u32 i = 0; i < 32; i++)
        if (mask >> i & 1) release(lanes[i], all);
    for (u32 i = 0; i < 32; i++)
        if (mask >> i & 1) acquire(lanes[i], all);
}

// ---- cells ---------------------------------------------------------------------------------

void Races::clear(size_t offset, size_t bytes) {
    size_t last = (offset + bytes + CELL - 1) / CELL;
    if (cells.size() < last) cells.resize(last);
    for (size_t i = offset / CELL; i < last; i++) {
        drop_readers(cells[i]);
        cells[i] = Cell{};
    }
}

void Races::reset() {
    cells.clear();
    readers.assign(1, Reader{});
    spare = 0;
}

u32 Races::place(Site site) {
    for (size_t i = 0; i < files.size(); i++)
        if (files[i] == site.file) return u32(i) << 20 | u32(site.line);
    files.push_back(site.file);
    return u32(files.size() - 1) << 20 | u32(site.line);
}

void Races::drop_readers(Cell& cell) {
    while (cell.readers) {
        u32 node = cell.readers;
        cell.readers = readers[node].next;
        readers[node].next = spare;
        spare = node;
    }
    cell.count = 0;
}

void Races::add_reader(Cell& cell, u32 who, u32 when, u32 where) {
    u32 head = cell.readers;
    if (head && readers[head].who == who) {
        readers[head] = Reader{who, when, where, readers[head].next};
        return;
    }
    u32 node = spare;
    if (node) {
        spare = readers[node].next;
    } else {
        node = u32(readers.size());
        readers.emplace_back();
    }
    readers[node] = Reader{who, when, where, head};
    cell.readers = node;
    if (++cell.count > 2 * launch.threads * launch.cluster) keep_latest(cell);
}

// Of each thread's reads of a cell only the last counts.
void Races::keep_latest(Cell& cell) {
    std::vector<bool> seen;
    u32 before = 0, node = cell.readers;
    while (node) {
        Reader& r = readers[node];
        u32 next = r.next;
        if (seen.size() <= r.who) seen.resize(r.who + 1);
        if (seen[r.who]) {
            readers[before].next = next;
            r.next = spare;
            spare = node;
            cell.count--;
        } else {
            seen[r.who] = true;
            before = node;
        }
        node = next;
    }
}

std::string Races::tell(u32 who, u32 where, const char* what) const {
    char text[300];
    u32 threads = launch.threads * launch.cluster;
    const char* file = files[where >> 20];
    if (who < threads)
        std::snprintf(text, sizeof text, "%s at %s:%u by thread %u of block %u of the cluster", what,
                      file, where & 0xFFFFF, who % launch.threads, who / launch.threads);
    else
        std::snprintf(text, sizeof text, "store of an st_async at %s:%u", file, where & 0xFFFFF);
    return text;
}

void Races::report(size_t cell, const std::string& first, const std::string& second) const {
    size_t byte = cell * CELL;
    fail("race at byte %zu of the shared memory of block %zu of the cluster: no barrier orders the %s "
         "and the %s",
         byte % MAX_SHARED, byte / MAX_SHARED, first.c_str(), second.c_str());
}

void Races::touch(size_t at, size_t bytes, Access access, Thread& t, u32 who, u32 when, Site site) {
    u32 where = place(site);
    bool writes = access != Access::Read, atomic = access == Access::Atomic;
    const char* what = writes ? "write" : "read";
    size_t last = (at + bytes + CELL - 1) / CELL;
    if (cells.size() < last) cells.resize(last);  // of a block that has not come to its arrays yet
    for (size_t i = at / CELL; i < last; i++) {
        Cell& cell = cells[i];
        if (cell.when && known(t, cell.who) < cell.when && !(atomic && cell.atomic))
            report(i, tell(cell.who, cell.where, "write"), tell(who, where, what));
        if (!writes) {
            add_reader(cell, who, when, where);
            continue;
        }
        for (u32 node = cell.readers; node; node = readers[node].next) {
            const Reader& r = readers[node];
            if (known(t, r.who) < r.when)
                report(i, tell(r.who, r.where, "read"), tell(who, where, what));
        }
        drop_readers(cell);
        cell.who = who;
        cell.when = when;
        cell.where = where;
        cell.atomic = atomic;
    }
}

void touch_shared(size_t at, size_t bytes, Access access, Site site) {
    Thread& t = *current;
    scheduler.races.touch(at, bytes, access, t, t.number, t.time, site);
    // Atomics are of the one lane that arrives.
    if (access != Access::Atomic) scheduler.banks.note(t, at, bytes, access, site);
}

}  // namespace emu
