// Loads for kernels that read each value of VALUE (float or double) once.

typedef long long int64;
#define WIDE 4

// Four neighbouring values, loaded 16 bytes at a time and not kept in the cache; `from` must be aligned to 16 bytes.
struct Four { VALUE at[WIDE]; };

__device__ __forceinline__ Four load(const float* from) {
    const float4 v = __ldcs(reinterpret_cast<const float4*>(from));
    Four four;
    four.at[0] = VALUE(v.x); four.at[1] = VALUE(v.y); four.at[2] = VALUE(v.z); four.at[3] = VALUE(v.w);
    return four;
}

__device__ __forceinline__ Four load(const double* from) {
    const double2 v = __ldcs(reinterpret_cast<const double2*>(from));
    const double2 w = __ldcs(reinterpret_cast<const double2*>(from) + 1);
    Four four;
    four.at[0] = VALUE(v.x); four.at[1] = VALUE(v.y); four.at[2] = VALUE(w.x); four.at[3] = VALUE(w.y);
    return four;
}
