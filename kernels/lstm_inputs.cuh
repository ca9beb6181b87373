// How the layers read their windows: [PARTS][rows][windows][width], a row's windows in tiles of 64 (lstm_tiles.cuh)
// where TILED.

// Where in a row's array a number lies.
INLINE int64 input_place(int window, int f, int width) {
#if TILED
    return int64(window) * 16 + (f / 8 ^ window / 4 % 2) * 8 + f % 8;
#else
    return int64(window) * width + f;
#endif
}

// Infinity becomes NaN, which ends in the loss; saturated gates would hide it there, but not in the gradient.
INLINE float checked(float value) { return fmaf(value, 0.0f, value); }

// Two features of a window, in their parts, which lie `plane` numbers apart.
INLINE void store_inputs(bf16* at, int64 plane, float a, float b) {
    uint32 parts[PARTS];
    split(checked(a), checked(b), parts);
    UNROLL for (int part = 0; part < PARTS; ++part) *reinterpret_cast<uint32*>(at + part * plane) = parts[part];
}
