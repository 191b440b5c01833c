#include "kernels/tests/op_cases.h"

namespace crossover::testing {
namespace {

// f32 state and f32 products against double: a state that keeps its values sums them over the whole call. gdn_test.cpp has bf16.
constexpr double kScan = 3e-5, kAttention = 2e-5;

// Each rounding to bf16 is off by up to 2^-9; scores of a few units move weights by as much again.
constexpr double kAttentionBf16 = 1e-2;

// A GPU's products are of halves where no cache is bf16: off by 2^-12, an eighth of that. It too keeps f32 for f32 caches, and for Q6_K.
constexpr double kAttentionHalves = kAttentionBf16 / 8;
double attention_on_device(DType keys, DType values, double in_f32) {
  const auto either = [&](DType type) { return keys == type || values == type; };
  if (either(DType::kF32) || either(DType::kQ6_K)) return in_f32;
  return either(DType::kBF16) ? kAttentionBf16 : kAttentionHalves;
}

constexpr std::int64_t kHeadDim = 128;

enum class Decay { kUsual, kNone, kStrong, kMixed };

struct Scan {
  std::int64_t key_heads, value_heads;
  HeadOrder order;
  std::vector<std::int64_t> calls;  // tokens of consecutive calls, the state handed over
  Decay decay = Decay::kUsual;
  float value_scale = 1;
  float key_spread = 1;  // small: all keys of a head nearly the same, beta near 1
  std::string what() const {
    std::string text = std::to_string(value_heads) + " over " + std::to_string(key_heads) + (order == HeadOrder::kTiled ? " tiled" : " grouped") +
                       ", decay " + std::to_string(static_cast<int>(decay)) + ", values of " + std::to_string(value_scale) + ", keys spread " +
                       std::to_string(key_spread) + ", calls of";
    for (const std::int64_t tokens : calls) text += " " + std::to_string(tokens);
    return text;
  }
};

float log_decay(Decay decay, Random& random) {
  switch (decay) {
    case Decay::kUsual: return -uniform(random, 0, 0.3f);
    case Decay::kNone: return random() % 2 ? -0.0f : -1e-7f;
    case Decay::kStrong: return -20;
    case Decay::kMixed: return random() % 3 ? -uniform(random, 0, 0.01f) : -uniform(random, 5, 500);
  }
  return 0;
}

// [tokens, heads * 128] with each head's vector of length `length`; `common` is shared by the tokens.
void fill_heads(Grid& grid, std::int64_t first_column, std::int64_t heads, float spread, float length, Random& random) {
  std::vector<float> common(static_cast<std::size_t>(heads * kHeadDim));
  for (float& value : common) value = normal(random);
  for (std::int64_t t = 0; t < grid.row_count(); ++t)
    for (std::int64_t h = 0; h < heads; ++h) {
      double sum = 0;
      for (std::int64_t i = 0; i < kHeadDim; ++i) {
        float& value = grid.at(t, first_column + h * kHeadDim + i);
        value = spread * normal(random) + (1 - spread) * common[static_cast<std::size_t>(h * kHeadDim + i)];
        sum += static_cast<double>(value) * value;
      }
      for (std::int64_t i = 0; i < kHeadDim; ++i) grid.at(t, first_column + h * kHeadDim + i) *= length / static_cast<float>(std::sqrt(sum));
    }
}

Result run_scan(Context& context, const Scan& s, void (*scan)(Context&, const GdnScan&, Rows)) {
  Random random(91);
  const std::int64_t keys = s.key_heads * kHeadDim, values = s.value_heads * kHeadDim;
  Grid state = Grid(1, s.value_heads * kHeadDim * kHeadDim).fill(random, 0.1f * s.value_scale);
  Result result;
  for (const std::int64_t tokens : s.calls) {
    Grid mixed(tokens, 2 * keys + values, 4);  // q, k and v lie side by side, as the convolution leaves them
    mixed.fill(random, s.value_scale);
    fill_heads(mixed, 0, s.key_heads, 1, 0.08838835f, random);
    fill_heads(mixed, keys, s.key_heads, s.key_spread, 1, random);
    Grid g(tokens, s.value_heads, 2), beta(tokens, s.value_heads, 1), out(tokens, values, 7);
    g.set([&](std::int64_t, std::int64_t) { return log_decay(s.decay, random); });
    beta.set([&](std::int64_t, std::int64_t) { return s.key_spread < 1 ? uniform(random, 0.95f, 1) : uniform(random, 0, 1); });
    const ConstRows qkv = mixed;
    scan(context, {qkv.columns(0, keys), qkv.columns(keys, keys), qkv.columns(2 * keys, values), g, beta, state.data(), s.key_heads, s.value_heads,
                   kHeadDim, s.order, true}, out);
    result.values.push_back(out);
  }
  result.values.push_back(state);
  return result;
}

void add_scan_cases(std::vector<OpCase>& cases) {
  std::vector<Scan> scans;
  for (const std::int64_t tokens : kTokenCounts) scans.push_back({1, 2, HeadOrder::kTiled, {tokens}});
  for (const HeadOrder order : {HeadOrder::kTiled, HeadOrder::kGrouped})
    for (const std::int64_t ratio : {1, 2, 3, 4})
      for (const std::int64_t tokens : {1, 20, 70}) scans.push_back({2, 2 * ratio, order, {tokens}});
  for (const Decay decay : {Decay::kNone, Decay::kStrong, Decay::kMixed})
    for (const std::int64_t tokens : {1, 64, 65, 130}) scans.push_back({1, 2, HeadOrder::kTiled, {tokens}, decay});
  scans.push_back({2, 4, HeadOrder::kTiled, {1, 1, 3, 64, 0, 65, 2}});
  scans.push_back({1, 1, HeadOrder::kTiled, {700}});
  for (const float scale : {1e6f, 1e-6f}) scans.push_back({1, 2, HeadOrder::kTiled, {70}, Decay::kUsual, scale});
  scans.push_back({1, 2, HeadOrder::kTiled, {130}, Decay::kUsual, 1, 0.1f});
  scans.push_back({0, 0, HeadOrder::kTiled, {3}});
  for (const Scan& s : scans) {
    cases.push_back({"gdn_recurrent", s.what(), Metric::kOfLargest, kScan, [s](Context& context) { return run_scan(context, s, op::gdn_recurrent); }});
    cases.push_back({"gdn_chunked", s.what(), Metric::kOfLargest, kScan, [s](Context& context) { return run_scan(context, s, op::gdn_chunked); }});
  }
}

struct Mixed {
  std::int64_t key_heads, ratio;
  HeadOrder order;
  std::vector<std::int64_t> calls;  // tokens of consecutive calls, the states handed over
  GdnForm form;
  bool shown = false;  // with the values in between
  std::string what() const {
    std::string text = std::to_string(ratio) + " value heads on each of " + std::to_string(key_heads) + (order == HeadOrder::kTiled ? " tiled" : " grouped") +
                       ", form " + std::to_string(static_cast<int>(form)) + (shown ? ", shown" : "") + ", calls of";
    for (const std::int64_t tokens : calls) text += " " + std::to_string(tokens);
    return text;
  }
};

Result run_mixer(Context& context, const Mixed& m) {
  Random random(93);
  const std::int64_t heads = m.key_heads * m.ratio, channels = (2 * m.key_heads + heads) * kHeadDim, values = heads * kHeadDim;
  const Matrix conv = Matrix(DType::kF32, channels, 4).fill(random, 0.5f);
  Grid conv_state = Grid(3, channels).fill(random), state = Grid(1, values * kHeadDim).fill(random, 0.1f);
  Grid ssm_a(1, heads), dt_bias = Grid(1, heads).fill(random), norm = Grid(1, kHeadDim).fill(random);
  ssm_a.set([&](std::int64_t, std::int64_t) { return -uniform(random, 0.01f, 1); });
  Result result;
  for (const std::int64_t tokens : m.calls) {
    const Grid mixed = Grid(tokens, channels, 4).fill(random), z = Grid(tokens, values, 9).fill(random);
    const Grid a = Grid(tokens, heads, 2).fill(random), b = Grid(tokens, heads, 5).fill(random);
    Grid out(tokens, values, 7), conv_out(tokens, channels, 3), g(tokens, heads, 1), beta(tokens, heads, 2);
    GdnMixer mixer{.mixed = mixed, .conv = conv, .a = a, .b = b, .ssm_a = ssm_a.data(), .dt_bias = dt_bias.data(), .z = z, .norm = norm.data(),
                   .conv_state = conv_state.data(), .state = state.data(), .key_heads = m.key_heads, .value_heads = heads, .order = m.order, .form = m.form};
    if (m.shown) mixer.conv_out = conv_out, mixer.g = g, mixer.beta = beta;
    op::gdn_mixer(context, mixer, out);
    result.values.push_back(out);
    if (m.shown) result.values.insert(result.values.end(), {conv_out, g, beta});
  }
  result.values.push_back(conv_state), result.values.push_back(state);
  return result;
}

void add_mixer_cases(std::vector<OpCase>& cases) {
  std::vector<Mixed> list;
  for (const GdnForm form : {GdnForm::kRecurrent, GdnForm::kChunkedF32}) {
    for (const std::int64_t tokens : kTokenCounts) list.push_back({1, 2, HeadOrder::kTiled, {tokens}, form});
    for (const HeadOrder order : {HeadOrder::kTiled, HeadOrder::kGrouped})
      for (const std::int64_t ratio : {1, 2, 3})
        for (const std::int64_t tokens : {1, 20}) list.push_back({3, ratio, order, {tokens}, form, ratio == 2});
    list.push_back({2, 2, HeadOrder::kTiled, {1, 1, 3, 64, 0, 2, 129, 2, 2}, form});
    list.push_back({1, 1, HeadOrder::kTiled, {2, 260, 1}, form, true});
    list.push_back({0, 0, HeadOrder::kTiled, {3}, form});
  }
  for (const Mixed& m : list) cases.push_back({"gdn_mixer", m.what(), Metric::kOfLargest, kScan, [m](Context& context) { return run_mixer(context, m); }});
}

// Every type that a cache may have; its rows are exact once written, so the tolerance of attention is the same for all.
constexpr DType kCacheTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0, DType::kQ4_0,
                                 DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ6_K};

// In f32, so that what rotation leaves of rounding does not decide a code.
Result run_rotated_kv_write(Context& context, Rotation rotation, std::int64_t head_dim, std::int64_t tokens) {
  Random random(102);
  const Grid x = Grid(tokens, 3 * head_dim, 11).fill(random);
  Grid cache = Grid(tokens + 4, 3 * head_dim).fill(random);
  const Tensor rows{reinterpret_cast<std::byte*>(cache.data()), DType::kF32, {1, tokens + 4, 3 * head_dim}};
  op::kv_write(context, x, {rows, rotation, head_dim}, 2);
  return Result{{cache}, {}, {}};
}

Result run_kv_write(Context& context, DType dtype, std::int64_t tokens, float scale) {
  Random random(101);
  constexpr std::int64_t kCapacity = 140, kFirst = 3, kCols = 512;
  const Matrix cache = Matrix(dtype, kCapacity, kCols).fill(random);
  Grid x = Grid(tokens, kCols, 11).fill(random, scale);
  for (std::int64_t i = 0; i < kCols / 2 && tokens > 1; ++i) x.at(1, i) = i % 64 < 32 ? 0.0f : i % 2 ? 0.5f * scale : -0.5f * scale;  // zeros and ties
  op::kv_write(context, x, cache.tensor(), kFirst);
  return Result{{}, {}, cache.bytes()};
}

void add_kv_write_cases(std::vector<OpCase>& cases) {
  for (const DType dtype : kCacheTypes)
    for (const float scale : {1.0f, 1e-3f, 1e3f})
      for (const std::int64_t tokens : {0, 1, 2, 17, 65, 137})
        cases.push_back({"kv_write", std::string(name(dtype)) + ", " + std::to_string(tokens) + " tokens of scale " + std::to_string(scale),
                         Metric::kEach, 0, [=](Context& context) { return run_kv_write(context, dtype, tokens, scale); }});
  for (const Rotation rotation : {Rotation::kHadamard, Rotation::kSigned})
    for (const std::int64_t head_dim : {128, 256})
      for (const std::int64_t tokens : {0, 1, 17, 65})
        cases.push_back({"kv_write", std::string(name(rotation)) + ", " + std::to_string(tokens) + " tokens, heads of " + std::to_string(head_dim),
                         Metric::kOfLargest, 2e-6, [=](Context& context) { return run_rotated_kv_write(context, rotation, head_dim, tokens); }});
}

struct Attend {
  DType keys, values;
  std::int64_t tokens, past, heads = 4, kv_heads = 2, head_dim = 256;
  float query_scale = 1;
  double tolerance = kAttention;
  Rotation key_rotation = Rotation::kNone, value_rotation = Rotation::kNone;
  bool gated = false;
  std::string what() const {
    return std::string(name(keys)) + " keys, " + name(values) + " values, " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " +
           std::to_string(head_dim) + ", " + std::to_string(tokens) + " after " + std::to_string(past) + ", queries of " + std::to_string(query_scale) + ", rotated " + crossover::name(key_rotation) + "/" +
           crossover::name(value_rotation) + (gated ? ", gated" : "");
  }
};

// Rows that hold no token yet are NaN, or what all-ones bytes mean in a block format: they may not leak into any result.
Matrix filled_cache(DType dtype, std::int64_t filled, std::int64_t cols, Random& random) {
  constexpr std::int64_t kUnused = 37;
  const Matrix tokens = Matrix(dtype, filled, cols).fill(random);
  const Matrix cache(dtype, filled + kUnused, cols);
  std::fill_n(cache.tensor().data, cache.tensor().bytes(), std::byte{0xff});
  std::copy_n(tokens.tensor().data, tokens.tensor().bytes(), cache.tensor().data);
  return cache;
}

void add_attention_cases(std::vector<OpCase>& cases) {
  std::vector<Attend> all;
  for (const std::int64_t tokens : kTokenCounts) all.push_back({DType::kF32, DType::kF32, tokens, 0});
  for (const DType dtype : kCacheTypes)
    for (const std::int64_t tokens : {1, 5, 70})
      for (const std::int64_t past : {0, 130}) all.push_back({dtype, dtype, tokens, past});
  for (const std::int64_t past : {1, 31, 32, 63, 64, 65, 127, 128, 255, 256, 511, 1500})
    for (const std::int64_t tokens : {1, 3}) all.push_back({DType::kF16, DType::kQ8_0, tokens, past});
  for (const std::int64_t heads : {1, 3, 8, 24})
    for (const std::int64_t tokens : {1, 9}) all.push_back({DType::kF32, DType::kF16, tokens, 40, heads, heads % 4 ? 1 : heads / 4});
  all.push_back({DType::kF32, DType::kF32, 9, 40, 4, 4});
  for (const std::int64_t dim : {32, 64, 96, 128}) all.push_back({DType::kF32, DType::kQ8_0, 9, 40, 4, 2, dim});
  for (const std::int64_t tokens : {1, 40}) {
    all.push_back({DType::kF32, DType::kF32, tokens, 100, 4, 2, 256, 0});      // all keys weigh the same
    all.push_back({DType::kF32, DType::kF32, tokens, 100, 4, 2, 256, 60, 1e-3});  // one key takes all: f32 scores near 200 are off by 1e-5
    all.push_back({DType::kF32, DType::kF32, tokens, 100, 4, 2, 256, 1e6f, 1e-3});
  }
  all.push_back({DType::kF32, DType::kF32, 0, 5});
  for (const Rotation keys : {Rotation::kNone, Rotation::kHadamard, Rotation::kSigned})
    for (const Rotation values : {Rotation::kNone, Rotation::kHadamard, Rotation::kSigned})
      for (const std::int64_t tokens : {1, 40})
        for (const DType dtype : {DType::kF32, DType::kQ8_0}) all.push_back({dtype, dtype, tokens, 20, 4, 2, 256, 1, kAttention, keys, values, true});
  // The groups of the models, few tokens and many; many blocks of few tokens each; few blocks over many keys.
  for (const std::int64_t tokens : {1, 2, 3, 40}) {
    all.push_back({DType::kF16, DType::kF16, tokens, 200, 16, 2});
    all.push_back({DType::kQ8_0, DType::kQ4_0, tokens, 200, 24, 4});
  }
  all.push_back({DType::kF16, DType::kF16, 17, 0, 528, 66});
  for (const Rotation rotation : {Rotation::kNone, Rotation::kHadamard})
    all.push_back({DType::kQ8_0, DType::kF16, 9, 1100, 8, 1, 256, 1, kAttention, rotation, rotation, true});
  const std::size_t types = std::size(kCacheTypes);
  for (std::size_t i = 0; i < types; ++i)
    for (const std::size_t other : {1, 2, 4})
      for (const std::int64_t tokens : {1, 9}) all.push_back({kCacheTypes[i], kCacheTypes[(i + other) % types], tokens, 70, 8, 1});
  for (const Attend& a : all)
    cases.push_back({"attention", a.what(), Metric::kOfLargest, a.tolerance, [a](Context& context) {
                       Random random(111);
                       const Matrix keys = filled_cache(a.keys, a.past + a.tokens, a.kv_heads * a.head_dim, random);
                       const Matrix values = filled_cache(a.values, a.past + a.tokens, a.kv_heads * a.head_dim, random);
                       const Grid q = Grid(a.tokens * a.heads, a.head_dim, a.head_dim).fill(random, a.query_scale);
                       Grid out(a.tokens * a.heads, a.head_dim, 3);
                       const float scale = 1 / std::sqrt(static_cast<float>(a.head_dim));
                       const Grid gate = Grid(a.tokens * a.heads, a.head_dim, a.head_dim).fill(random, 2);
                       op::attention(context,
                                     {q, {keys, a.key_rotation, a.head_dim}, {values, a.value_rotation, a.head_dim}, a.past, a.heads, a.kv_heads,
                                      scale, a.gated ? static_cast<ConstRows>(gate) : ConstRows()},
                                     out);
                       return Result{{out}, {}, {}};
                     }, a.keys == DType::kF32 || a.values == DType::kF32 ? 0 : kAttentionBf16, attention_on_device(a.keys, a.values, a.tolerance)});
}

}  // namespace

std::vector<OpCase> sequence_cases() {
  std::vector<OpCase> cases;
  add_scan_cases(cases);
  add_mixer_cases(cases);
  add_kv_write_cases(cases);
  add_attention_cases(cases);
  return cases;
}

}  // namespace crossover::testing
