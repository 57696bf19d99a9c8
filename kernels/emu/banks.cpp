// Counting bank conflicts (CUDA C++ Programming Guide, "Shared Memory": 32 banks of 4 bytes). A pass
// serves one word of each bank, to all lanes that ask for it. Lanes that ask for 4 bytes or fewer go
// together, of 8 bytes half warps, of 16 bytes, ldmatrix's rows among them, quarter warps.
#include "banks.h"

#include <algorithm>

#include "scheduler.h"

namespace emu {

namespace {

constexpr u32 BANKS = 32, WORD = 4;

u32 warp_of(const Thread& lane) {
    return lane.block->rank * ((launch.threads + 31) / 32) + lane.tid / 32;
}

}  // namespace

void Banks::reset(bool count) {
    counting = count;
    found.clear();
    warps.clear();
}

u32 Banks::line_of(Access access, Site site) {
    const char* element = access == Access::Read ? "read" : "write";
    const char* what = std::strcmp(site.what, "[]") == 0 ? element : site.what;
    for (size_t i = 0; i < found.size(); i++)
        if (Site{found[i].what, found[i].file, int(found[i].line)} == Site{what, site.file, site.line})
            return u32(i);
    found.push_back(BankLine{site.file, what, u32(site.line), 0, 0, 0, 0});
    return u32(found.size() - 1);
}

void Banks::add(const Thread& lane, size_t offset, size_t bytes, Access access, Site site) {
    std::vector<Place>& warp = warps[warp_of(lane)];
    u32 line = line_of(access, site), l = lane.tid % 32;
    auto is_it = [&](const Place& p) { return p.line == line && p.bytes == bytes; };
    auto place = std::find_if(warp.begin(), warp.end(), is_it);
    if (place == warp.end()) place = warp.insert(warp.end(), Place{line, u32(bytes), {}, {}});
    u32 n = place->next[l]++;
    if (place->instructions.size() <= n) place->instructions.resize(n + 1);
    Instruction& instruction = place->instructions[n];
    instruction.lanes |= 1u << l;
    instruction.offset[l] = u32(offset);
}

void Banks::count(BankLine& line, const Instruction& instruction, u32 bytes) const {
    line.instructions++;
    u32 words = bytes < WORD ? 1 : bytes / WORD, together = 32 / words;
    for (u32 first = 0; first < 32; first += together) {
        // The words that these lanes ask for, each once.
        u32 asked[BANKS], n = 0;
        for (u32 l = first; l < first + together; l++)
            for (u32 w = 0; instruction.lanes >> l & 1 && w < words; w++)
                asked[n++] = instruction.offset[l] / WORD + w;
        if (n == 0) continue;
        std::sort(asked, asked + n);
        n = u32(std::unique(asked, asked + n) - asked);
        u32 worst = 0;
        for (u32 i = 0; i < n; i++) {
            u32 same = 0, block = asked[i] * WORD / MAX_SHARED;
            for (u32 k = 0; k < n; k++)
                same += asked[k] % BANKS == asked[i] % BANKS && asked[k] * WORD / MAX_SHARED == block;
            worst = std::max(worst, same);
        }
        line.passes += worst;
        line.conflicts += worst - 1;
        line.worst = std::max(line.worst, worst);
    }
}

void Banks::conclude(std::vector<Place>& warp) {
    for (const Place& place : warp)
        for (const Instruction& instruction : place.instructions)
            count(found[place.line], instruction, place.bytes);
    warp.clear();
}

void Banks::meet(const Thread& lane) {
    auto warp = warps.find(warp_of(lane));
    if (warp != warps.end()) conclude(warp->second);
}

void Banks::meet_all() {
    for (auto& [number, warp] : warps) conclude(warp);
}

}  // namespace emu
