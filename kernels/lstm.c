/* Stacked LSTM layers, dropout after each, and a dense layer of outputs: loss and gradient of a batch, on one CPU core.
 *
 * At each row of the windows a layer computes, from its input x and its output h_before and cell c_before at the row
 * before (Hochreiter and Schmidhuber 1997; Gers et al. 2000):
 *
 *     i, f, o = sigmoid(x W + h_before U + b)    g = tanh(x W + h_before U + b), each with columns of its own
 *     c = f * c_before + i * g                   h = o * tanh(c)
 *
 * Backwards, dv being the gradient of the loss with respect to v, and dgates that with respect to x W + h_before U + b:
 *
 *     dc += dh * o * (1 - tanh(c)^2)
 *     dgates = dc * g * i (1 - i), dc * c_before * f (1 - f), dc * i * (1 - g^2), dh * tanh(c) * o (1 - o)
 *     dc_before = dc * f    dh_before = dgates U^T    dx = dgates W^T
 *     dW += x^T dgates      dU += h_before^T dgates   db += dgates
 *
 * Compiled for the processor that it runs on (hpc_lstm/native/compiler.py). What makes it fast:
 *
 * - Weights are packed once a step into panels that the products read sequentially. The columns of a panel are the four
 *   gates of LANES units, so that one tile of a product holds all that a cell needs: gates and cell are computed while
 *   the sums are still in registers.
 * - A tile of ROWS windows by 4 vectors stays in registers over the whole inner dimension of a product.
 * - Backwards, one product gives both dh of the row before and dx for the layer below; weight gradients are accumulated
 *   over several rows at a time, while their dgates are in the cache.
 * - Windows are processed in blocks whose traces fit into the last level of the cache.
 *
 * Units are padded to whole vectors: the weights of padded units are 0, so these stay 0 and change nothing.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#ifdef __FAST_MATH__
#error "needs IEEE arithmetic: compile without fast math"
#endif

/* A tile is ROWS x 4 vectors in registers, next to one vector of inputs and, where they fit, 4 of weights. */
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

/* Rows (times windows) whose weight gradients are accumulated together: few enough for their dgates to stay in the
 * cache, many enough to load and store the gradients rarely. */
#define CHUNK 128
/* Largest number of layers. */
#define MAX_LAYERS 16

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float unaligned_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));

#define LOSS
#include "lstm_losses.h"

/* The loss of one target: see lstm_losses.h. */
typedef float loss_function(const float *outputs, float target, const float *constants, int count, float *gradient);

/* The shape of the network; rows are those of a window. Sizes below are in numbers, not bytes. */
struct network {
    int32_t layers, units, features, rows;
    float dropout;
    int32_t outputs, targets; /* of a window; each target has as many outputs */
};

INLINE vec load(const float *from) { return *(const unaligned_vec *)from; }
INLINE void store(float *to, vec value) { *(unaligned_vec *)to = value; }
INLINE vec broadcast(float value) { return value - (vec){0}; }
INLINE vec blend(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }
INLINE int64_t blocks(int64_t units) { return (units + LANES - 1) / LANES; }
INLINE int64_t padded(int64_t units) { return blocks(units) * LANES; }

/* -- elementary functions ------------------------------------------------------------------------------------------ */

/* e^x for |x| <= 44, with a relative error of 1e-7 (Cephes' expf): x = n ln 2 + r, e^r by a polynomial, and 2^n by
 * adding n to the exponent's bits. */
INLINE vec exponential(vec x) {
    const float magic = 12582912.0f; /* adding it rounds to an integer, in the lowest bits */
    vec shifted = x * 1.44269504f + magic;
    vec n = shifted - magic;
    /* ln 2 in two parts, the first of few bits, so that n times it is exact. */
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return blend(x == x, (vec)((ivec)p + ((ivec)shifted << 23)), x);
}

/* x limited to [-44, 44]; NaN stays NaN. */
INLINE vec clamp(vec x) {
    x = blend(x > 44.0f, broadcast(44.0f), x);
    return blend(x < -44.0f, broadcast(-44.0f), x);
}

/* With an absolute error of 1e-7. */
INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(clamp(-x))); }
INLINE vec hyperbolic_tangent(vec x) { return 2.0f / (1.0f + exponential(clamp(-2.0f * x))) - 1.0f; }

