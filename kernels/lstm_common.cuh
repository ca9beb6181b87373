// What the kernels of the LSTM share: numbers in bfloat16, products of small matrices, copies, barriers.
//
// PARTS bfloat16 numbers hold one value: 1 for bfloat16 arithmetic; 2 for float32, as the value rounded and what the
// rounding lost, together 16 bits of the mantissa. A product of two such values is the sum of three products of
// bfloat16 numbers, exact in float32; the fourth, lost times lost, is below the last bit.
//
// Arrays of such values lie in PARTS planes, the second `plane` numbers behind the first.

typedef unsigned short bf16;
typedef unsigned int uint32;
typedef unsigned long long uint64;
typedef long long int64;

#ifndef PARTS
#define PARTS 1
#endif
#define INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")

// -- numbers ----------------------------------------------------------------------------------------------------------

// Two values, rounded to bfloat16: a in the lower half.
INLINE uint32 pack(float a, float b) {
    uint32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(b), "f"(a));
    return both;
}
INLINE float lower(uint32 both) { return __uint_as_float(both << 16); }
INLINE float upper(uint32 both) { return __uint_as_float(both & 0xffff0000u); }
INLINE float widen(bf16 value) { return __uint_as_float(uint32(value) << 16); }

// Two values in their parts.
INLINE void split(float a, float b, uint32 (&parts)[PARTS]) {
    parts[0] = pack(a, b);
#if PARTS == 2
    parts[1] = pack(a - lower(parts[0]), b - upper(parts[0]));
#endif
}

// The weights of gates that are sigmoids are halved when they are packed, which is exact: sigmoid(z) = (1 + tanh(z / 2)) / 2
// is given z / 2.
#define HALVED_GATE(gate) ((gate) != 2)
#if PARTS == 1
// One instruction, with an error of 2^-11, which is below a bfloat16's.
INLINE float tangent(float x) {
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
INLINE float sigmoid_of_half(float x) { return fmaf(0.5f, tangent(x), 0.5f); }
#else
// With an absolute error of 2e-7. The exponential of 89 and more is infinity, and 1 / infinity 0; NaN stays NaN.
INLINE float sigmoid_of_half(float x) {
    float e;
    asm("ex2.approx.f32 %0, %1;" : "=f"(e) : "f"(-2.885390082f * x));  // e^(-2x)
    return __fdividef(1.0f, 1.0f + e);
}
INLINE float tangent(float x) { return fmaf(2.0f, sigmoid_of_half(x), -1.0f); }
#endif

// A value from its parts in two words, the lower or the upper number of each.
INLINE float join_lower(const uint32 (&parts)[PARTS]) {
    return PARTS == 1 ? lower(parts[0]) : lower(parts[0]) + lower(parts[PARTS - 1]);
}
INLINE float join_upper(const uint32 (&parts)[PARTS]) {
    return PARTS == 1 ? upper(parts[0]) : upper(parts[0]) + upper(parts[PARTS - 1]);
}

// -- products ---------------------------------------------------------------------------------------------------------
//
// mma.m16n8k16: D[16, 8] += A[16, 16] B[16, 8]. With g = lane / 4 and q = lane % 4 a thread holds
//   A  rows g and g + 8, columns 2q, 2q+1 and 2q+8, 2q+9: registers (g; 2q), (g + 8; 2q), (g; 2q+8), (g + 8; 2q+8)
//   B  column g, rows 2q, 2q+1 and 2q+8, 2q+9
//   D  row g, columns 2q and 2q+1, then row g + 8
INLINE void multiply(float (&d)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same of values in parts: large products last, so that small ones are not lost.
INLINE void multiply_parts(float (&d)[4], const uint32 (&a)[PARTS][4], const uint32 (&b)[PARTS][2]) {
#if PARTS == 2
    multiply(d, a[1], b[0][0], b[0][1]);
    multiply(d, a[0], b[1][0], b[1][1]);
#endif
    multiply(d, a[0], b[0][0], b[0][1]);
}

// Four 8 x 8 matrices of 16-bit numbers from shared memory: lane l gives the address of row l % 8 of matrix l / 8; a
// thread gets numbers 2q, 2q+1 of row g of each, or of column g.
INLINE void load_matrices(uint32 address, uint32& a, uint32& b, uint32& c, uint32& d) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(address) : "memory");
}
INLINE void load_matrices_transposed(uint32 address, uint32& a, uint32& b, uint32& c, uint32& d) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(address) : "memory");
}

// -- kernels one after another ----------------------------------------------------------------------------------------
//
// A kernel may begin before the one in front of it has ended, where an edge of the graph says so
// (hpc_lstm/cuda/overlap.py); its launch and what it prepares then cost no time. It touches nothing that the one in front
// reads or writes until wait_for_kernel_before() returns, which is when that has ended. begin_next_kernel() lets the next
// one begin as soon as all blocks have called it. It comes after the wait, so that a kernel finds all complete at its
// beginning but the one in front. The kernels that bring the inputs call it first: those that may be behind them,
// lstm_forward and multiply_rows, must read nothing before they wait, not even weights, since the update may still run.
// Without such an edge both do nothing.
INLINE void wait_for_kernel_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
INLINE void begin_next_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// The same value, of which the compiler knows only from here on. It may move reads of what is const and __restrict__ in
// front of the wait, unless their address or condition depends on such a value.
template <class T> INLINE const T* after_wait(const T* address) {
    asm volatile("" : "+l"(address) :: "memory");
    return address;
}
INLINE int after_wait(int value) {
    asm volatile("" : "+r"(value) :: "memory");
    return value;
}

