// Fibers: call stacks that one operating-system thread switches between.
//
// x86-64 with ELF has a hand-written switch of about ten instructions; every other processor
// uses ucontext, which is slower (a system call a switch) and does the same.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && defined(__ELF__) && !defined(RNNX_EMU_UCONTEXT)
#define RNNX_EMU_SWITCH_X86 1
#else
#include <ucontext.h>
#endif

namespace emu {

// Room for a kernel's frame and for formatting an error message.
constexpr size_t STACK_BYTES = 64 * 1024;

#ifdef RNNX_EMU_SWITCH_X86
// A suspended call stack; its registers lie on it.
struct Context {
    void* stack_pointer = nullptr;
};

// Saves the callee-saved registers on this stack, then takes up `to` where it left off.
extern "C" void rnnx_emu_switch(void** from, void* to);
#else
struct Context {
    ucontext_t context;
};
#endif

inline void switch_to(Context& from, Context& to) {
#ifdef RNNX_EMU_SWITCH_X86
    rnnx_emu_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
}

// A stack of its own, which `start` makes ready to run `entry` from its beginning.
struct Fiber {
    Context context;
    char* stack = static_cast<char*>(std::malloc(STACK_BYTES));

    Fiber() {
        if (!stack) std::abort();  // no memory for 64 KiB: nothing can be reported either
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber() { std::free(stack); }

    // `entry` never returns; whatever this fiber was suspended in is abandoned.
    void start(void (*entry)()) {
#ifdef RNNX_EMU_SWITCH_X86
        // The layout that rnnx_emu_switch pops: control words, six registers, return address.
        auto top = (reinterpret_cast<uintptr_t>(stack) + STACK_BYTES) & ~uintptr_t(15);
        // At a function's entry the stack pointer is 8 below a multiple of 16.
        auto words = reinterpret_cast<uint64_t*>(top) - 9;
        std::memset(words, 0, 9 * sizeof(uint64_t));
        uint32_t sse = 0;
        uint16_t x87 = 0;
        __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(sse), "=m"(x87));
        words[0] = sse | uint64_t(x87) << 32;
        words[7] = reinterpret_cast<uint64_t>(entry);
        context.stack_pointer = words;
#else
        getcontext(&context.context);
        context.context.uc_stack.ss_sp = stack;
        context.context.uc_stack.ss_size = STACK_BYTES;
        context.context.uc_link = nullptr;
        makecontext(&context.context, entry, 0);
#endif
    }
};

}  // namespace emu
