// Attention of a decode step: each completion's newest query over its prompt, whose keys and values all completions of
// a group share, and over its own tokens. bf16 in and out, sums in fp32. D, the width of a head, is set by the compiler.
//
// `split` gives each part of the keys to a warp that holds 16 queries and computes a softmax of its own, unnormalised;
// `merge` joins the parts by their maxima. Products are mma.m16n8k16. Its operands come straight from memory, 16 bytes a
// lane: the order of a product's inner axis is free, so a lane's fragments are what lies side by side in a row.

typedef unsigned short u16;
typedef unsigned int u32;

#define WARPS 4
#define PART 128  // keys of a prompt that one warp reads
#define TILES (D / 8)

struct Shape {
    int groups, group_size, heads, kv_heads, prompt_places, own_places, prompt_parts, q_stride, k_stride, v_stride;
};

__device__ __forceinline__ void mma(float c[4], const u32 a[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ u32 pack(float low, float high) {
    u32 out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

__device__ __forceinline__ float over_four_lanes_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ __forceinline__ float over_four_lanes_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

// Queries `low` and `high` (rows lane / 4 and lane / 4 + 8 of 16; null where there is none) over keys [from, to).
// Writes sums of D numbers to `out`, and (maximum, sum) to `scale`, both at `part` of each query's parts.
__device__ void attend(const u16* const rows[2], const u16* keys, const u16* values, int from, int to,
                       float* const out[2], float2* const scales[2]) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    u32 a[D / 16][4];
#pragma unroll
    for (int i = 0; i < D / 32; i++) {
        uint4 low = make_uint4(0, 0, 0, 0), high = low;
        if (rows[0]) low = *(const uint4*)(rows[0] + i * 32 + q * 8);
        if (rows[1]) high = *(const uint4*)(rows[1] + i * 32 + q * 8);
        a[2 * i][0] = low.x, a[2 * i][1] = high.x, a[2 * i][2] = low.y, a[2 * i][3] = high.y;
        a[2 * i + 1][0] = low.z, a[2 * i + 1][1] = high.z, a[2 * i + 1][2] = low.w, a[2 * i + 1][3] = high.w;
    }
    float o[TILES][4] = {}, maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    const float scale = rsqrtf((float)D) * 1.44269504f;

#pragma unroll 1
    for (int base = from; base < to; base += 16) {
        uint4 v[4][TILES / 8];
#pragma unroll
        for (int n = 0; n < 4; n++) {
            int key = min(base + (n / 2) * 8 + 2 * q + n % 2, to - 1);
#pragma unroll
            for (int i = 0; i < TILES / 8; i++) {
                v[n][i] = *(const uint4*)(values + (size_t)key * D + g * TILES + i * 8);
            }
        }
        float s[2][4] = {};
#pragma unroll
        for (int t = 0; t < 2; t++) {
            const u16* key = keys + (size_t)min(base + t * 8 + g, to - 1) * D + q * 8;
#pragma unroll
            for (int i = 0; i < D / 32; i++) {
                uint4 k = *(const uint4*)(key + i * 32);
                mma(s[t], a[2 * i], k.x, k.y);
                mma(s[t], a[2 * i + 1], k.z, k.w);
            }
        }
        u32 p[4];
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float top = maximum[row];
#pragma unroll
            for (int t = 0; t < 2; t++) {
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    float& x = s[t][2 * row + n];
                    x = base + t * 8 + 2 * q + n < to ? x * scale : -INFINITY;
                    top = fmaxf(top, x);
                }
            }
            top = over_four_lanes_max(top);
            float fade = exp2f(maximum[row] - top);
            maximum[row] = top;
            sum[row] *= fade;
#pragma unroll
            for (int t = 0; t < 2; t++) {
                float x = exp2f(s[t][2 * row] - top), y = exp2f(s[t][2 * row + 1] - top);
                sum[row] += x + y;
                p[2 * t + row] = pack(x, y);
            }
#pragma unroll
            for (int j = 0; j < TILES; j++) {
                o[j][2 * row] *= fade;
                o[j][2 * row + 1] *= fade;
            }
        }
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            const int word = j % 8 / 2;
            u32 w[4];
#pragma unroll
            for (int n = 0; n < 4; n++) {
                uint4 x = v[n][j / 8];
                w[n] = word == 0 ? x.x : word == 1 ? x.y : word == 2 ? x.z : x.w;
            }
            const u32 halves = j % 2 ? 0x7632 : 0x5410;
            mma(o[j], p, __byte_perm(w[0], w[1], halves), __byte_perm(w[2], w[3], halves));
        }
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float total = over_four_lanes_sum(sum[row]);
        if (!rows[row]) continue;
        if (q == 0) *scales[row] = make_float2(maximum[row], total);
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int j = 0; j < TILES; j += 4) {
                const int c = 2 * row + half;
                *(float4*)(out[row] + (2 * q + half) * TILES + j) =
                    make_float4(o[j][c], o[j + 1][c], o[j + 2][c], o[j + 3][c]);
            }
        }
    }
}

