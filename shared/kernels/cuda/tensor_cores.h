// Products of small matrices by a warp, on tensor cores; of bf16, summed in float.
//
// A matrix is spread over the lanes of a warp as PTX has it (section "Matrix fragments
// for mma.m16n8k16"): of lane l, with g = l / 4 and t = l % 4,
//
//     a[0], a[1], a[2], a[3]: rows g, g + 8, g, g + 8 of A [16, 16], two neighbouring
//                             columns each, from 2t, 2t, 2t + 8 and 2t + 8 on
//     b[0], b[1]:             column g of B [16, 8], rows from 2t and 2t + 8 on
//     d[0..2], d[2..4]:       rows g and g + 8 of D [16, 8], columns from 2t on
//
// Two bf16 share a register, the first in its lower half.
#ifndef TENSOR_CORES_H
#define TENSOR_CORES_H
#include "common.h"

#ifdef __CUDACC__
// D += A · B.
DEVICE void mma(float d[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four matrices [8, 8] from shared memory: lane l gives the address of row l % 8 of
// matrix l / 8, 16 bytes that begin at a multiple of 16, and gets of each matrix row
// l / 4, columns 2 (l % 4) and the next.
DEVICE void load_matrices(u32 r[4], const void *row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// The same of their transposes.
DEVICE void load_transposed(u32 r[4], const void *row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// Starts to copy 16 bytes to shared memory; zeros, if not `there`.
DEVICE void copy_16(void *to, const void *from, int there) {
    u32 at = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
}
// Ends a group of copies.
DEVICE void copies_end(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until all but the last group (or all) of this thread's copies are there; other
// threads' are there after a barrier.
DEVICE void wait_for_all_but_one(void) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
}
DEVICE void wait_for_all(void) { asm volatile("cp.async.wait_group 0;" ::: "memory"); }
#else

DEVICE float low_half(u32 two) { return bits_to_float(two << 16); }
DEVICE float high_half(u32 two) { return bits_to_float(two & 0xffff0000u); }

DEVICE void mma(float d[4], const u32 a[4], const u32 b[2]) {
    u32 own[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const u32 *const *all = shim_share(own);
    int lane = (int)(threadIdx.x % WARP), g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
        int upper = i / 2, column = 2 * t + i % 2;
        for (int k = 0; k < 16; k += 2) {
            u32 x = all[4 * g + k % 8 / 2][upper + k / 8 * 2];
            u32 y = all[4 * column + k % 8 / 2][4 + k / 8];
            d[i] += low_half(x) * low_half(y) + high_half(x) * high_half(y);
        }
    }
    __syncwarp();
}
DEVICE void shim_matrices(u32 r[4], const void *row, int transposed) {
    u32 own[2];
    u64 at = (u64)row;
    memcpy(own, &at, 8);
    const u32 *const *all = shim_share(own);
    int lane = (int)(threadIdx.x % WARP), i = lane / 4, j = lane % 4 * 2;
    for (int matrix = 0; matrix < 4; matrix++) {
        u32 two[2];
        for (int k = 0; k < 2; k++) {
            int from = transposed ? j + k : i, column = transposed ? i : j + k;
            memcpy(&at, all[8 * matrix + from], 8);
            two[k] = ((const u16 *)at)[column];
        }
        r[matrix] = two[0] | two[1] << 16;
    }
    __syncwarp();
}
DEVICE void load_matrices(u32 r[4], const void *row) { shim_matrices(r, row, 0); }
DEVICE void load_transposed(u32 r[4], const void *row) { shim_matrices(r, row, 1); }
// What was started is there when it is waited for, and no earlier.
DEVICE void copy_16(void *to, const void *from, int there) {
    shim_start_copy(to, there ? from : 0, 16);
}
DEVICE void copies_end(void) { shim_copies_end(); }
DEVICE void wait_for_all_but_one(void) { shim_wait_for_copies(1); }
DEVICE void wait_for_all(void) { shim_wait_for_copies(0); }
#endif

// Two neighbours in one register.
DEVICE u32 pair(float low, float high) {
#ifdef __CUDACC__
    u32 two; // In one instruction.
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(high), "f"(low));
    return two;
#else
    return (u32)float_to_bf16(low).bits | (u32)float_to_bf16(high).bits << 16;
#endif
}

#endif
