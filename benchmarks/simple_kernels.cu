// The first, simple version of each kernel, to be timed beside the one that is used: benchmarks/kernels.py.

typedef long long int64;
#define THREADS 256

__device__ __forceinline__ void put_least(float* at, float v) {
    if (__float_as_int(v) >= 0) atomicMin(reinterpret_cast<int*>(at), __float_as_int(v));
    else atomicMax(reinterpret_cast<unsigned*>(at), __float_as_uint(v));
}
__device__ __forceinline__ void put_greatest(float* at, float v) {
    if (__float_as_int(v) >= 0) atomicMax(reinterpret_cast<int*>(at), __float_as_int(v));
    else atomicMin(reinterpret_cast<unsigned*>(at), __float_as_uint(v));
}

// A block a segment, a thread a column in turn: rows in sequence, a load in flight each.
extern "C" __global__ void fit(const float* rows, const int64* offsets, int64 segments, int columns, float* low,
                               float* high) {
    const int64 s = blockIdx.x;
    const int together = THREADS / columns;
    if (threadIdx.x >= together * columns) return;
    const int c = threadIdx.x % columns;
    float l = __int_as_float(0x7f800000), h = -l;
    for (int64 r = offsets[s] + threadIdx.x / columns; r < offsets[s + 1]; r += together) {
        const float v = rows[r * columns + c];
        l = fminf(l, v);
        h = fmaxf(h, v);
    }
    put_least(low + s * columns + c, l);
    put_greatest(high + s * columns + c, h);
}

// A thread a number, which finds its segment by bisection.
extern "C" __global__ void transform(const float* rows, const int64* offsets, int64 segments, int64 total,
                                     int columns, const double* scale, const double* shift, float* out) {
    const int64 i = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= total) return;
    const int64 row = i / columns;
    const int c = int(i % columns);
    int64 low = 0, high = segments;
    while (high - low > 1) {
        const int64 middle = (low + high) / 2;
        if (offsets[middle] <= row) low = middle; else high = middle;
    }
    out[i] = float(double(rows[i]) * scale[low * columns + c] + shift[low * columns + c]);
}

// A thread a pair, one atomic sum of all.
extern "C" __global__ void errors(const float* forecast, const float* actual, int64 total, double* squares) {
    const int64 i = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= total) return;
    const double e = double(forecast[i] - actual[i]);
    atomicAdd(squares, e * e);
}

// A thread a number: window, row and column by division, its segment by bisection.
extern "C" __global__ void gather(const float* rows, int columns, int features, int window, int tail,
                                  const int64* edges, int64 segments, const double* scale, const double* shift,
                                  const int64* numbers, int64 total, float* inputs) {
    const int64 i = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= total) return;
    const int c = int(i % features);
    const int64 number = numbers[i / features / window];
    int64 low = 0, high = segments;
    while (high - low > 1) {
        const int64 middle = (low + high) / 2;
        if (edges[middle] <= number) low = middle; else high = middle;
    }
    const int64 row = number + low * tail + i / features % window;
    inputs[i] = float(double(rows[row * columns + c]) * scale[low * columns + c] + shift[low * columns + c]);
}