// `lengths`: [groups] of prompts, then [slots] of own tokens, the newest included, then [slots] the row of each slot or -1.
extern "C" __global__ void append(Shape shape, const int* lengths, const u16* k, const u16* v, u16* own_k, u16* own_v) {
    const int slots = shape.groups * shape.group_size, slot = blockIdx.x;
    const int row = lengths[shape.groups + slots + slot], place = lengths[shape.groups + slot] - 1;
    if (row < 0) return;
    for (int i = threadIdx.x * 8; i < shape.kv_heads * D; i += blockDim.x * 8) {
        size_t to = ((size_t)(slot * shape.kv_heads + i / D) * shape.own_places + place) * D + i % D;
        *(uint4*)(own_k + to) = *(const uint4*)(k + (size_t)row * shape.k_stride + i);
        *(uint4*)(own_v + to) = *(const uint4*)(v + (size_t)row * shape.v_stride + i);
    }
}

// Blocks of prompts first: group, key/value head, part, 64 queries. Then those of own tokens: slot, key/value head.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
split(Shape shape, const int* lengths, const u16* queries, const u16* prompt_k, const u16* prompt_v, const u16* own_k,
      const u16* own_v, float* sums, float2* scales) {
    const int slots = shape.groups * shape.group_size, repeat = shape.heads / shape.kv_heads;
    const int* row_of_slot = lengths + shape.groups + slots;
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, parts = shape.prompt_parts + WARPS;
    const int tiles = (shape.group_size * repeat + 16 * WARPS - 1) / (16 * WARPS);
    const int of_prompts = shape.groups * shape.kv_heads * shape.prompt_parts * tiles;

    const bool is_prompt = blockIdx.x < of_prompts;
    int block = is_prompt ? blockIdx.x : blockIdx.x - of_prompts;
    int head, part, from, to, first_slot, first, n_queries;
    const u16 *keys, *values;
    if (is_prompt) {
        first = (block % tiles * WARPS + warp) * 16, block /= tiles;
        part = block % shape.prompt_parts, block /= shape.prompt_parts;
        head = block % shape.kv_heads, block /= shape.kv_heads;
        first_slot = block * shape.group_size, n_queries = shape.group_size * repeat;
        from = part * PART, to = min(from + PART, lengths[block]);
        const size_t offset = (size_t)(block * shape.kv_heads + head) * shape.prompt_places * D;
        keys = prompt_k + offset, values = prompt_v + offset;
    } else {
        head = block % shape.kv_heads, block /= shape.kv_heads;
        first_slot = block, first = 0, n_queries = repeat, part = shape.prompt_parts + warp;
        const int length = lengths[shape.groups + block], chunk = (length + 16 * WARPS - 1) / (16 * WARPS) * 16;
        from = warp * chunk, to = min(from + chunk, length);
        const size_t offset = (size_t)(block * shape.kv_heads + head) * shape.own_places * D;
        keys = own_k + offset, values = own_v + offset;
    }
    const u16* rows[2] = {nullptr, nullptr};
    float* out[2] = {nullptr, nullptr};
    float2* scale[2] = {nullptr, nullptr};
    for (int n = 0; n < 2; n++) {
        const int query = first + g + 8 * n;
        const int row = query < n_queries ? row_of_slot[first_slot + query / repeat] : -1;
        if (row < 0) continue;
        const int of = head * repeat + query % repeat;
        rows[n] = queries + (size_t)row * shape.q_stride + of * D;
        const size_t at = ((size_t)row * shape.heads + of) * parts + part;
        out[n] = sums + at * D, scale[n] = scales + at;
    }
    if (!__any_sync(~0u, rows[0] != nullptr || rows[1] != nullptr)) return;
    attend(rows, keys, values, from, to, out, scale);
}

// A block a query, a thread a number.
extern "C" __global__ void merge(Shape shape, const float* sums, const float2* scales, u16* out) {
    const int parts = shape.prompt_parts + WARPS;
    sums += (size_t)blockIdx.x * parts * D, scales += (size_t)blockIdx.x * parts;
    float top = -INFINITY, total = 0, x = 0;
    for (int part = 0; part < parts; part++) top = fmaxf(top, scales[part].x);
    for (int part = 0; part < parts; part++) {
        const float2 scale = scales[part];
        if (scale.y == 0) continue;
        const float weight = exp2f(scale.x - top);
        total += weight * scale.y;
        x += weight * sums[part * D + threadIdx.x];
    }
    out[blockIdx.x * D + threadIdx.x] = (u16)pack(x / total, 0);
}
