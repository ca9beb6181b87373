// Which windows a batch has, and how their values are scaled: what every kernel that cuts windows shares, so that all
// give the batches of the host to the bit.
//
// The order is that of hpc_lstm/preprocess/sampler.py, number for number: a Feistel network (Philox-like rounds on a
// counter; Salmon et al. 2011) on just enough bits, with cycle walking. It needs no memory for a shuffled index.

typedef long long int64;
typedef unsigned long long uint64;
typedef unsigned uint32;
#define ROUNDS 16

__device__ __forceinline__ uint32 mix(uint32 value, uint32 key) {
    value ^= key;
    value ^= value >> 16;
    value *= 0x7FEB352Du;
    value ^= value >> 15;
    value *= 0x846CA68Bu;
    value ^= value >> 16;
    return value;
}

// The number at `position` of the random order of [0, length) that 16 round keys define.
__device__ int64 permuted(int64 position, int64 length, const uint32* __restrict__ keys) {
    const int bits = length > 1 ? 64 - __clzll(length - 1) : 0;
    const int low_bits = (bits + 1) / 2;
    const uint32 low_mask = uint32((1ULL << low_bits) - 1), high_mask = uint32((1ULL << (bits - low_bits)) - 1);
    // A bijection on [0, 2^bits), applied until the value falls into [0, length): a bijection there, too.
    uint64 value = uint64(position);
    do {
        uint32 low = uint32(value) & low_mask, high = uint32(value >> low_bits);
#pragma unroll
        for (int round = 0; round < ROUNDS; round += 2) {
            high ^= mix(low, keys[round]) & high_mask;
            low ^= mix(high, keys[round + 1]) & low_mask;
        }
        value = (uint64(high) << low_bits) | low;
    } while (value >= uint64(length));
    return int64(value);
}

// The number at a position of an endless order: pass position / length, with round keys keys[pass].
__device__ __forceinline__ int64 ordered(int64 position, int64 length, const uint32* __restrict__ keys) {
    return permuted(position % length, length, keys + position / length * ROUNDS);
}

// Scales as the host does: two roundings in double, one to float32; no fused multiply-add.
template <typename Value> __device__ __forceinline__ float scaled(Value value, double scale, double shift) {
    return __double2float_rn(__dadd_rn(__dmul_rn(double(value), scale), shift));
}
