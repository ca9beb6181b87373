/* Stacked LSTM layers, dropout after each, and one dense output: loss and gradient of a batch, on one CPU core.
 *
 * Compiled for the processor that it runs on (hpc_lstm/native/compiler.py). What makes it fast:
 *
 * - Weights are packed once a step into panels that the products read from front to back. Columns of a panel are the
 *   four gates of LANES units, so that a tile of the product holds all that a cell needs: the gates are opened and the
 *   cell is updated while they are still in registers.
 * - A product's tile of ROWS windows by 4 vectors stays in registers over the whole inner dimension.
 * - Backwards, one product gives what goes to the step before and to the layer below; the weights' gradients are
 *   added up for some steps at a time, while these lie in the cache.
 * - Windows are taken in blocks, so that what is remembered of them stays in the last level of the cache.
 *
 * Units are padded to whole vectors: weights of padded units are 0, so they stay 0 and change nothing.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#ifdef __FAST_MATH__
#error "needs the arithmetic that is written: compile without fast math"
#endif

/* A tile is ROWS x 4 vectors in registers, beside one of the windows' and, where they fit, 4 of the weights'. */
#if defined(__AVX512F__)
#define LANES 16
#define ROWS 6
#elif defined(__AVX__)
#define LANES 8
#define ROWS 3
#elif defined(__ARM_NEON) || defined(__aarch64__) || defined(__VSX__)
#define LANES 4
#define ROWS 6
#else
#define LANES 4
#define ROWS 3
#endif

/* Rows of a block of steps whose gradients are added up at once. */
#define CHUNK 128
/* Layers, at most. */
#define MAX_LAYERS 16

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));

/* What does not change from step to step. Sizes are in numbers, not bytes. */
struct network {
    int32_t layers, units, features, rows;
    float dropout;
};

INLINE vec load(const float *from) { return *(const loose *)from; }
INLINE void store(float *to, vec value) { *(loose *)to = value; }
INLINE vec all(float value) { return value - (vec){0}; }
INLINE vec choose(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }
INLINE int64_t blocks(int64_t units) { return (units + LANES - 1) / LANES; }
INLINE int64_t padded(int64_t units) { return blocks(units) * LANES; }

/* -- elementary functions ------------------------------------------------------------------------------------------- */

/* e^x for |x| <= 44, to 1e-7 of it: 2^n by the exponent's bits, the rest by a polynomial (Cephes' expf). */
INLINE vec exponential(vec x) {
    const float magic = 12582912.0f; /* adding it rounds to a whole number in the lowest bits */
    vec shifted = x * 1.44269504f + magic;
    vec n = shifted - magic;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return choose(x == x, (vec)((ivec)p + ((ivec)shifted << 23)), x);
}

/* x within +-44, and NaN for NaN. */
INLINE vec bounded(vec x) {
    x = choose(x > 44.0f, all(44.0f), x);
    return choose(x < -44.0f, all(-44.0f), x);
}

/* To 1e-7, of 1 and not of themselves. */
INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(bounded(-x))); }
INLINE vec hyperbolic_tangent(vec x) { return 2.0f / (1.0f + exponential(bounded(-2.0f * x))) - 1.0f; }

/* -- random numbers ------------------------------------------------------------------------------------------------- */

INLINE uvec rotated(uvec x, int by) { return (x << by) | (x >> (32 - by)); }

