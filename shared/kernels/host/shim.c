// Runs the blocks of a kernel, one after the other, each thread as a fiber.
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE // It would take a jump from stack to stack for a mistake.
#include "shim.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

enum State { RUNS, AT_BLOCK, AT_WARP, ENDED };
enum { STACK = 1 << 16, THREADS = 1024, LANES = 32 };

Index threadIdx, blockIdx, blockDim, gridDim;
void *shim_shared;

// A fiber starts as a context. From then on it is jumped to, and from: that asks
// nothing of the system, and there are millions of turns.
static ucontext_t fibers[THREADS];
static jmp_buf scheduler, turns[THREADS];
static int has_begun[THREADS];
static enum State states[THREADS];
static u32 offered[THREADS];
static const u32 *shared_by[THREADS];
// Of each thread, copies that were started, and of which group.
enum { COPIES = 256 };
static struct {
    struct { void *to; const void *from; size_t bytes; int group; } copies[COPIES];
    int count, group;
} started[THREADS];
static char *stacks;
static unsigned current;
static void (*body)(const void *);
static const void *arguments;

static void yield(enum State state) {
    unsigned self = current;
    states[self] = state;
    if (!_setjmp(turns[self])) _longjmp(scheduler, 1);
}
void __syncthreads(void) { yield(AT_BLOCK); }
void __syncwarp(void) { yield(AT_WARP); }
u32 shim_exchange(u32 x, int source_lane) {
    unsigned self = current;
    offered[self] = x;
    __syncwarp();
    u32 got = offered[self / LANES * LANES + (unsigned)source_lane % LANES];
    __syncwarp();
    return got;
}
const u32 *const *shim_share(const u32 *own) {
    unsigned self = current;
    shared_by[self] = own;
    __syncwarp();
    return shared_by + self / LANES * LANES;
}
void shim_start_copy(void *to, const void *from, size_t bytes) {
    int n = started[current].count++;
    if (n >= COPIES) {
        fprintf(stderr, "more than %d copies under way\n", COPIES);
        abort();
    }
    started[current].copies[n].to = to;
    started[current].copies[n].from = from;
    started[current].copies[n].bytes = bytes;
    started[current].copies[n].group = started[current].group;
}
void shim_copies_end(void) { started[current].group++; }
void shim_wait_for_copies(int groups) {
    int count = started[current].count, left = 0;
    for (int i = 0; i < count; i++) {
        if (started[current].copies[i].group >= started[current].group - groups) {
            started[current].copies[left++] = started[current].copies[i];
            continue;
        }
        void *to = started[current].copies[i].to;
        const void *from = started[current].copies[i].from;
        size_t bytes = started[current].copies[i].bytes;
        if (from) memcpy(to, from, bytes);
        else memset(to, 0, bytes);
    }
    started[current].count = left;
}
static void fiber(void) {
    body(arguments);
    states[current] = ENDED;
    _longjmp(scheduler, 1);
}
// Until the current fiber yields or ends.
static __attribute__((noinline)) void take_turn(void) {
    if (_setjmp(scheduler)) return;
    if (has_begun[current]) _longjmp(turns[current], 1);
    has_begun[current] = 1;
    setcontext(&fibers[current]);
}

// Whether all of these are in that state.
static int all(unsigned from, unsigned to, enum State state) {
    for (unsigned i = from; i < to; i++)
        if (states[i] != state) return 0;
    return 1;
}
static void release(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++) states[i] = RUNS;
}

static int run_block(unsigned threads, int backwards) {
    for (unsigned i = 0; i < threads; i++) {
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks + (size_t)i * STACK;
        fibers[i].uc_stack.ss_size = STACK;
        fibers[i].uc_link = 0; // It ends with a jump.
        makecontext(&fibers[i], fiber, 0);
        states[i] = RUNS;
        has_begun[i] = 0;
        started[i].count = started[i].group = 0;
    }
    for (;;) {
        for (unsigned i = 0; i < threads; i++) {
            current = backwards ? threads - 1 - i : i;
            if (states[current] != RUNS) continue;
            threadIdx = (Index){current, 0, 0};
            take_turn();
        }
        if (all(0, threads, ENDED)) return 0;
        int moved = 0;
        for (unsigned from = 0; from < threads; from += LANES) {
            unsigned to = from + LANES < threads ? from + LANES : threads;
            if (all(from, to, AT_WARP)) release(from, to), moved = 1;
        }
        if (all(0, threads, AT_BLOCK)) release(0, threads), moved = 1;
        if (!moved) return 1; // Some wait for others that never come.
    }
}

// Runs `kernel`; `shared` bytes of shared memory. Returns 0, or 1 if threads wait at
// barriers that others do not reach, 2 if there is no memory, 3 if the block is wrong.
int shim_run(void (*kernel)(const void *), const void *args, const unsigned grid[3],
             unsigned threads, size_t shared, int backwards) {
    if (threads == 0 || threads > THREADS || threads % LANES) return 3;
    body = kernel;
    arguments = args;
    blockDim = (Index){threads, 1, 1};
    gridDim = (Index){grid[0], grid[1], grid[2]};
    stacks = malloc((size_t)threads * STACK);
    shim_shared = aligned_alloc(64, (shared + 127) / 64 * 64);
    int status = stacks && shim_shared ? 0 : 2;
    for (unsigned z = 0; z < grid[2] && !status; z++)
        for (unsigned y = 0; y < grid[1] && !status; y++)
            for (unsigned x = 0; x < grid[0] && !status; x++) {
                blockIdx = (Index){x, y, z};
                memset(shim_shared, 0xff, shared);
                status = run_block(threads, backwards);
            }
    free(stacks);
    free(shim_shared);
    return status;
}
