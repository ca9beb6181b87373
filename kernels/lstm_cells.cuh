// The element-wise part of a row, forwards and backwards: what a thread computes from its accumulators of a wgmma product.
//
// Of the m-th group of 8 units a thread has two neighbouring units, e = 0 and 1, for two windows, half = 0 and 1: four
// numbers. Arrays in the order of the threads, such as cells, keep them side by side, so that a thread moves 16 bytes
// at once: in float32 one group, [units / 8][128 threads][4]; in bfloat16 two, [units / 16][128 threads][8].
//
// EIGHTS: groups of 8 units of a thread.

#define MASK_BYTES (8 * UNITS)  // dropout masks of a tile and row
#if PARTS == 1
typedef bf16 Cell;
#else
typedef float Cell;
#endif
#define TOGETHER (2 / PARTS)            // groups of 8 units that 16 bytes have the numbers of
#define CELLS_OF_THREAD (4 * TOGETHER)  // which are so many

#if defined(__CUDA_ARCH__)

// A sigmoid's value from the tangent of half its argument, which the halved weights give (lstm_common.cuh).
INLINE float sigmoid_of(float tangent_of_half) { return fmaf(0.5f, tangent_of_half, 0.5f); }

// Two tangents of gates in 16 bits each, a in the lower half; and back.
#if PARTS == 1
// In float16, of which 11 bits are left.
INLINE uint32 pack_tangents(float a, float b) {
    uint32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(b), "f"(a));
    return both;
}
INLINE void unpack_tangents(uint32 both, float& a, float& b) {
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %2;\ncvt.f32.f16 %0, low;\ncvt.f32.f16 %1, high;\n}" : "=f"(a), "=f"(b) : "r"(both));
}
#else
// As whole numbers of 1 / 32767, of which -1, 0 and 1 are exact and all others within 1.6e-5. Added to 2^23 + 2^15 they
// are the last bits of a float32.
INLINE uint32 pack_tangents(float a, float b) {
    const float scale = 32767.0f, middle = 8421376.0f;
    return __byte_perm(__float_as_uint(fmaf(a, scale, middle)), __float_as_uint(fmaf(b, scale, middle)), 0x5410);
}
INLINE void unpack_tangents(uint32 both, float& a, float& b) {
    const float middle = 8421376.0f, step = 1.0f / 32767.0f;
    a = (__uint_as_float(__byte_perm(both, 0x4b000000u, 0x7610)) - middle) * step;
    b = (__uint_as_float(__byte_perm(both, 0x4b000000u, 0x7632)) - middle) * step;
}
#endif

// The bit of unit u and window w of 8 x 8: 4 u + w / 2 of word w % 2.
INLINE uint32 own_mask(const uint2 words, const int lane) {
    return (lane / 4 % 2 ? words.y : words.x) >> (8 * (lane % 4) + lane / 8);
}

// Where outputs after dropout go. In bfloat16 through shared memory, the thread's row of a tile for store_matrices;
// else, for want of room, straight to global memory: a tile's planes from the thread's first window and unit on.
#if PARTS == 1
typedef uint32 Dropped;
#else
struct Dropped {
    bf16* at;
    int64 plane;
};
#endif