/* Threefry-2x32 with 20 rounds (Salmon et al. 2011): LANES pairs of numbers from as many counters. */
INLINE void threefry(uvec *a, uvec *b, uint32_t key0, uint32_t key1) {
    static const int by[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {key0, key1, 0x1BD11BDA ^ key0 ^ key1};
    uvec x = *a + key0, y = *b + key1;
    UNROLL for (int group = 0; group < 5; group++) {
        UNROLL for (int round = 0; round < 4; round++) {
            x += y;
            y = rotated(y, by[4 * (group % 2) + round]) ^ x;
        }
        x += keys[(group + 1) % 3];
        y += keys[(group + 2) % 3] + (uint32_t)(group + 1);
    }
    *a = x;
    *b = y;
}

/* Masks of one layer's outputs in a block of windows: 0 with the probability `rate`, else 1 / (1 - rate).
 *
 * A mask depends on the keys, the layer, the number of the window in the batch, its row and the unit alone.
 * `first`: row of the window that the masks begin with; masks: [rows - first, windows, padded units]. */
static void draw_masks(const struct network *net, int layer, int64_t window, int64_t windows, int64_t first,
                       const uint32_t keys[2], float *masks) {
    const int64_t width = padded(net->units), units = blocks(net->units);
    const uint32_t threshold = (uint32_t)(net->dropout * 16777216.0f); /* of 2^24 */
    const float kept = 1.0f / (1.0f - net->dropout);
    uvec lane;
    for (int i = 0; i < LANES; i++) lane[i] = (uint32_t)i;
    for (int64_t pair = first / 2; pair < (net->rows + 1) / 2; pair++)
        for (int64_t w = 0; w < windows; w++)
            for (int64_t u = 0; u < units; u++) {
                uvec x = lane + (uint32_t)(pair * net->units + u * LANES);
                uvec y = (uvec){0} + (uint32_t)((window + w) * MAX_LAYERS + layer);
                threefry(&x, &y, keys[0], keys[1]);
                for (int64_t row = 2 * pair; row < 2 * pair + 2; row++) {
                    if (row < first || row >= net->rows) continue;
                    uvec drawn = (row % 2 ? y : x) >> 8;
                    store(masks + ((row - first) * windows + w) * width + u * LANES,
                          choose((ivec)drawn >= (int32_t)threshold, all(kept), all(0.0f)));
                }
            }
}

/* -- where things lie ----------------------------------------------------------------------------------------------- */

INLINE int64_t inputs_of(const struct network *net, int layer) { return layer ? net->units : net->features; }

/* Where a layer's weights begin in the flat vector; after all layers come the dense ones. */
static int64_t flat_offset(const struct network *net, int layer) {
    const int64_t u = net->units;
    return layer == 0 ? 0 : (net->features + u + 1) * 4 * u + (layer - 1) * (2 * u + 1) * 4 * u;
}

/* A layer's weights as the forward product reads them, [block of units][input, then own output, then bias][gate][LANES],
 * and after all layers' the dense weights [padded units] and bias. Gradients lie in the same order. */
INLINE int64_t panel_rows(const struct network *net, int layer) { return inputs_of(net, layer) + net->units + 1; }

static int64_t panels_offset(const struct network *net, int layer) {
    int64_t at = 0;
    for (int l = 0; l < layer; l++) at += panel_rows(net, l) * 4 * padded(net->units);
    return at;
}

/* A layer's weights as the backward product reads them, [tile of up to 4 vectors][gate's column][vectors of the tile]:
 * columns are the layer's own outputs, then its inputs if there is a layer below. */
INLINE int64_t back_vectors(const struct network *net, int layer) { return blocks(net->units) * (layer ? 2 : 1); }

static int64_t back_offset(const struct network *net, int layer) {
    int64_t at = panels_offset(net, net->layers) + padded(net->units) + LANES;
    for (int l = 0; l < layer; l++) at += back_vectors(net, l) * LANES * 4 * padded(net->units);
    return at;
}

/* What a layer remembers of a block of windows, [row of the windows][window][unit]. `steps` and `cells` begin with a row
 * of zeros, the state before the first row. */
struct trace {
    float *gates;  /* 4 a unit, as in the panels; backwards, what the loss changes by with the sums before the gates */
    float *cells;
    float *turned; /* tanh(cells) */
    float *steps;  /* outputs */
    float *masks;
    float *given;  /* outputs after dropout, that is, what the layer above takes */
    float *asked;  /* what the loss changes by with the outputs, as told by the layer above */
};

struct workspace {
    float *windows; /* the inputs, rows first */
    float *outputs;
    float *state;   /* what the loss changes by with a step's outputs, as told by the step after */
    float *change;  /* and with its cells */
    struct trace layer[MAX_LAYERS];
};

/* The next part of the memory at `base`, on whole cache lines; NULL if there is none, when only its size is asked. */
static float *take(float *base, int64_t *at, int64_t numbers) {
    float *taken = base ? base + *at : NULL;
    *at += (numbers + 15) / 16 * 16;
    return taken;
}

/* Lays out a workspace for a number of windows; returns the numbers that it takes. */
static int64_t lay_out(const struct network *net, int64_t windows, float *base, struct workspace *work) {
    const int64_t width = padded(net->units), rows = net->rows * windows;
    int64_t at = 0;
    work->windows = take(base, &at, rows * net->features);
    work->outputs = take(base, &at, windows);
    work->state = take(base, &at, windows * width);
    work->change = take(base, &at, windows * width);
    for (int l = 0; l < net->layers; l++) {
        const int top = l + 1 == net->layers, drops = net->dropout > 0;
        struct trace *one = &work->layer[l];
        one->gates = take(base, &at, rows * 4 * width);
        one->cells = take(base, &at, (rows + windows) * width);
        one->turned = take(base, &at, rows * width);
        float *steps = take(base, &at, (rows + windows) * width);
        one->steps = steps;
        one->masks = drops ? take(base, &at, (top ? windows : rows) * width) : NULL;
        one->asked = top ? NULL : take(base, &at, rows * width);
        one->given = drops && !top ? take(base, &at, rows * width) : steps ? steps + windows * width : NULL;
    }
    return at;
}

/* -- products ------------------------------------------------------------------------------------------------------- */

/* sums[r][v] += a[r * stride + k] * panel[k][v], over all k. */
INLINE void multiply(int rows, int vectors, vec sums[ROWS][4], const float *a, int64_t stride, const float *panel,
                     int64_t inner) {
    for (int64_t k = 0; k < inner; k++, panel += vectors * LANES) {
        vec b[4];
        UNROLL for (int v = 0; v < vectors; v++) b[v] = load(panel + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            const vec one = all(a[r * stride + k]);
            UNROLL for (int v = 0; v < vectors; v++) sums[r][v] += one * b[v];
        }
    }
}

/* The body for the full tiles of a number of rows, and for what is left. */
#if ROWS == 6
#define TILES(count, body) \
    int64_t row = 0; \
    for (; row + 6 <= (count); row += 6) body(6); \
    switch ((count) - row) { \
    case 5: body(5); break; \
    case 4: body(4); break; \
    case 3: body(3); break; \
    case 2: body(2); break; \
    case 1: body(1); break; \
    }
#else
#define TILES(count, body) \
    int64_t row = 0; \
    for (; row + 3 <= (count); row += 3) body(3); \
    switch ((count) - row) { \
    case 2: body(2); break; \
    case 1: body(1); break; \
    }
#endif

/* One step of `rows` windows and LANES units: product, gates, cells, outputs. */
INLINE void step_tile(int rows, const float *input, int64_t stride, int64_t inputs, const float *before, int64_t width,
                      int64_t units, const float *panel, float *gates, const float *cells_before, float *cells,
                      float *turned, float *steps, const float *masks, float *given) {
    vec sums[ROWS][4];
    const float *bias = panel + (inputs + units) * 4 * LANES;
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int gate = 0; gate < 4; gate++) sums[r][gate] = load(bias + gate * LANES);
    multiply(rows, 4, sums, input, stride, panel, inputs);
    multiply(rows, 4, sums, before, width, panel + inputs * 4 * LANES, units);
    UNROLL for (int r = 0; r < rows; r++) {
        const vec i = sigmoid(sums[r][0]), f = sigmoid(sums[r][1]), o = sigmoid(sums[r][3]);
        const vec n = hyperbolic_tangent(sums[r][2]);
        const vec c = f * load(cells_before + r * width) + i * n, t = hyperbolic_tangent(c);
        float *four = gates + r * 4 * width;
        store(four, i);
        store(four + LANES, f);
        store(four + 2 * LANES, n);
        store(four + 3 * LANES, o);
        store(cells + r * width, c);
        store(turned + r * width, t);
        store(steps + r * width, o * t);
        if (masks) store(given + r * width, o * t * load(masks + r * width));
    }
}