/* -- random numbers ------------------------------------------------------------------------------------------------ */

INLINE uvec rotate_left(uvec x, int by) { return (x << by) | (x >> (32 - by)); }

/* Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): replaces LANES
 * counters (a, b) by as many pairs of random numbers. */
INLINE void threefry(uvec *a, uvec *b, uint32_t key0, uint32_t key1) {
    static const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {key0, key1, 0x1BD11BDA ^ key0 ^ key1};
    uvec x = *a + key0, y = *b + key1;
    UNROLL for (int group = 0; group < 5; group++) {
        UNROLL for (int round = 0; round < 4; round++) {
            x += y;
            y = rotate_left(y, rotations[4 * (group % 2) + round]) ^ x;
        }
        x += keys[(group + 1) % 3];
        y += keys[(group + 2) % 3] + (uint32_t)(group + 1);
    }
    *a = x;
    *b = y;
}

/* Dropout masks of one layer's outputs in a block of windows: 0 with probability net->dropout, else 1 / (1 - dropout).
 *
 * A mask depends on the keys, the layer, the window's index in the batch, its row and the unit alone, and so not on how
 * the batch is split. Two rows share a counter, one for each number of the pair.
 *
 * window: index in the batch of the block's first; first: the first row that needs masks;
 * masks: [rows - first, windows, padded units]. */
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
                          blend((ivec)drawn >= (int32_t)threshold, broadcast(kept), broadcast(0.0f)));
                }
            }
}

/* -- memory layout ------------------------------------------------------------------------------------------------- */

INLINE int64_t inputs_of(const struct network *net, int layer) { return layer ? net->units : net->features; }

/* Offset of a layer's weights in the flat vector (hpc_lstm/model/parameters.py); the dense weights follow the last
 * layer. */
static int64_t flat_offset(const struct network *net, int layer) {
    const int64_t u = net->units;
    return layer == 0 ? 0 : (net->features + u + 1) * 4 * u + (layer - 1) * (2 * u + 1) * 4 * u;
}

/* A layer's weights for the forward product: [block of units][row of W, then of U, then b][gate][LANES]. After those of
 * all layers come the dense weights [output][padded units] and biases. Gradients have the same layout. */
INLINE int64_t panel_rows(const struct network *net, int layer) { return inputs_of(net, layer) + net->units + 1; }

static int64_t panels_offset(const struct network *net, int layer) {
    int64_t at = 0;
    for (int l = 0; l < layer; l++) at += panel_rows(net, l) * 4 * padded(net->units);
    return at;
}

INLINE int64_t dense_size(const struct network *net) {
    return net->outputs * padded(net->units) + padded(net->outputs);
}

/* A layer's weights for the backward product, U^T and W^T side by side: [tile of up to 4 vectors][column of dgates]
 * [vectors of the tile]. The vectors are h_before's, then x's if there is a layer below. */
INLINE int64_t back_vectors(const struct network *net, int layer) { return blocks(net->units) * (layer ? 2 : 1); }

static int64_t back_offset(const struct network *net, int layer) {
    int64_t at = panels_offset(net, net->layers) + dense_size(net);
    for (int l = 0; l < layer; l++) at += back_vectors(net, l) * LANES * 4 * padded(net->units);
    return at;
}

/* What the backward pass needs of a layer's forward pass over a block of windows: each [row][window][padded unit]. h
 * and c begin with one more row of zeros, the state before the first. */
struct trace {
    float *gates;    /* i, f, g, o: [row][window][block of units][gate][LANES]; the backward pass writes dgates there */
    float *c;
    float *tanh_c;
    float *h;
    float *masks;    /* of dropout; in the last layer, of the last row alone */
    float *dropped;  /* h after dropout, the input of the layer above */
    float *dh_above; /* the part of dh that comes from the layer above; NULL in the last layer */
};

struct workspace {
    float *windows; /* inputs, [row][window][feature] */
    float *outputs; /* [window][output] */
    float *changes; /* the loss's derivatives with respect to them */
    float *dh;      /* the part of the current row's dh that comes from the row after: [window][padded unit] */
    float *dc;      /* likewise */
    struct trace layer[MAX_LAYERS];
};