// The activations of a thread's gates: new cells and outputs.
// DROP: whether the layer drops outputs
// bias: of its gates, in shared memory (load_bias)
// h_at: its row of a tile for store_matrices, the second part TILES tiles on
// cells: from its place on
// own_masks(half, m): of the masks of 8 x 8, own_mask
// keep_gates(m, half, tangents): is told the gates, as for sigmoid_of
template <bool DROP, class OwnMasks, class KeepGates>
INLINE void activate(const float (&gates)[16 * EIGHTS], float (&c)[4 * EIGHTS], const uint32 bias, const uint32 h_at,
                     const uint32 row, const int eighth, Cell* cells, const Dropped dropped_at, const OwnMasks own_masks,
                     const float keep, const int lane, const KeepGates keep_gates) {
    const int matrix = lane / 8;
    uint32 h[2][2][PARTS], packed[2][2];  // [units' group][row]
    uint32 dropped[2][2][PARTS];
    UNROLL for (int m = 0; m < EIGHTS; ++m) {
        const uint4 first = load_shared(bias + m * 128), last = load_shared(bias + m * 128 + 16);
        const float b[4][2] = {{__uint_as_float(first.x), __uint_as_float(first.y)},
                               {__uint_as_float(first.z), __uint_as_float(first.w)},
                               {__uint_as_float(last.x), __uint_as_float(last.y)},
                               {__uint_as_float(last.z), __uint_as_float(last.w)}};
        UNROLL for (int half = 0; half < 2; ++half) {
            float out[2], tangents[4][2];
            UNROLL for (int e = 0; e < 2; ++e) {
                UNROLL for (int gate = 0; gate < 4; ++gate)
                    tangents[gate][e] = tangent(gates[16 * m + 4 * gate + 2 * half + e] + b[gate][e]);
                float& cell = c[4 * m + 2 * half + e];
                const float i = sigmoid_of(tangents[0][e]), f = sigmoid_of(tangents[1][e]), o = sigmoid_of(tangents[3][e]);
                cell = fmaf(f, cell, i * tangents[2][e]);
                out[e] = o * tangent(cell);
            }
            keep_gates(m, half, tangents);
            split(out[0], out[1], h[m % 2][half]);
            if (PARTS == 1) packed[m % 2][half] = pack(c[4 * m + 2 * half], c[4 * m + 2 * half + 1]);
            if (DROP) {
                const uint32 bits = own_masks(half, m);
                split(bits & 1 ? out[0] * keep : 0.0f, bits & 16 ? out[1] * keep : 0.0f, dropped[m % 2][half]);
#if PARTS == 2
                UNROLL for (int part = 0; part < PARTS; ++part)
                    *reinterpret_cast<uint32*>(dropped_at.at + part * dropped_at.plane + half * 8 * TILE +
                                               ((eighth + m) ^ lane / 4) * 8) = dropped[m % 2][half][part];
#endif
            }
        }
#if PARTS == 2
        *reinterpret_cast<float4*>(cells + m * 128 * CELLS_OF_THREAD) = make_float4(c[4 * m], c[4 * m + 1], c[4 * m + 2], c[4 * m + 3]);
#endif
        if (m % 2) {
            const uint32 at = ((eighth + m - 1 + matrix / 2) ^ row % 8) * 16;
            UNROLL for (int part = 0; part < PARTS; ++part)
                store_matrices(h_at + part * (TILES * TILE_BYTES) + at, h[0][0][part], h[0][1][part], h[1][0][part], h[1][1][part]);
#if PARTS == 1
            if (DROP)
                store_matrices(dropped_at + at, dropped[0][0][0], dropped[0][1][0], dropped[1][0][0], dropped[1][1][0]);
            *reinterpret_cast<uint4*>(cells + m / 2 * 128 * CELLS_OF_THREAD) =
                make_uint4(packed[0][0], packed[0][1], packed[1][0], packed[1][1]);
#endif
        }
    }
}

// dz of two units, one beside the other, from their gates as for sigmoid_of; before: the cells of the row before.
INLINE void differentiate(const float (&tangents)[4][2], const float (&before)[2], const float (&dh)[2], float* dc,
                          uint32 (&dz)[4][PARTS]) {
    float found[4][2];
    UNROLL for (int e = 0; e < 2; ++e) {
        const float c0 = before[e];
        const float ti = tangents[0][e], tf = tangents[1][e], n = tangents[2][e], to = tangents[3][e];
        const float i = sigmoid_of(ti), f = sigmoid_of(tf), o = sigmoid_of(to);
        const float t = tangent(fmaf(f, c0, i * n));
        const float change = fmaf(dh[e] * o, fmaf(-t, t, 1.0f), dc[e]), half = 0.5f * change;
        found[0][e] = half * n * fmaf(-ti, ti, 1.0f);
        found[1][e] = half * c0 * fmaf(-tf, tf, 1.0f);
        found[2][e] = change * i * fmaf(-n, n, 1.0f);
        found[3][e] = 0.5f * dh[e] * t * fmaf(-to, to, 1.0f);
        dc[e] = change * f;
    }
    UNROLL for (int gate = 0; gate < 4; ++gate) split(found[gate][0], found[gate][1], dz[gate]);
}

INLINE uint2 load_two(const bf16* at) { return *reinterpret_cast<const uint2*>(at); }
// Two neighbouring units of two rows.
template <bool FIRST> INLINE void add_units(float (&sums)[2][2], uint2 v) {
    UNROLL for (int half = 0; half < 2; ++half) {
        const uint32 both = half ? v.y : v.x;
        sums[half][0] = FIRST ? lower(both) : sums[half][0] + lower(both);
        sums[half][1] = FIRST ? upper(both) : sums[half][1] + upper(both);
    }
}
// Of 16 bytes of an array like cells, the numbers of group m of 8 units: [row][unit].
INLINE void units_of(const uint4& v, int m, float (&to)[2][2]) {
#if PARTS == 1
    add_units<true>(to, m % 2 ? make_uint2(v.z, v.w) : make_uint2(v.x, v.y));
#else
    to[0][0] = __uint_as_float(v.x), to[0][1] = __uint_as_float(v.y);
    to[1][0] = __uint_as_float(v.z), to[1][1] = __uint_as_float(v.w);
#endif
}
// Two groups of 8 units of this thread's windows, rounded.
INLINE uint4 pack_units(const float* first) {
    return make_uint4(pack(first[0], first[1]), pack(first[2], first[3]), pack(first[4], first[5]),
                      pack(first[6], first[7]));
}
// 16 bytes of an array like cells.
INLINE uint4 cells_of(const float* first) {
#if PARTS == 1
    return pack_units(first);
#else
    return make_uint4(__float_as_uint(first[0]), __float_as_uint(first[1]), __float_as_uint(first[2]), __float_as_uint(first[3]));
#endif
}
#endif
