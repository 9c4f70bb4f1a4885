// CUDA's words for a C compiler: enough of them to run a kernel on a CPU, for tests.
//
// The threads of a block are fibers of one thread, which take turns: each goes on until
// it waits for others. Blocks come one after the other, so that `__shared__` memory can
// be `static`. What one thread does not say with a barrier, another does not see in
// time: run forwards and backwards, a kernel that lacks one comes to two results.
#ifndef SHIM_H
#define SHIM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef struct { unsigned x, y, z; } Index;

#define DEVICE static inline __attribute__((unused))
#define ALIGNED __attribute__((aligned(16)))
#define ALIGNED_8 __attribute__((aligned(8)))
#define __shared__ static
#define __restrict__ restrict
// What is asked for when the kernel is started; poisoned before each block.
#define SHARED(type, name) type *name = (type *)shim_shared
// By pointer, as the driver takes it; the struct is copied.
#define KERNEL(name, Args)                                                             \
    static void name##_of(const Args a);                                               \
    void name(const void *args) { name##_of(*(const Args *)args); }                    \
    static void name##_of(const Args a)

extern Index threadIdx, blockIdx, blockDim, gridDim;
extern void *shim_shared;

// Until all threads of the block are here.
void __syncthreads(void);
// Until all lanes of the warp are here.
void __syncwarp(void);
// What the lane whose number differs in these bits has for `x`. All must ask.
u32 shim_exchange(u32 x, int source_lane);

// What each lane of the warp has, until the next barrier of the warp. All must ask.
const u32 *const *shim_share(const u32 *own);
// Copies that take place when they are waited for: started, in groups, and all groups
// but so many of the last. From nowhere: zeros.
void shim_start_copy(void *to, const void *from, size_t bytes);
void shim_copies_end(void);
void shim_wait_for_copies(int groups);

DEVICE float bits_to_float(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
DEVICE u32 float_to_bits(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
DEVICE float __shfl_xor_sync(u32 mask, float x, int bits) {
    (void)mask;
    int lane = (int)(threadIdx.x % 32);
    return bits_to_float(shim_exchange(float_to_bits(x), lane ^ bits));
}
DEVICE float __shfl_sync(u32 mask, float x, int lane) {
    (void)mask;
    return bits_to_float(shim_exchange(float_to_bits(x), lane));
}
// Fast and less exact there. Not functions: the C library declares one of them.
#define __expf(x) expf(x)
#define __fdividef(x, y) ((x) / (y))
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }

#endif