/* The next part of the memory at `base`, in whole cache lines. Without memory (NULL) only `at` advances, to find the
 * size. */
static float *allocate(float *base, int64_t *at, int64_t numbers) {
    float *allocated = base ? base + *at : NULL;
    *at += (numbers + 15) / 16 * 16;
    return allocated;
}

/* Sets the pointers of a workspace for a number of windows; returns its size. */
static int64_t lay_out_workspace(const struct network *net, int64_t windows, float *base, struct workspace *work) {
    const int64_t width = padded(net->units), rows = net->rows * windows;
    int64_t at = 0;
    work->windows = allocate(base, &at, rows * net->features);
    work->outputs = allocate(base, &at, windows * net->outputs);
    work->changes = allocate(base, &at, windows * net->outputs);
    work->dh = allocate(base, &at, windows * width);
    work->dc = allocate(base, &at, windows * width);
    for (int l = 0; l < net->layers; l++) {
        const int top = l + 1 == net->layers, drops = net->dropout > 0;
        struct trace *trace = &work->layer[l];
        trace->gates = allocate(base, &at, rows * 4 * width);
        trace->c = allocate(base, &at, (rows + windows) * width);
        trace->tanh_c = allocate(base, &at, rows * width);
        float *h = allocate(base, &at, (rows + windows) * width);
        trace->h = h;
        trace->masks = drops ? allocate(base, &at, (top ? windows : rows) * width) : NULL;
        trace->dh_above = top ? NULL : allocate(base, &at, rows * width);
        trace->dropped = drops && !top ? allocate(base, &at, rows * width) : h ? h + windows * width : NULL;
    }
    return at;
}

/* -- products ------------------------------------------------------------------------------------------------------ */

/* sums[r][v] += a[r * stride + k] * panel[k][v], over all k. */
INLINE void multiply(int rows, int vectors, vec sums[ROWS][4], const float *a, int64_t stride, const float *panel,
                     int64_t inner) {
    for (int64_t k = 0; k < inner; k++, panel += vectors * LANES) {
        vec b[4];
        UNROLL for (int v = 0; v < vectors; v++) b[v] = load(panel + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            const vec a_rk = broadcast(a[r * stride + k]);
            UNROLL for (int v = 0; v < vectors; v++) sums[r][v] += a_rk * b[v];
        }
    }
}

/* body(rows) for each full tile of `count` rows, then for the rest: rows are constants, so that each has code of its
 * own with all sums in registers. */
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

/* One row of the windows, for a tile of `rows` windows and LANES units: sums [rows][4 gates], then gates, c and h while
 * the sums are in registers. */
INLINE void cell_tile(int rows, const float *input, int64_t stride, int64_t inputs, const float *h_before,
                      int64_t width, int64_t units, const float *panel, float *gates, const float *c_before, float *c,
                      float *tanh_c, float *h, const float *masks, float *dropped) {
    vec sums[ROWS][4];
    /* x W + h_before U + b, beginning with b. */
    const float *bias = panel + (inputs + units) * 4 * LANES;
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int gate = 0; gate < 4; gate++) sums[r][gate] = load(bias + gate * LANES);
    multiply(rows, 4, sums, input, stride, panel, inputs);
    multiply(rows, 4, sums, h_before, width, panel + inputs * 4 * LANES, units);
    UNROLL for (int r = 0; r < rows; r++) {
        const vec i = sigmoid(sums[r][0]), f = sigmoid(sums[r][1]), o = sigmoid(sums[r][3]);
        const vec g = hyperbolic_tangent(sums[r][2]);
        const vec c_new = f * load(c_before + r * width) + i * g, tanh_new = hyperbolic_tangent(c_new);
        float *four = gates + r * 4 * width;
        store(four, i);
        store(four + LANES, f);
        store(four + 2 * LANES, g);
        store(four + 3 * LANES, o);
        store(c + r * width, c_new);
        store(tanh_c + r * width, tanh_new);
        store(h + r * width, o * tanh_new);
        if (masks) store(dropped + r * width, o * tanh_new * load(masks + r * width));
    }
}

