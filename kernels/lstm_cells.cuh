// What a thread computes for its units of a tile, forwards and backwards, from the accumulators of a product by wgmma.
//
// Of 8 units m, a thread holds two neighbouring ones, e = 0 and 1, of two windows, half = 0 and 1. Arrays in the order of
// the threads, such as cells, have the numbers of 16 units and two windows side by side: [units / 16][128 threads][8].
//
// EIGHTS: groups of 8 units of a thread.

#define MASK_BYTES (8 * UNITS)  // dropout masks of a tile and row

#if defined(__CUDA_ARCH__)

// A sigmoid's value from the tangent of half its argument, which the halved weights give (lstm_common.cuh).
INLINE float sigmoid_of(float tangent_of_half) { return fmaf(0.5f, tangent_of_half, 0.5f); }

// Two values, rounded to float16, of which 11 bits are left of a gate: a in the lower half; and back.
INLINE uint32 pack_half(float a, float b) {
    uint32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(b), "f"(a));
    return both;
}
INLINE void unpack_half(uint32 both, float& a, float& b) {
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %2;\ncvt.f32.f16 %0, low;\ncvt.f32.f16 %1, high;\n}" : "=f"(a), "=f"(b) : "r"(both));
}

// The bit of unit u and window w of 8 x 8: 4 u + w / 2 of word w % 2.
INLINE uint32 own_mask(const uint2 words, const int lane) {
    return (lane / 4 % 2 ? words.y : words.x) >> (8 * (lane % 4) + lane / 8);
}

// The activations of a thread's gates: new cells and outputs.
// DROP: whether the layer drops outputs
// bias: of its gates, in shared memory (load_bias); h_at, dropped_at: its row of a tile for store_matrices
// cells: from its place on; words(half, m): the masks of 8 x 8; keep_gates(m, half, tangents): is told the gates, as for sigmoid_of
template <bool DROP, class Words, class KeepGates>
INLINE void activate(const float (&gates)[16 * EIGHTS], float (&c)[4 * EIGHTS], const uint32 bias, const uint32 h_at,
                     const uint32 row, const int eighth, bf16* cells, const uint32 dropped_at, const Words words,
                     const float keep, const int lane, const KeepGates keep_gates) {
    const int matrix = lane / 8;
    uint32 h[2][2], packed[2][2];  // [units' group][row]
    uint32 dropped[2][2];
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
            h[m % 2][half] = pack(out[0], out[1]);
            packed[m % 2][half] = pack(c[4 * m + 2 * half], c[4 * m + 2 * half + 1]);
            if (DROP) {
                const uint32 bits = own_mask(words(half, m), lane);
                dropped[m % 2][half] = pack(bits & 1 ? out[0] * keep : 0.0f, bits & 16 ? out[1] * keep : 0.0f);
            }
        }
        if (m % 2) {
            const uint32 at = ((eighth + m - 1 + matrix / 2) ^ row % 8) * 16;
            store_matrices(h_at + at, h[0][0], h[0][1], h[1][0], h[1][1]);
            if (DROP) store_matrices(dropped_at + at, dropped[0][0], dropped[0][1], dropped[1][0], dropped[1][1]);
            *reinterpret_cast<uint4*>(cells + m / 2 * 128 * 8) =
                make_uint4(packed[0][0], packed[0][1], packed[1][0], packed[1][1]);
        }
    }
}

// dz of two units, one beside the other, from their gates as for sigmoid_of; before: the cells of the row before.
INLINE void differentiate(const float (&tangents)[4][2], const uint32 before, const float (&dh)[2], float* dc, uint32 (&dz)[4]) {
    float found[4][2];
    UNROLL for (int e = 0; e < 2; ++e) {
        const float c0 = e ? upper(before) : lower(before);
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
    UNROLL for (int gate = 0; gate < 4; ++gate) dz[gate] = pack(found[gate][0], found[gate][1]);
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
// Two groups of 8 units of this thread's windows, rounded.
INLINE uint4 pack_units(const float* first) {
    return make_uint4(pack(first[0], first[1]), pack(first[2], first[3]), pack(first[4], first[5]),
                      pack(first[6], first[7]));
}
#endif
