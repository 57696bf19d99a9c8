// The emulated device: what a kernel's thread sees of its launch, and checked pointers.
//
// A launch runs on the calling operating-system thread. Its kernel threads are fibers; each runs
// until it waits for others (barrier, warp collective, cluster barrier). All state is per
// operating-system thread, so launches on different threads do not meet.
#pragma once
#include <cstdint>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using i32 = int32_t;
using u64 = uint64_t;

namespace emu {

// Where in the sources a thread waits.
struct Site {
    const char* what;
    const char* file;
    int line;
    bool operator==(const Site& other) const {
        return line == other.line && std::strcmp(file, other.file) == 0 &&
               std::strcmp(what, other.what) == 0;
    }
};

struct Fiber;
struct Block;

enum class State { Fresh, Ready, Running, AtWarp, AtBlock, AtCluster, Done };

// A store to another block's shared memory that has not been delivered yet.
struct RemoteStore {
    unsigned char* to;
    unsigned char bytes[16];
    u32 size;
};

// Registers that a warp collective takes from a lane and gives back.
struct Exchange {
    u32 in[12];
    u32 out[4];
};

struct Thread {
    Block* block;
    u32 tid;
    State state;
    Site site;
    Fiber* fiber;
    u32 mask;            // lanes of the collective that it waits in
    void (*complete)(Thread* lanes, u32 mask);
    Exchange exchange;
    bool arrived;        // at the cluster barrier, and has not waited yet
    std::vector<RemoteStore> stores;
};

struct SharedArray {
    const void* key;
    u32 offset;
};

struct Block {
    u32 index[3];
    u32 rank;  // in its cluster
    std::vector<Thread> threads;
    std::vector<u32> warps;  // lanes of each warp that wait in a collective
    u32 at_barrier;
    unsigned char* shared;  // dynamic part first
    u32 shared_used;
    std::vector<SharedArray> arrays;
};

// The launch that runs on this operating-system thread.
struct Launch {
    const char* kernel;
    u32 grid[3];
    u32 threads;
    u32 cluster;
    u32 dynamic_shared;
    std::vector<Block> blocks;  // of the cluster that runs
};

extern thread_local Thread* current;
extern thread_local Launch launch;

// Ends the launch with a message; the calling fiber is abandoned.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

void block_barrier(Site site);
void cluster_arrive(Site site);
void cluster_wait(Site site);
// Waits until all lanes of `mask` are here; then `complete` fills every lane's `exchange.out`.
void collective(u32 mask, void (*complete)(Thread* lanes, u32 mask), Site site);
// The block's array of this key, of `bytes` bytes, made at its first use.
unsigned char* shared_array(const void* key, size_t bytes, size_t align);

// A pointer that knows its buffer. Each access is checked; a stray one ends the launch.
template <class T>
struct ptr {
    T* at = nullptr;
    T* begin = nullptr;
    T* end = nullptr;

    ptr() = default;
    ptr(std::nullptr_t) {}
    ptr(T* at, T* begin, T* end) : at(at), begin(begin), end(end) {}
    template <class U, class = std::enable_if_t<std::is_same<T, const U>::value>>
    ptr(const ptr<U>& other) : at(other.at), begin(other.begin), end(other.end) {}

    explicit operator bool() const { return at != nullptr; }
    template <class I>
    ptr operator+(I n) const {
        return ptr(reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(at) + uintptr_t(n) * sizeof(T)),
                   begin, end);
    }
    template <class I>
    T& operator[](I i) const {
        return *(*this + i).check(1);
    }
    T& operator*() const { return *check(1); }

    // `n` elements from here on, as a plain pointer.
    T* check(size_t n) const {
        auto a = reinterpret_cast<uintptr_t>(at), b = reinterpret_cast<uintptr_t>(begin),
             e = reinterpret_cast<uintptr_t>(end);
        if (__builtin_expect(a < b || a > e || e - a < n * sizeof(T), 0)) stray(n);
        return at;
    }
    // Like `check`, for an access that must be aligned to its 16 bytes.
    T* check16(const char* what) const {
        check(16 / sizeof(T));
        if (reinterpret_cast<uintptr_t>(at) % 16 != 0)
            fail("%s at byte %td of a buffer, which is not aligned to 16 bytes", what, byte());
        return at;
    }

   private:
    ptrdiff_t byte() const {
        return reinterpret_cast<const char*>(at) - reinterpret_cast<const char*>(begin);
    }
    [[noreturn]] void stray(size_t n) const {
        if (!at) fail("access through a null pointer");
        fail("access to %zu bytes at byte %td of a buffer of %td bytes", n * sizeof(T), byte(),
             reinterpret_cast<const char*>(end) - reinterpret_cast<const char*>(begin));
    }
};

// ---- kernel registry and arguments ---------------------------------------------------------

enum class Kind : u32 { Pointer = 0, U32 = 1, I32 = 2, U64 = 3, F32 = 4 };

// What cuLaunchKernel's `void**` points to, with what is needed to check it.
struct Arg {
    Kind kind;
    u64 bits;   // the value; for a pointer its address
    u64 begin;  // the buffer that the pointer lies in
    u64 end;
};

template <class T>
struct Param;
template <class T>
struct Param<ptr<T>> {
    static constexpr Kind KIND = Kind::Pointer;
    static constexpr u32 ALIGN = alignof(T);
    static ptr<T> read(const Arg& a) {
        return ptr<T>(reinterpret_cast<T*>(a.bits), reinterpret_cast<T*>(a.begin),
                      reinterpret_cast<T*>(a.end));
    }
};
template <class T, Kind K>
struct Scalar {
    static constexpr Kind KIND = K;
    static constexpr u32 ALIGN = 1;
    static T read(const Arg& a) {
        T value;
        std::memcpy(&value, &a.bits, sizeof(T));
        return value;
    }
};
template <>
struct Param<u32> : Scalar<u32, Kind::U32> {};
template <>
struct Param<i32> : Scalar<i32, Kind::I32> {};
template <>
struct Param<u64> : Scalar<u64, Kind::U64> {};
template <>
struct Param<float> : Scalar<float, Kind::F32> {};

struct Kernel {
    const char* name;
    const Kind* kinds;
    const u32* aligns;
    u32 count;
    void (*call)(const Kernel& kernel, const Arg* args);
    void (*function)();
    const Kernel* next;

    template <class... P>
    Kernel(const char* name, void (*f)(P...))
        : name(name), count(sizeof...(P)), function(reinterpret_cast<void (*)()>(f)) {
        static const Kind list[] = {Param<P>::KIND..., Kind::U32};
        static const u32 aligned[] = {Param<P>::ALIGN..., 1};
        kinds = list;
        aligns = aligned;
        call = [](const Kernel& k, const Arg* args) {
            invoke(reinterpret_cast<void (*)(P...)>(k.function), args,
                   std::index_sequence_for<P...>());
        };
        enlist();
    }

   private:
    template <class... P, size_t... I>
    static void invoke(void (*f)(P...), const Arg* args, std::index_sequence<I...>) {
        f(Param<P>::read(args[I])...);
    }
    void enlist();
};

}  // namespace emu