/* A layer's forward pass over all rows of a block of windows.
 *
 * Rows follow each other in time; within one, a panel is used for all windows while it is in the cache. input:
 * [row][window] of `stride` numbers; masked: write h after dropout, too. */
static void layer_forward(const struct network *net, int layer, int64_t windows, const float *input, int64_t stride,
                          const float *panels, const struct trace *trace, int masked) {
    const int64_t units = net->units, width = padded(units), inputs = inputs_of(net, layer);
    const int64_t size = panel_rows(net, layer) * 4 * LANES;
    memset(trace->c, 0, sizeof(float) * windows * width);
    memset(trace->h, 0, sizeof(float) * windows * width);
    for (int64_t t = 0; t < net->rows; t++)
        for (int64_t block = 0; block < blocks(units); block++) {
            const float *panel = panels + block * size;
            const int64_t now = t * windows;
#define CELL(count) \
    cell_tile(count, input + (now + row) * stride, stride, inputs, trace->h + (now + row) * width, width, units, \
              panel, trace->gates + ((now + row) * width + block * LANES) * 4, \
              trace->c + (now + row) * width + block * LANES, \
              trace->c + (now + windows + row) * width + block * LANES, \
              trace->tanh_c + (now + row) * width + block * LANES, \
              trace->h + (now + windows + row) * width + block * LANES, \
              masked ? trace->masks + (now + row) * width + block * LANES : NULL, \
              trace->dropped + (now + row) * width + block * LANES)
            TILES(windows, CELL)
        }
}

/* From dh and dc at one row to its dgates, which replace the gates, and to dc of the row before, which replaces dc.
 *
 * at: the row times windows; dh_above: of this row, or NULL; dbias: db in the gradient's panels, `dbias_stride`
 * apart. */
static void cell_backward(int64_t windows, int64_t width, int64_t at, const struct trace *trace, const float *dh_above,
                          const float *dh, float *dc, float *dbias, int64_t dbias_stride) {
    for (int64_t block = 0; block < width / LANES; block++) {
        float *db = dbias + block * dbias_stride;
        vec db_i = load(db), db_f = load(db + LANES), db_g = load(db + 2 * LANES), db_o = load(db + 3 * LANES);
        for (int64_t w = 0; w < windows; w++) {
            const int64_t here = w * width + block * LANES, now = at * width + here;
            float *four = trace->gates + (at + w) * 4 * width + block * 4 * LANES;
            const vec i = load(four), f = load(four + LANES), g = load(four + 2 * LANES), o = load(four + 3 * LANES);
            const vec tanh_c = load(trace->tanh_c + now), c_before = load(trace->c + now);
            vec dh_here = load(dh + here);
            if (dh_above) dh_here += load(dh_above + here);
            const vec dc_here = load(dc + here) + dh_here * o * (1.0f - tanh_c * tanh_c);
            const vec di = dc_here * g * i * (1.0f - i), df = dc_here * c_before * f * (1.0f - f);
            const vec dg = dc_here * i * (1.0f - g * g), d_o = dh_here * tanh_c * o * (1.0f - o);
            store(four, di);
            store(four + LANES, df);
            store(four + 2 * LANES, dg);
            store(four + 3 * LANES, d_o);
            store(dc + here, dc_here * f);
            db_i += di;
            db_f += df;
            db_g += dg;
            db_o += d_o;
        }
        store(db, db_i);
        store(db + LANES, db_f);
        store(db + 2 * LANES, db_g);
        store(db + 3 * LANES, db_o);
    }
}

/* A tile of dgates [U^T, W^T]: the first `own` vectors are dh of the row before, the others dx, which is dh of the
 * layer below once its dropout mask is applied. */
INLINE void dgates_to_inputs_tile(int rows, int vectors, int64_t first, int64_t own, const float *dgates, int64_t width,
                                  const float *panel, float *dh, float *dx, const float *masks) {
    vec sums[ROWS][4];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (vec){0};
    multiply(rows, vectors, sums, dgates, 4 * width, panel, 4 * width);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) {
            const int64_t at = r * width + (first + v) * LANES;
            if (first + v < own) store(dh + at, sums[r][v]);
            else if (masks) store(dx + at - width, sums[r][v] * load(masks + at - width));
            else store(dx + at - width, sums[r][v]);
        }
}

