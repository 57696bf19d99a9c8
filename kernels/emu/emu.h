// The emulated device: what a kernel's thread sees of its launch, and checked pointers.
//
// A launch runs on the calling operating-system thread. Its kernel threads are fibers; each runs
// until it waits for others (barrier, warp collective, cluster barrier, mbarrier). All state is per
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

enum class State { Fresh, Ready, Running, AtWarp, AtBlock, AtCluster, AtMbarrier, Done };

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

// What has happened before a point, by who did it: all of w up to w's time clock[w] (Lamport 1978,
// Mattern 1989). Threads and mbarriers have a number each in their cluster; what is missing is 0.
using Clock = std::vector<u32>;

struct Thread {
    Block* block;
    u32 tid;
    u32 number;       // in the cluster
    u32 time;         // of its own; it goes on where others may learn of what it has done
    bool apart;       // it knows more than its block's last barrier told it, in `known`
    Clock known;
    bool gave_up;     // its wait at an mbarrier took too long
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
    std::vector<Thread*> at_named[16];  // barriers of some of the threads
    Clock known;  // to all of its threads since their last barrier
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
void named_barrier(u32 number, u32 count, Site site);
void cluster_arrive(Site site);
void cluster_wait(Site site);
// Waits until all lanes of `mask` are here; then `complete` fills every lane's `exchange.out`.
void collective(u32 mask, void (*complete)(Thread* lanes, u32 mask), Site site);
// All lanes of `mask` tell each other what they have done: a collective of syncwarp's.
void share_warp(Thread* lanes, u32 mask);
// The block's array of this key, of `bytes` bytes, made at its first use.
unsigned char* shared_array(const void* key, size_t bytes, size_t align);

// ---- mbarriers: eight bytes of shared memory that count arrivals and bytes -------------------

void mbar_init(unsigned char* at, u32 arrivals, Site site);
void mbar_arrive_expect_tx(unsigned char* at, u32 bytes, Site site);
// Waits until the phase of this parity is over; false where time was over first.
bool mbar_wait(unsigned char* at, u32 parity, Site site);
// A store that completes its bytes at an mbarrier of the same block, when it arrives there.
void store_async(unsigned char* to, const void* value, u32 bytes, unsigned char* mbar, Site site);

// ---- who touches shared memory -----------------------------------------------------------------

// The shared memory of the cluster that runs.
struct SharedRange {
    uintptr_t begin;
    size_t bytes;
};
extern __thread SharedRange shared_range;

enum class Access { Read, Write, Atomic };

void touch_shared(size_t at, size_t bytes, Access access, Site site);

// Notes an access; two of shared memory that no barrier orders, one of them a write, end the launch.
inline void touch(const void* at, size_t bytes, Access access, Site site) {
    size_t offset = reinterpret_cast<uintptr_t>(at) - shared_range.begin;
    if (__builtin_expect(offset < shared_range.bytes, 0)) touch_shared(offset, bytes, access, site);
}

// An index, and where in the sources it stands.
struct Index {
    uintptr_t n;
    Site site;
    template <class I, class = std::enable_if_t<std::is_integral<I>::value>>
    Index(I i, const char* file = __builtin_FILE(), int line = __builtin_LINE())
        : n(uintptr_t(i)), site{"[]", file, line} {}
};

// An element that a kernel may write: reading it and assigning to it are noted.
template <class T>
struct Element {
    T* at;
    Site site;

    operator T() const {
        touch(at, sizeof(T), Access::Read, site);
        return *at;
    }
    const Element& operator=(T value) const {
        touch(at, sizeof(T), Access::Write, site);
        *at = value;
        return *this;
    }
    const Element& operator=(const Element& other) const { return *this = T(other); }
    const Element& operator+=(T value) const { return *this = T(*this) + value; }
    const Element& operator/=(T value) const { return *this = T(*this) / value; }
    T* operator&() const { return at; }
};

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
    auto operator[](Index i) const {
        T* to = (*this + i.n).check(1);
        if constexpr (std::is_const<T>::value) {
            touch(to, sizeof(T), Access::Read, i.site);
            return *to;
        } else {
            return Element<T>{to, i.site};
        }
    }

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
    u32 max_threads;
    void (*call)(const Kernel& kernel, const Arg* args);
    void (*function)();
    const Kernel* next;

    template <class... P>
    Kernel(const char* name, void (*f)(P...), u32 max_threads = 1024)
        : name(name),
          count(sizeof...(P)),
          max_threads(max_threads),
          function(reinterpret_cast<void (*)()>(f)) {
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
