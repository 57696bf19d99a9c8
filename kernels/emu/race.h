// What race.cpp offers the scheduler and the mbarriers.
#pragma once
#include <string>
#include <vector>

#include "emu.h"

namespace emu {

// Tells of all that thread t did and knows of; what it does from now on is later.
void release(Thread& t, Clock& into);
// Thread t learns of what `from` tells.
void acquire(Thread& t, const Clock& from);
// All threads of a block, and of the cluster, tell each other.
void share_block(Block& block);
void share_cluster();

// Every place of the cluster's shared memory with its last write and the reads since.
class Races {
   public:
    // Forgets everything.
    void reset();
    // Bytes that nobody has touched.
    void clear(size_t offset, size_t bytes);
    // An access that thread t makes, or brings about, as `who` at time `when`.
    void touch(size_t at, size_t bytes, Access access, Thread& t, u32 who, u32 when, Site site);

   private:
    static constexpr size_t CELL = 2;  // bytes: the smallest element that kernels keep in shared memory
    struct Cell {
        u32 who = 0, when = 0, where = 0;  // the last write; times begin with 1
        u32 readers = 0;                   // list of those since; 0 ends it
        u32 count = 0;
        bool atomic = false;
    };
    struct Reader {
        u32 who, when, where, next;
    };

    u32 place(Site site);
    void drop_readers(Cell& cell);
    void add_reader(Cell& cell, u32 who, u32 when, u32 where);
    void keep_latest(Cell& cell);
    std::string tell(u32 who, u32 where, const char* what) const;
    [[noreturn]] void report(size_t cell, const std::string& first, const std::string& second) const;

    std::vector<Cell> cells;
    std::vector<Reader> readers;
    u32 spare = 0;
    std::vector<const char*> files;
};

}  // namespace emu