/* dh of the row before and dx, in tiles of windows by up to 4 vectors: [windows][4 padded units] x [4 padded units]
 * [vectors]. dx is NULL in the first layer; masks: of the layer below, or NULL. */
static void dgates_to_inputs(const struct network *net, int layer, int64_t windows, const float *dgates,
                             const float *panels, float *dh, float *dx, const float *masks) {
    const int64_t width = padded(net->units), own = blocks(net->units), count = back_vectors(net, layer);
    for (int64_t first = 0; first < count; first += 4) {
        const float *panel = panels + first * LANES * 4 * width;
#define BACK(vectors, count) \
    dgates_to_inputs_tile(count, vectors, first, own, dgates + row * 4 * width, width, panel, dh + row * width, \
                          dx ? dx + row * width : NULL, masks ? masks + row * width : NULL)
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

/* dweights[k][v] += input[row][k] * dgates[row][v], summed over some rows, for a tile of `inputs` rows of W or U. */
INLINE void dweights_tile(int inputs, const float *input, int64_t stride, const float *dgates, int64_t width,
                          int64_t rows, float *dpanel) {
    vec sums[ROWS][4];
    UNROLL for (int k = 0; k < inputs; k++)
        UNROLL for (int v = 0; v < 4; v++) sums[k][v] = load(dpanel + (k * 4 + v) * LANES);
    for (int64_t r = 0; r < rows; r++, input += stride, dgates += 4 * width) {
        vec b[4];
        UNROLL for (int v = 0; v < 4; v++) b[v] = load(dgates + v * LANES);
        UNROLL for (int k = 0; k < inputs; k++) {
            const vec input_k = broadcast(input[k]);
            UNROLL for (int v = 0; v < 4; v++) sums[k][v] += input_k * b[v];
        }
    }
    UNROLL for (int k = 0; k < inputs; k++)
        UNROLL for (int v = 0; v < 4; v++) store(dpanel + (k * 4 + v) * LANES, sums[k][v]);
}

/* dW or dU over all `rows`, CHUNK of them at a time: their dgates are read once for each tile of the weights. */
static void dweights(int64_t inputs, const float *input, int64_t stride, const float *dgates, int64_t width,
                     int64_t rows, float *dpanel, int64_t size) {
    for (int64_t from = 0; from < rows; from += CHUNK) {
        const int64_t part = rows - from < CHUNK ? rows - from : CHUNK;
        for (int64_t block = 0; block < width / LANES; block++) {
#define DWEIGHTS(count) \
    dweights_tile(count, input + from * stride + row, stride, dgates + from * 4 * width + block * 4 * LANES, width, \
                  part, dpanel + block * size + row * 4 * LANES)
            TILES(inputs, DWEIGHTS)
        }
    }
}

/* A layer's backward pass over all rows of a block of windows, the last row first.
 *
 * On entry `dh` is that of the last row (0 but in the last layer), and below->dh_above is filled for the next layer.
 * gradient: this layer's panels, added to. */
static void layer_backward(const struct network *net, int layer, int64_t windows, const float *input, int64_t stride,
                           const float *back_panels, const struct trace *trace, const struct trace *below, float *dh,
                           float *dc, float *gradient) {
    const int64_t units = net->units, width = padded(units), inputs = inputs_of(net, layer);
    const int64_t size = panel_rows(net, layer) * 4 * LANES;
    int64_t done_from = net->rows * windows;
    memset(dc, 0, sizeof(float) * windows * width);
    for (int64_t t = net->rows - 1; t >= 0; t--) {
        const int64_t now = t * windows;
        cell_backward(windows, width, now, trace, trace->dh_above ? trace->dh_above + now * width : NULL, dh, dc,
                      gradient + (inputs + units) * 4 * LANES, size);
        /* At the first row no dh of a row before is needed, but dx is. */
        if (t || below)
            dgates_to_inputs(net, layer, windows, trace->gates + now * 4 * width, back_panels, dh,
                             below ? below->dh_above + now * width : NULL,
                             below && net->dropout > 0 ? below->masks + now * width : NULL);
        /* dW and dU of the rows from here to done_from, once these are many enough. */
        if (done_from - now >= CHUNK || t == 0) {
            const float *dgates = trace->gates + now * 4 * width;
            dweights(inputs, input + now * stride, stride, dgates, width, done_from - now, gradient, size);
            dweights(units, trace->h + now * width, width, dgates, width, done_from - now,
                     gradient + inputs * 4 * LANES, size);
            done_from = now;
        }
    }
}

/* Forward pass of a block of `count` windows [count, rows, features] through all layers; outputs: [count, outputs].
 *
 * first: index in the batch of the first window; keys: of the dropout masks, NULL for no dropout. */
static void network_forward(const struct network *net, const float *packed, const float *windows, int64_t count,
                            int64_t first, const uint32_t *keys, const struct workspace *work, float *outputs) {
    const int64_t width = padded(net->units), features = net->features, top = net->layers - 1;
    /* Rows first: a row of all windows is one matrix of the product. */
    for (int64_t w = 0; w < count; w++)
        for (int64_t t = 0; t < net->rows; t++)
            memcpy(work->windows + (t * count + w) * features, windows + (w * net->rows + t) * features,
                   sizeof(float) * features);
    const float *input = work->windows;
    int64_t stride = features;
    for (int l = 0; l < net->layers; l++) {
        const struct trace *trace = &work->layer[l];
        const int masked = keys && net->dropout > 0;
        if (masked) draw_masks(net, l, first, count, l < top ? 0 : net->rows - 1, keys, trace->masks);
        layer_forward(net, l, count, input, stride, packed + panels_offset(net, l), trace, masked && l < top);
        input = masked && l < top ? trace->dropped : trace->h + count * width;
        stride = width;
    }
    const float *last = work->layer[top].h + net->rows * count * width;
    const float *dense = packed + panels_offset(net, net->layers);
    const float *masks = keys && net->dropout > 0 ? work->layer[top].masks : NULL;
    for (int64_t w = 0; w < count; w++)
        for (int64_t o = 0; o < net->outputs; o++) {
            float sum = dense[net->outputs * width + o];
            for (int64_t u = 0; u < net->units; u++)
                sum += last[w * width + u] * (masks ? masks[w * width + u] : 1.0f) * dense[o * width + u];
            outputs[w * net->outputs + o] = sum;
        }
}

/* Makes this thread round denormal numbers to 0, until restore_denormals gets what it returned: gradients fade over
 * long windows, and many processors take a hundred cycles for an operation on a denormal. */
static uint64_t flush_denormals(void) {
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

static void restore_denormals(uint64_t before) {
#if defined(__SSE__)
    _mm_setcsr((unsigned int)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

/* -- exported functions -------------------------------------------------------------------------------------------- */

/* Sizes of the arrays that the caller allocates, in float32 numbers. */
int64_t lstm_packed_size(const struct network *net) { return back_offset(net, net->layers); }

int64_t lstm_gradient_size(const struct network *net) {
    return panels_offset(net, net->layers) + dense_size(net);
}

int64_t lstm_workspace_size(const struct network *net, int64_t windows) {
    struct workspace work;
    return lay_out_workspace(net, windows, NULL, &work);
}

/* Copies the flat weights [P] into the layout of the products: panels, dense weights, tiles of the backward product. */
void lstm_pack(const struct network *net, const float *flat, float *packed) {
    const int64_t units = net->units, width = padded(units);
    memset(packed, 0, sizeof(float) * lstm_packed_size(net));
    for (int l = 0; l < net->layers; l++) {
        const int64_t inputs = inputs_of(net, l), rows = panel_rows(net, l), count = back_vectors(net, l);
        const float *from = flat + flat_offset(net, l);
        float *panels = packed + panels_offset(net, l), *tiles = packed + back_offset(net, l);
        for (int64_t k = 0; k < rows; k++) /* W, U and b follow one another */
            for (int64_t gate = 0; gate < 4; gate++)
                for (int64_t u = 0; u < units; u++)
                    panels[(((u / LANES) * rows + k) * 4 + gate) * LANES + u % LANES] =
                        from[(k * 4 + gate) * units + u];
        /* Column c of the backward product is row c of U, then of W, transposed. */
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
    float *to = packed + panels_offset(net, net->layers);
    for (int64_t o = 0; o < net->outputs; o++) {
        for (int64_t u = 0; u < units; u++) to[o * width + u] = dense[u * net->outputs + o];
        to[net->outputs * width + o] = dense[units * net->outputs + o];
    }
}

/* The sum of `count` threads' gradients, times `scale`, in the order of the flat weights. */
void lstm_sum_gradients(const struct network *net, const float *const *gradients, int32_t count, float scale,
                        float *flat) {
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
        for (int64_t u = 0; l == net->layers && u <= units; u++)
            for (int64_t o = 0; o < net->outputs; o++) {
                const int64_t at = u < units ? o * padded(units) + u : net->outputs * padded(units) + o;
                float sum = 0;
                for (int32_t g = 0; g < count; g++) sum += gradients[g][offset + at];
                to[u * net->outputs + o] = scale * sum;
            }
    }
}

/* The sum of the losses of a part of a batch, and its gradient in the layout of the packed weights. The loss of a
 * window is the mean over its targets.
 *
 * windows: [count, rows, features]; first: index in the batch of the first of them; targets: [count, targets];
 * block: windows of a block, the size that the workspace was made for; keys: of the dropout masks. */
double lstm_loss(const struct network *net, loss_function *loss, const float *constants, const float *packed,
                 const float *windows, const float *targets, int64_t count, int64_t first, int64_t block,
                 const uint32_t *keys, float *workspace, float *gradient) {
    const int64_t outputs = net->outputs, each = outputs / net->targets;
    const int64_t width = padded(net->units), features = net->features;
    const int top = net->layers - 1;
    const float *dense = packed + panels_offset(net, net->layers);
    float *dense_gradient = gradient + panels_offset(net, net->layers);
    const uint64_t saved = flush_denormals();
    double sum = 0;
    memset(gradient, 0, sizeof(float) * lstm_gradient_size(net));
    for (int64_t from = 0; from < count; from += block) {
        const int64_t part = count - from < block ? count - from : block;
        struct workspace work;
        lay_out_workspace(net, part, workspace, &work);
        network_forward(net, packed, windows + from * net->rows * features, part, first + from, keys, &work,
                        work.outputs);
        const float *last = work.layer[top].h + net->rows * part * width;
        for (int64_t w = 0; w < part; w++) {
            float *change = work.changes + w * outputs;
            for (int64_t k = 0; k < net->targets; k++)
                sum += loss(work.outputs + w * outputs + k * each, targets[(from + w) * net->targets + k], constants,
                            (int)each, change + k * each);
            for (int64_t o = 0; o < outputs; o++) {
                change[o] /= net->targets;
                dense_gradient[outputs * width + o] += change[o];
            }
            for (int64_t u = 0; u < width; u++) {
                const float mask = net->dropout > 0 ? work.layer[top].masks[w * width + u] : 1.0f;
                float dh = 0;
                for (int64_t o = 0; o < outputs; o++) {
                    dense_gradient[o * width + u] += change[o] * mask * last[w * width + u];
                    dh += change[o] * mask * dense[o * width + u];
                }
                work.dh[w * width + u] = u < net->units ? dh : 0;
            }
        }
        for (int l = top; l >= 0; l--) {
            const struct trace *below = l ? &work.layer[l - 1] : NULL;
            if (l < top) memset(work.dh, 0, sizeof(float) * part * width);
            layer_backward(net, l, part, l ? below->dropped : work.windows, l ? width : features,
                           packed + back_offset(net, l), &work.layer[l], below, work.dh, work.dc,
                           gradient + panels_offset(net, l));
        }
    }
    restore_denormals(saved);
    return sum / net->targets;
}

/* Outputs [count, outputs] of windows [count, rows, features], without dropout. */
void lstm_forecast(const struct network *net, const float *packed, const float *windows, int64_t count, int64_t block,
                   float *workspace, float *outputs) {
    const uint64_t saved = flush_denormals();
    for (int64_t from = 0; from < count; from += block) {
        const int64_t part = count - from < block ? count - from : block;
        struct workspace work;
        lay_out_workspace(net, part, workspace, &work);
        network_forward(net, packed, windows + from * net->rows * net->features, part, 0, NULL, &work,
                        outputs + from * net->outputs);
    }
    restore_denormals(saved);
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