// -- memory -----------------------------------------------------------------------------------------------------------

INLINE uint32 shared_address(const void* at) { return uint32(__cvta_generic_to_shared(at)); }

// 16 bytes to shared memory in the background; zeros unless `inside`.
INLINE void copy_async(uint32 to, const void* from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
INLINE void copy_async_8(uint32 to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(to), "l"(from) : "memory");
}
INLINE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING> INLINE void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// The same in all threads of a warp, known to the compiler.
INLINE int uniform(int value) { return __shfl_sync(0xffffffffu, value, 0); }

// Waits for `threads` threads of the block that name the same barrier, 1 to 15.
INLINE void barrier(int name, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory"); }

// -- from compute capability 9.0 on: clusters of blocks that write to each other's shared memory, the copy engine ------

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
INLINE uint32 cluster_rank() {
    uint32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
INLINE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// The address of the same place in the shared memory of block `rank`.
INLINE uint32 peer_address(uint32 address, uint32 rank) {
    uint32 peer;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(address), "r"(rank));
    return peer;
}
// 16 bytes of another block's shared memory: what it wrote before the last cluster_barrier(), if it has written nothing
// there since.
INLINE float4 load_from_peer(uint32 peer) {
    float4 v;
    asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(peer));
    return v;
}
// 16 bytes into another block's shared memory, counted by a barrier there.
INLINE void send(uint32 peer, uint4 v, uint32 peer_arrived) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(peer),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(peer_arrived) : "memory");
}
INLINE void init_arrivals(uint32 at) { asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(at) : "memory"); }
// A barrier that `count` threads arrive at.
INLINE void init_arrivals_of(uint32 at, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(count) : "memory");
}
INLINE void publish_arrivals() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
INLINE void expect_arrivals(uint32 at, uint32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
}
// Of a barrier in another block of the cluster. Without a scope: that of the cluster flushes the cache.
INLINE void arrive_at_peer(uint32 peer_barrier) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(peer_barrier) : "memory");
}
// Waits for what others of the cluster sent, or for what the copy engine brought: the first also drops what the cache
// holds, which takes hundreds of cycles.
INLINE void wait_arrivals(uint32 at, uint32 parity) {
    asm volatile("{\n.reg .pred done;\nAGAIN_%=:\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra DONE_%=;\nbra AGAIN_%=;\nDONE_%=:\n}" ::"r"(at), "r"(parity) : "memory");
}
INLINE void wait_copy(uint32 at, uint32 parity) {
    asm volatile("{\n.reg .pred done;\nAGAIN_%=:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra DONE_%=;\nbra AGAIN_%=;\nDONE_%=:\n}" ::"r"(at), "r"(parity) : "memory");
}
// True in one thread of the warp. With addresses that the compiler knows to be the same in all threads, it makes a
// single instruction of a copy; otherwise a loop over the threads.
INLINE bool elected() {
    uint32 chosen;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(chosen));
    return chosen != 0;
}
// `bytes` from global to shared memory, by the copy engine: a multiple of 16, as are both addresses.
INLINE void copy_bulk(uint32 to, const void* from, uint32 bytes, uint32 arrived) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(arrived) : "memory");
}
#define BULK 1
#else
#define BULK 0
#endif

// -- what the host says about a call of several steps ------------------------------------------------------------------

#define MAX_CONSTANTS 8
struct Step { float constants[MAX_CONSTANTS]; };  // of the optimizer
struct Call {
    const float* inputs;       // [steps, batch, window, features], or null: windows are cut by lstm_gather.cu
    const float* targets;      // [steps, batch, TARGETS]
    const uint32* order_keys;  // of the random order of windows that are cut: ROUNDS for each of its passes
    int64 position, length;    // in that order, and of a pass
    uint32 key, first;         // of the dropout masks: the run's key, and the number of the call's first step
    Step step[1];              // one for each step of the call
};

// Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
INLINE uint2 threefry(uint32 x, uint32 y, uint32 key0, uint32 key1) {
    const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32 keys[3] = {key0, key1, 0x1BD11BDAu ^ key0 ^ key1};
    x += key0;
    y += key1;
    UNROLL for (int group = 0; group < 5; ++group) {
        UNROLL for (int round = 0; round < 4; ++round) {
            x += y;
            y = __funnelshift_l(y, y, rotations[4 * (group % 2) + round]) ^ x;
        }
        x += keys[(group + 1) % 3];
        y += keys[(group + 2) % 3] + group + 1;
    }
    return make_uint2(x, y);
}

// The numbers that rows 2 * pair and 2 * pair + 1 draw for one unit of one window: kept if (number >> 8) >= threshold.
// The C engine (kernels/lstm.c) draws the same.
#define MAX_LAYERS 16
INLINE uint2 draw(const Call* call, int step, int layer, int window, int pair, int units, int unit) {
    return threefry(uint32(pair) * units + unit, uint32(window) * MAX_LAYERS + layer, call->key, call->first + step);
}
