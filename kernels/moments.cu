// Standard scaling: count, mean and sum of squared deviations of every column of every symbol, ignoring NaN.
//
// Rows [R, columns] of VALUE (float or double, -DVALUE=...); segment s (a symbol) is rows begin[s]..end[s]; segments
// are ascending, disjoint, and may be empty. All sums are in double.
//
//   parts  the moments of the part of each segment in a block of ROWS rows, written to slot block + segment
//   join   the moments of each segment, combined from its parts
//
// How. A block reads its rows twice, the second time from the cache: first for the mean, then for the squared
// deviations, corrected for the rounding of the mean (Chan, Golub and LeVeque 1983, corrected two-pass). Parts are
// combined in order (Chan et al. 1979). The order of all sums is fixed by ROWS and THREADS: the same bits on every run
// and GPU. The one-pass formula, the sum of squares minus the squared sum, would lose all digits where the mean is
// large compared with the spread, as it is with prices.
//
// Versions: this is the first; scaling is fitted once per run, and takes milliseconds.
//
// Check: python -m pytest tests/gpu/test_kernels.py -k moments     (make gpu-test runs all)

typedef long long int64;
#define THREADS 256
#define ROWS 8192  // rows per block; the bits of the result depend on it

struct Moments { double count, mean, squares; };

// The sum over all threads of the same column, valid in threads 0..width-1.
__device__ double over_threads(double value, double* shared, int width, int used) {
    __syncthreads();
    shared[threadIdx.x] = threadIdx.x < used ? value : 0.0;
    __syncthreads();
    double sum = 0.0;
    if (threadIdx.x < width)
        for (int t = threadIdx.x; t < used; t += width) sum += shared[t];
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
parts(const VALUE* __restrict__ rows, const int64* __restrict__ begin, const int64* __restrict__ end,
      const int64 segments, const int64 row_count, const int columns,
      Moments* __restrict__ slots) {  // [blocks + segments, columns]
    __shared__ double values[THREADS], means[THREADS];
    const int64 block = blockIdx.x, from = block * ROWS, to = min(row_count, from + ROWS);
    // A block processes `width` columns of `together` rows at a time.
    const int width = min(columns, THREADS), together = THREADS / width, used = together * width;
    int64 low = 0, high = segments;  // the first segment that ends after `from`, by binary search
    while (low < high) {
        const int64 middle = (low + high) / 2;
        if (end[middle] > from) high = middle; else low = middle + 1;
    }
    for (int64 s = low; s < segments && begin[s] < to; ++s) {
        const int64 first = max(from, begin[s]), stop = min(to, end[s]);
        if (first >= stop) continue;
        for (int base = 0; base < columns; base += width) {
            const int column = base + threadIdx.x % width;
            const bool mine = threadIdx.x < used && column < columns;
            const int64 start = mine ? first + threadIdx.x / width : stop;
            // First pass: the mean.
            double sum = 0.0, count = 0.0;
            for (int64 r = start; r < stop; r += together) {
                const double v = double(rows[r * columns + column]);
                if (v == v) { sum += v; count += 1.0; }
            }
            sum = over_threads(sum, values, width, used);
            count = over_threads(count, values, width, used);
            const double some = fmax(count, 1.0);
            if (threadIdx.x < width) means[threadIdx.x] = sum / some;
            __syncthreads();
            const double mean = means[threadIdx.x % width];
            // Second pass: squared deviations, and their sum, which is 0 but for the rounding of the mean.
            double squares = 0.0, rest = 0.0;
            for (int64 r = start; r < stop; r += together) {
                const double v = double(rows[r * columns + column]) - mean;
                if (v == v) { squares += v * v; rest += v; }
            }
            squares = over_threads(squares, values, width, used);
            rest = over_threads(rest, values, width, used);
            if (threadIdx.x < width && base + threadIdx.x < columns) {
                Moments* const slot = slots + (block + s) * columns + base + threadIdx.x;
                slot->count = count;
                slot->mean = mean + rest / some;
                slot->squares = fmax(squares - rest * rest / some, 0.0);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
join(const Moments* __restrict__ slots, const int64* __restrict__ begin, const int64* __restrict__ end,
     const int64 segments, const int columns,
     double* __restrict__ counts, double* __restrict__ means, double* __restrict__ squares) {  // [segments, columns]
    const int64 at = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= segments * columns) return;
    const int64 s = at / columns, column = at % columns;
    Moments all = {0.0, 0.0, 0.0};
    if (begin[s] < end[s]) {
        for (int64 b = begin[s] / ROWS; b <= (end[s] - 1) / ROWS; ++b) {
            const Moments part = slots[(b + s) * columns + column];
            const double total = all.count + part.count, some = fmax(total, 1.0), change = part.mean - all.mean;
            all.squares += part.squares + change * change * all.count * part.count / some;
            all.mean += change * part.count / some;
            all.count = total;
        }
    }
    counts[at] = all.count;
    means[at] = all.mean;
    squares[at] = all.squares;
}
