// What all kernels share. They are written in the part of CUDA that is C, so that NVRTC
// compiles them for a GPU, and any C compiler with ../host/shim.h for a test.
//
// T is the type of the model's numbers: bf16 if BF16 is defined, or else float. Sums
// are in float. A kernel takes one argument, a struct, which src/ has too.
#ifndef COMMON_H
#define COMMON_H

#ifdef __CUDACC__
#define KERNEL(name, Args) extern "C" __global__ void name(const Args a)
#define DEVICE static __device__ __forceinline__
#define SHARED(type, name) extern __shared__ type name[]
#define ALIGNED __align__(16)
#define ALIGNED_8 __align__(8)
#define INFINITY __int_as_float(0x7f800000)
// Loops over arrays that must end up in registers.
#define UNROLL _Pragma("unroll")
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 float_to_bits(float x) { return __float_as_uint(x); }
#else
#include "shim.h"
#define UNROLL
#endif

#define WARP 32

// A 16-bit float with the exponent of a 32-bit one: its upper half.
typedef struct { u16 bits; } bf16;

DEVICE float bf16_to_float(bf16 x) { return bits_to_float((u32)x.bits << 16); }
// To the nearest, ties to even; what is not a number stays so.
DEVICE bf16 float_to_bf16(float x) {
    bf16 y;
#ifdef __CUDACC__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    u32 bits = float_to_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        y.bits = (u16)(bits >> 16 | 0x40);
    else
        y.bits = (u16)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
#endif
    return y;
}

#ifdef BF16
typedef bf16 T;
DEVICE float widen(T x) { return bf16_to_float(x); }
DEVICE T narrow(float x) { return float_to_bf16(x); }
#else
typedef float T;
DEVICE float widen(T x) { return x; }
DEVICE T narrow(float x) { return x; }
#endif

// As many elements as one load from memory takes.
#define PACK (16 / (int)sizeof(T))
typedef struct ALIGNED { T at[PACK]; } Pack;

// Four elements, of floats and of T. Where arrays of both are walked through together,
// each lane takes four: neighbouring lanes then touch neighbouring bytes of either.
typedef struct ALIGNED { float at[4]; } Floats;
#ifdef BF16
typedef struct ALIGNED_8 { T at[4]; } Four;
#else
typedef Floats Four;
#endif

// Whether `p` is where a pack may be.
DEVICE int packs(const void *p) { return ((u64)p & 15) == 0; }

// The sum of `x` over the lanes of a warp, the same on all of them. All must take part.
DEVICE float warp_sum(float x) {
    for (int other = WARP / 2; other > 0; other /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}
// The largest `x`.
DEVICE float warp_max(float x) {
    for (int other = WARP / 2; other > 0; other /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

// The sum over a block, the same on all of its threads; `scratch` has room for a float
// of each warp, and is free again when this returns. All must take part.
DEVICE float block_sum(float x, float *scratch) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    x = warp_sum(lane < warps ? scratch[lane] : 0.0f);
    __syncthreads();
    return x;
}
DEVICE float block_max(float x, float *scratch) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    x = warp_max(lane < warps ? scratch[lane] : -INFINITY);
    __syncthreads();
    return x;
}
// The sum in double, on the first thread of a block of 2^n; `scratch` has room for a
// double of each. All must take part.
DEVICE double block_sum_wide(double x, double *scratch) {
    scratch[threadIdx.x] = x;
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    }
    return scratch[threadIdx.x];
}

#endif
