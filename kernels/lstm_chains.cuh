// What lstm_forward.cu and lstm_backward.cu share: a launch of several layers, each a chain of rows.
//
// Blocks of all layers for the same windows are a cluster. SPLIT blocks share a layer's units; with PROJECTED = 1 as
// many lie between two layers and multiply the weights of what the one sends the other:
//
//     place in the cluster    0          1            2
//     PROJECTED = 0           layer 1    layer 2      layer 3
//     PROJECTED = 1           layer 1    products     layer 2
//
// A row that one layer sends to the next goes into one of STAGES stages of the receiver's shared memory. Two barriers
// keep them apart: `loaded`, at the receiver, counts the bytes that came; `room`, at the sender, the receivers that are
// ready for the row.

#include "lstm_common.cuh"

#define STEP (1 + PROJECTED)            // from the place of a layer to that of the next
#ifndef CLUSTER                         // 1 in kernels whose blocks are no cluster, lstm_exchange_*.cu
#define CLUSTER ((STEP * (LAYERS - 1) + 1) * SPLIT)  // blocks
#endif
#define OWN (UNITS / SPLIT)             // units of this block
#define GROUPS (OWN / 8)
#define WINDOWS (8 * TILES)             // of this block
#ifndef HELD
#define HELD WINDOWS                    // windows of an array in shared memory that is multiplied
#endif
#define HAS_BELOW (LAYERS > 1)          // some layer has one below it in the launch

// An A tile of weights: 16 rows, 16 columns, in a thread's registers.
struct Tile { uint32 at[PARTS][4]; };

// From the thread's first number on, row lane / 4 and column 2 * (lane % 4) of the tile, in a matrix of `columns` columns.
INLINE void load_registers(uint32 (&registers)[4], const bf16* at, const int columns) {
    UNROLL for (int r = 0; r < 4; ++r)
        registers[r] = *reinterpret_cast<const uint32*>(at + r % 2 * 8 * columns + r / 2 * 8);
}

// The registers of a warp's threads in shared memory.
typedef uint4 StoredTile[PARTS][32];
INLINE void store_tile(StoredTile& to, const int lane, const Tile& tile) {
    UNROLL for (int part = 0; part < PARTS; ++part) {
        const uint32(&r)[4] = tile.at[part];
        to[part][lane] = make_uint4(r[0], r[1], r[2], r[3]);
    }
}
INLINE Tile stored_tile(const StoredTile& from, const int lane) {
    Tile tile;
    UNROLL for (int part = 0; part < PARTS; ++part) {
        const uint4 r = from[part][lane];
        uint32(&to)[4] = tile.at[part];
        to[0] = r.x, to[1] = r.y, to[2] = r.z, to[3] = r.w;
    }
    return tile;
}

// Values of 8 windows for steps k and k + 1 of a product, 16 of the inner dimension each, from an array
// [PARTS][HELD][PITCH] of which `at` is this lane's place. Of the last step alone, if their number is odd.
template <int STEPS, int PITCH>
INLINE void load_two_steps(uint32 (&values)[2][PARTS][2], const uint32 at, const int k) {
    UNROLL for (int part = 0; part < PARTS; ++part)
        load_matrices(at + part * HELD * PITCH * 2 + k * 32 - (k + 1 < STEPS ? 0 : threadIdx.x % 32 / 16 * 32),
                      values[0][part][0], values[0][part][1], values[1][part][0], values[1][part][1]);
}

#if DROPS
typedef uint2 Masks[TILES][OWN / 8];  // of a row: for each 8 windows and 8 units
#endif

#if CLUSTER > 1
INLINE void send_to(uint32 peer, uint4 value, const void* to, uint32 barrier) {
    send(peer_address(shared_address(to), peer), value, peer_address(barrier, peer));
}
INLINE uint4 bits_of(float a, float b, float c, float d) {
    return make_uint4(__float_as_uint(a), __float_as_uint(b), __float_as_uint(c), __float_as_uint(d));
}
#endif
#if LAYERS > 1
// A stage for a row that other blocks send, `bytes` in all; from `first_sender` on, they are told that there is room.
INLINE void receive_row(const uint64& loaded, const uint64& room, const int bytes, const int first_sender,
                        const int senders) {
    expect_arrivals(shared_address(&loaded), bytes);
    for (int sender = 0; sender < senders; ++sender)
        arrive_at_peer(peer_address(shared_address(&room), first_sender + sender));
}
#endif