/* All steps of a layer. */
static void forward(const struct network *net, int layer, int64_t windows, const float *input, int64_t stride,
                    const float *panels, const struct trace *one, int masked) {
    const int64_t units = net->units, width = padded(units), inputs = inputs_of(net, layer);
    const int64_t size = panel_rows(net, layer) * 4 * LANES;
    memset(one->cells, 0, sizeof(float) * windows * width);
    memset(one->steps, 0, sizeof(float) * windows * width);
    for (int64_t t = 0; t < net->rows; t++)
        for (int64_t block = 0; block < blocks(units); block++) {
            const float *panel = panels + block * size;
            const int64_t now = t * windows;
#define STEP(count) \
    step_tile(count, input + (now + row) * stride, stride, inputs, one->steps + (now + row) * width, width, units, \
              panel, one->gates + ((now + row) * width + block * LANES) * 4, \
              one->cells + (now + row) * width + block * LANES, \
              one->cells + (now + windows + row) * width + block * LANES, \
              one->turned + (now + row) * width + block * LANES, \
              one->steps + (now + windows + row) * width + block * LANES, \
              masked ? one->masks + (now + row) * width + block * LANES : NULL, \
              one->given + (now + row) * width + block * LANES)
            TILES(windows, STEP)
        }
}

/* What the loss changes by with the sums before the gates, from what it changes by with a step's outputs. */
static void through_gates(int64_t windows, int64_t width, int64_t at, const struct trace *one, const float *asked,
                          const float *state, float *change, float *bias, int64_t bias_stride) {
    for (int64_t block = 0; block < width / LANES; block++) {
        float *sums = bias + block * bias_stride;
        vec a = load(sums), b = load(sums + LANES), c = load(sums + 2 * LANES), d = load(sums + 3 * LANES);
        for (int64_t w = 0; w < windows; w++) {
            const int64_t here = w * width + block * LANES, now = at * width + here;
            float *four = one->gates + (at + w) * 4 * width + block * 4 * LANES;
            const vec i = load(four), f = load(four + LANES), n = load(four + 2 * LANES), o = load(four + 3 * LANES);
            const vec turned = load(one->turned + now), before = load(one->cells + now);
            vec output = load(state + here);
            if (asked) output += load(asked + here);
            const vec cell = load(change + here) + output * o * (1.0f - turned * turned);
            const vec di = cell * n * i * (1.0f - i), df = cell * before * f * (1.0f - f);
            const vec dn = cell * i * (1.0f - n * n), dout = output * turned * o * (1.0f - o);
            store(four, di);
            store(four + LANES, df);
            store(four + 2 * LANES, dn);
            store(four + 3 * LANES, dout);
            store(change + here, cell * f);
            a += di;
            b += df;
            c += dn;
            d += dout;
        }
        store(sums, a);
        store(sums + LANES, b);
        store(sums + 2 * LANES, c);
        store(sums + 3 * LANES, d);
    }
}

