// What banks.cpp offers the scheduler: how the accesses of a warp meet in the banks of shared memory.
#pragma once
#include <map>
#include <vector>

#include "emu.h"

namespace emu {

// All accesses from one place in the sources. `src/device/emulated/banks.rs` has it, too.
struct BankLine {
    const char* file;
    const char* what;
    u32 line;
    u32 worst;         // the most words that one pass asks of a bank
    u64 instructions;  // of a warp
    u64 passes;        // that they take
    u64 conflicts;     // of these, beyond one for each 128 bytes that the lanes ask for
};

// Accesses of the lanes of a warp are one instruction where they are each lane's nth from one place
// since all lanes of the warp stood at one point. That is exact but where lanes of a warp go different
// ways between two barriers and come by the same place again.
class Banks {
   public:
    // Begins a launch; nothing is noted unless it is to be counted.
    void reset(bool counting);
    // An access of a lane to `bytes` bytes from `offset` of the cluster's shared memory.
    void note(const Thread& lane, size_t offset, size_t bytes, Access access, Site site) {
        if (__builtin_expect(counting, 0)) add(lane, offset, bytes, access, site);
    }
    // All lanes of a thread's warp, or of all warps, stand at one point.
    void meet(const Thread& lane);
    void meet_all();
    const std::vector<BankLine>& lines() const { return found; }

   private:
    struct Instruction {
        u32 lanes = 0;
        u32 offset[32];
    };
    // One place in the sources, for a warp.
    struct Place {
        u32 line;  // in `found`
        u32 bytes;
        u32 next[32] = {};  // of each lane: its accesses so far
        std::vector<Instruction> instructions;
    };

    void add(const Thread& lane, size_t offset, size_t bytes, Access access, Site site);
    u32 line_of(Access access, Site site);
    void conclude(std::vector<Place>& warp);
    void count(BankLine& line, const Instruction& instruction, u32 bytes) const;

    bool counting = false;
    std::vector<BankLine> found;
    std::map<u32, std::vector<Place>> warps;  // by their number in the cluster
};

}  // namespace emu