/* From the change of the gates' sums to that of the step before (the first `own` vectors) and of the layer below. */
INLINE void back_tile(int rows, int vectors, int64_t first, int64_t own, const float *gates, int64_t width,
                      const float *panel, float *state, float *below, const float *masks) {
    vec sums[ROWS][4];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (vec){0};
    multiply(rows, vectors, sums, gates, 4 * width, panel, 4 * width);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) {
            const int64_t at = r * width + (first + v) * LANES;
            if (first + v < own) store(state + at, sums[r][v]);
            else if (masks) store(below + at - width, sums[r][v] * load(masks + at - width));
            else store(below + at - width, sums[r][v]);
        }
}

static void back(const struct network *net, int layer, int64_t windows, const float *gates, const float *panels,
                 float *state, float *below, const float *masks) {
    const int64_t width = padded(net->units), own = blocks(net->units), count = back_vectors(net, layer);
    for (int64_t first = 0; first < count; first += 4) {
        const float *panel = panels + first * LANES * 4 * width;
#define BACK(vectors, count) \
    back_tile(count, vectors, first, own, gates + row * 4 * width, width, panel, state + row * width, \
              below ? below + row * width : NULL, masks ? masks + row * width : NULL)
#define BACK_4(count) BACK(4, count)
#define BACK_3(count) BACK(3, count)
#define BACK_2(count) BACK(2, count)
#define BACK_1(count) BACK(1, count)
        switch (count - first) {
        default: { TILES(windows, BACK_4) break; }
        case 3: { TILES(windows, BACK_3) break; }
        case 2: { TILES(windows, BACK_2) break; }
        case 1: { TILES(windows, BACK_1) break; }
        }
    }
}

/* gradient[k][v] += input[row][k] * change[row][v], over the rows. */
INLINE void outer_tile(int inputs, const float *input, int64_t stride, const float *change, int64_t width, int64_t rows,
                       float *gradient) {
    vec sums[ROWS][4];
    UNROLL for (int k = 0; k < inputs; k++)
        UNROLL for (int v = 0; v < 4; v++) sums[k][v] = load(gradient + (k * 4 + v) * LANES);
    for (int64_t r = 0; r < rows; r++, input += stride, change += 4 * width) {
        vec b[4];
        UNROLL for (int v = 0; v < 4; v++) b[v] = load(change + v * LANES);
        UNROLL for (int k = 0; k < inputs; k++) {
            const vec one = all(input[k]);
            UNROLL for (int v = 0; v < 4; v++) sums[k][v] += one * b[v];
        }
    }
    UNROLL for (int k = 0; k < inputs; k++)
        UNROLL for (int v = 0; v < 4; v++) store(gradient + (k * 4 + v) * LANES, sums[k][v]);
}

static void outer(int64_t inputs, const float *input, int64_t stride, const float *change, int64_t width, int64_t rows,
                  float *gradient, int64_t size) {
    for (int64_t from = 0; from < rows; from += CHUNK) {
        const int64_t some = rows - from < CHUNK ? rows - from : CHUNK;
        for (int64_t block = 0; block < width / LANES; block++) {
#define OUTER(count) \
    outer_tile(count, input + from * stride + row, stride, change + from * 4 * width + block * 4 * LANES, width, some, \
               gradient + block * size + row * 4 * LANES)
            TILES(inputs, OUTER)
        }
    }
}

/* All steps of a layer, the last one first. `asked`: of all steps, or of none; `state`: of the last one. */
static void backward(const struct network *net, int layer, int64_t windows, const float *input, int64_t stride,
                     const float *back_panels, const struct trace *one, const struct trace *below, float *state,
                     float *change, float *gradient) {
    const int64_t units = net->units, width = padded(units), inputs = inputs_of(net, layer);
    const int64_t size = panel_rows(net, layer) * 4 * LANES;
    int64_t until = net->rows * windows;
    memset(change, 0, sizeof(float) * windows * width);
    for (int64_t t = net->rows - 1; t >= 0; t--) {
        const int64_t now = t * windows;
        through_gates(windows, width, now, one, one->asked ? one->asked + now * width : NULL, state, change,
                      gradient + (inputs + units) * 4 * LANES, size);
        if (t || below)
            back(net, layer, windows, one->gates + now * 4 * width, back_panels, state,
                 below ? below->asked + now * width : NULL,
                 below && net->dropout > 0 ? below->masks + now * width : NULL);
        if (until - now >= CHUNK || t == 0) {
            const float *gates = one->gates + now * 4 * width;
            outer(inputs, input + now * stride, stride, gates, width, until - now, gradient, size);
            outer(units, one->steps + now * width, width, gates, width, until - now,
                  gradient + inputs * 4 * LANES, size);
            until = now;
        }
    }
}

/* All layers of a block of windows, and the dense one. Masks are drawn if there are `keys`. */
static void forecast(const struct network *net, const float *packed, const float *windows, int64_t count,
                     int64_t first, const uint32_t *keys, const struct workspace *work, float *outputs) {
    const int64_t width = padded(net->units), features = net->features, top = net->layers - 1;
    for (int64_t w = 0; w < count; w++)
        for (int64_t t = 0; t < net->rows; t++)
            memcpy(work->windows + (t * count + w) * features, windows + (w * net->rows + t) * features,
                   sizeof(float) * features);
    const float *input = work->windows;
    int64_t stride = features;
    for (int l = 0; l < net->layers; l++) {
        const struct trace *one = &work->layer[l];
        const int masked = keys && net->dropout > 0;
        if (masked) draw_masks(net, l, first, count, l < top ? 0 : net->rows - 1, keys, one->masks);
        forward(net, l, count, input, stride, packed + panels_offset(net, l), one, masked && l < top);
        input = masked && l < top ? one->given : one->steps + count * width;
        stride = width;
    }
    const float *last = work->layer[top].steps + net->rows * count * width, *dense = packed + panels_offset(net, net->layers);
    const float *masks = keys && net->dropout > 0 ? work->layer[top].masks : NULL;
    for (int64_t w = 0; w < count; w++) {
        float sum = dense[width];
        for (int64_t u = 0; u < net->units; u++)
            sum += last[w * width + u] * (masks ? masks[w * width + u] : 1.0f) * dense[u];
        outputs[w] = sum;
    }
}

/* Numbers too small for float32's exponent become 0 in this thread, until what it returns is put back: gradients fade
 * away over long windows, and many processors take a hundred cycles for each such number. */
static uint64_t without_denormals(void) {
#if defined(__SSE__)
    const unsigned int before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1ull << 24)));
    return before;
#else
    return 0;
#endif
}

static void with_denormals(uint64_t before) {
#if defined(__SSE__)
    _mm_setcsr((unsigned int)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

/* -- what Python calls ---------------------------------------------------------------------------------------------- */

/* Sizes are in numbers of 4 bytes. */
int64_t lstm_packed_size(const struct network *net) { return back_offset(net, net->layers); }

int64_t lstm_gradient_size(const struct network *net) {
    return panels_offset(net, net->layers) + padded(net->units) + LANES;
}

int64_t lstm_workspace_size(const struct network *net, int64_t windows) {
    struct workspace work;
    return lay_out(net, windows, NULL, &work);
}

/* Puts the flat weights where the products read them. */
void lstm_pack(const struct network *net, const float *flat, float *packed) {
    const int64_t units = net->units, width = padded(units);
    memset(packed, 0, sizeof(float) * lstm_packed_size(net));
    for (int l = 0; l < net->layers; l++) {
        const int64_t inputs = inputs_of(net, l), rows = panel_rows(net, l), count = back_vectors(net, l);
        const float *from = flat + flat_offset(net, l);
        float *panels = packed + panels_offset(net, l), *tiles = packed + back_offset(net, l);
        for (int64_t k = 0; k < rows; k++) /* kernel, recurrent kernel and bias follow one another */
            for (int64_t gate = 0; gate < 4; gate++)
                for (int64_t u = 0; u < units; u++)
                    panels[(((u / LANES) * rows + k) * 4 + gate) * LANES + u % LANES] = from[(k * 4 + gate) * units + u];
        for (int64_t c = 0; c < count * LANES; c++) {
            const int64_t unit = c < width ? c : c - width;
            if (unit >= units) continue;
            const int64_t first = c / LANES / 4 * 4, vectors = count - first < 4 ? count - first : 4;
            const float *row = from + (c < width ? inputs + unit : unit) * 4 * units;
            float *to = tiles + first * LANES * 4 * width + (c - first * LANES);
            for (int64_t gate = 0; gate < 4; gate++)
                for (int64_t u = 0; u < units; u++)
                    to[((u / LANES * 4 + gate) * LANES + u % LANES) * vectors * LANES] = row[gate * units + u];
        }
    }
    const float *dense = flat + flat_offset(net, net->layers);
    memcpy(packed + panels_offset(net, net->layers), dense, sizeof(float) * units);
    packed[panels_offset(net, net->layers) + width] = dense[units];
}

/* Adds up the gradients of several threads: flat[i] = scale * sum. */
void lstm_sum_gradients(const struct network *net, const float *const *gradients, int32_t count, float scale, float *flat) {
    const int64_t units = net->units;
    for (int l = 0; l <= net->layers; l++) {
        const int64_t offset = panels_offset(net, l), rows = l < net->layers ? panel_rows(net, l) : 0;
        float *to = flat + flat_offset(net, l);
        for (int64_t k = 0; k < rows; k++)
            for (int64_t gate = 0; gate < 4; gate++)
                for (int64_t u = 0; u < units; u++) {
                    float sum = 0;
                    for (int32_t g = 0; g < count; g++)
                        sum += gradients[g][offset + (((u / LANES) * rows + k) * 4 + gate) * LANES + u % LANES];
                    to[(k * 4 + gate) * units + u] = scale * sum;
                }
        for (int64_t u = 0; l == net->layers && u <= units; u++) {
            float sum = 0;
            for (int32_t g = 0; g < count; g++) sum += gradients[g][offset + (u < units ? u : padded(units))];
            to[u] = scale * sum;
        }
    }
}

/* The sum of the squared errors of a part of a batch, and its gradient, in the order of the packed weights.
 *
 * windows: [count, rows, features], the first of which is number `first` of the batch; targets: [count];
 * at_once: windows of a block, for which there is a workspace; keys: of the dropout masks. */
double lstm_squared_error(const struct network *net, const float *packed, const float *windows, const float *targets,
                  int64_t count, int64_t first, int64_t at_once, const uint32_t *keys, float *workspace,
                  float *gradient) {
    const int64_t width = padded(net->units), features = net->features;
    const int top = net->layers - 1;
    const float *dense = packed + panels_offset(net, net->layers);
    float *dense_gradient = gradient + panels_offset(net, net->layers);
    const uint64_t mode = without_denormals();
    double error = 0;
    memset(gradient, 0, sizeof(float) * lstm_gradient_size(net));
    for (int64_t from = 0; from < count; from += at_once) {
        const int64_t some = count - from < at_once ? count - from : at_once;
        struct workspace work;
        lay_out(net, some, workspace, &work);
        forecast(net, packed, windows + from * net->rows * features, some, first + from, keys, &work, work.outputs);
        const float *last = work.layer[top].steps + net->rows * some * width;
        for (int64_t w = 0; w < some; w++) {
            const float off = work.outputs[w] - targets[from + w];
            error += (double)off * off;
            dense_gradient[width] += 2 * off;
            for (int64_t u = 0; u < width; u++) {
                const float mask = net->dropout > 0 ? work.layer[top].masks[w * width + u] : 1.0f;
                dense_gradient[u] += 2 * off * mask * last[w * width + u];
                work.state[w * width + u] = u < net->units ? 2 * off * mask * dense[u] : 0;
            }
        }
        for (int l = top; l >= 0; l--) {
            const struct trace *below = l ? &work.layer[l - 1] : NULL;
            if (l < top) memset(work.state, 0, sizeof(float) * some * width);
            backward(net, l, some, l ? below->given : work.windows, l ? width : features,
                     packed + back_offset(net, l), &work.layer[l], below, work.state, work.change,
                     gradient + panels_offset(net, l));
        }
    }
    with_denormals(mode);
    return error;
}

/* Forecasts of windows [count, rows, features], without dropout. */
void lstm_forecast(const struct network *net, const float *packed, const float *windows, int64_t count,
                   int64_t at_once, float *workspace, float *outputs) {
    const uint64_t mode = without_denormals();
    for (int64_t from = 0; from < count; from += at_once) {
        const int64_t some = count - from < at_once ? count - from : at_once;
        struct workspace work;
        lay_out(net, some, workspace, &work);
        forecast(net, packed, windows + from * net->rows * net->features, some, 0, NULL, &work, outputs + from);
    }
    with_denormals(mode);
}

/* One step of Adam, or of AdamW, on n weights; hpc_lstm/model/optimizers/adam.py has the formulas.
 *
 * moments: [2n], the running means of the gradients, then of their squares; constants: the bias-corrected rate,
 * 1 - b1, 1 - b2, epsilon, and the share of each weight that decays before the step, 0 without weight decay. */
void lstm_adam(int64_t n, float *weights, float *moments, const float *gradient, const float *constants) {
    const float rate = constants[0], one_minus_b1 = constants[1], one_minus_b2 = constants[2];
    const float epsilon = constants[3], decay = constants[4];
    float *means = moments, *squares = moments + n;
    if (decay > 0)
        for (int64_t i = 0; i < n; i++) weights[i] -= decay * weights[i];
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i];
        means[i] += (g - means[i]) * one_minus_b1;
        squares[i] += (g * g - squares[i]) * one_minus_b2;
        weights[i] -= rate * means[i] / (sqrtf(squares[i]) + epsilon);
    }
}
