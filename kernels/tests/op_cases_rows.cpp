#include "kernels/tests/op_cases.h"

namespace crossover::testing {
namespace {

// f32 arithmetic: a few roundings per value, and for sums of up to 5120 squares in sixteen lanes a few more.
constexpr double kElementwise = 2e-6, kNorm = 4e-6;
// a + dt_bias is rounded to f32 before exp, which at -60 moves the result by 4e-6.
constexpr double kGates = 1e-5;

constexpr std::int64_t kDims[] = {1, 3, 15, 16, 17, 128, 1000};

struct Shape {
  std::int64_t rows, dim, pad;
  float scale;
  std::string what() const {
    return std::to_string(rows) + " x " + std::to_string(dim) + (pad ? " strided" : "") + " of scale " + std::to_string(scale);
  }
};

// Squares of 1e15 and 1e-15 stay inside f32; a sum of squares of larger ones would not, in any implementation that uses f32.
std::vector<Shape> shapes(float huge) {
  std::vector<Shape> all;
  for (const std::int64_t dim : kDims) all.push_back({5, dim, dim % 2 ? 7 : 0, 1});
  for (const std::int64_t rows : kTokenCounts) all.push_back({rows, 40, 3, 1});
  for (const float scale : {huge, 1 / huge}) all.push_back({3, 256, 0, scale});
  all.push_back({2, 5120, 0, 1});
  all.push_back({0, 64, 0, 1});
  return all;
}

void add_norm_cases(std::vector<OpCase>& cases) {
  for (const Shape& s : shapes(1e15f))
    for (const bool in_place : {false, true}) {
      const std::string what = s.what() + (in_place ? " in place" : "");
      auto inputs = [s](Random& random) { return std::pair(Grid(s.rows, s.dim, s.pad).fill(random, s.scale), Grid(1, s.dim).fill(random)); };
      cases.push_back({"rms_norm", what, Metric::kOfLargest, kNorm, [=](Context& context) {
                         Random random(1);
                         auto [x, weight] = inputs(random);
                         Grid out(s.rows, s.dim, 2);
                         op::rms_norm(context, x, weight.data(), 1e-6f, in_place ? x : out);
                         return Result{{in_place ? x : out}, {}, {}};
                       }});
      if (!in_place)
        cases.push_back({"add_rms_norm", what, Metric::kOfLargest, kNorm, [=](Context& context) {
                           Random random(6);
                           auto [x, weight] = inputs(random);
                           const Grid y = Grid(s.rows, s.dim, 3).fill(random, s.scale);
                           Grid out(s.rows, s.dim, 2);
                           op::add_rms_norm(context, x, y, weight.data(), 1e-6f, out);
                           return Result{{x, out}, {}, {}};
                         }});
      cases.push_back({"l2_norm", what, Metric::kOfLargest, kNorm, [=](Context& context) {
                         Random random(2);
                         auto [x, weight] = inputs(random);
                         Grid out(s.rows, s.dim, 2);
                         op::l2_norm(context, x, 1e-6f, 0.08838835f, in_place ? x : out);
                         return Result{{in_place ? x : out}, {}, {}};
                       }});
      cases.push_back({"gated_rms_norm", what, Metric::kOfLargest, kNorm, [=](Context& context) {
                         Random random(3);
                         auto [x, weight] = inputs(random);
                         const Grid z = Grid(s.rows, s.dim, 1).fill(random, 3);
                         Grid out(s.rows, s.dim, 2);
                         op::gated_rms_norm(context, x, weight.data(), z, 1e-6f, in_place ? x : out);
                         return Result{{in_place ? x : out}, {}, {}};
                       }});
    }
}

// All rows at 16 bytes: heads and hidden sizes, and one longer than a GPU's block holds.
void add_aligned_norm_cases(std::vector<OpCase>& cases) {
  for (const std::int64_t dim : {128, 516, 2048, 5120, 8192, 8196}) {
    const std::string what = "2 x " + std::to_string(dim) + " at 16 bytes";
    const auto add = [&](const char* op, auto call) {
      cases.push_back({op, what, Metric::kOfLargest, kNorm, [=](Context& context) {
                         Random random(17);
                         Grid x = Grid(2, dim, 4).fill(random), y = Grid(2, dim, 4).fill(random, 3), weight = Grid(1, dim).fill(random), out(2, dim, 8);
                         call(context, x, y, weight, out);
                         return Result{{x, out}, {}, {}};
                       }});
    };
    add("rms_norm", [](Context& context, Grid& x, Grid&, Grid& weight, Grid& out) { op::rms_norm(context, x, weight.data(), 1e-6f, out); });
    add("add_rms_norm", [](Context& context, Grid& x, Grid& y, Grid& weight, Grid& out) { op::add_rms_norm(context, x, y, weight.data(), 1e-6f, out); });
    add("l2_norm", [](Context& context, Grid& x, Grid&, Grid&, Grid& out) { op::l2_norm(context, x, 1e-6f, 0.08838835f, out); });
    add("gated_rms_norm", [](Context& context, Grid& x, Grid& y, Grid& weight, Grid& out) { op::gated_rms_norm(context, x, weight.data(), y, 1e-6f, out); });
  }
}

void add_zero_norm_cases(std::vector<OpCase>& cases) {
  cases.push_back({"rms_norm", "a row of zeros between others", Metric::kOfLargest, kNorm, [](Context& context) {
                     Random random(4);
                     Grid x = Grid(3, 64).fill(random), weight = Grid(1, 64).fill(random), out(3, 64);
                     for (std::int64_t i = 0; i < 64; ++i) x.at(1, i) = 0;
                     op::rms_norm(context, x, weight.data(), 1e-6f, out);
                     return Result{{out}, {}, {}};
                   }});
  cases.push_back({"l2_norm", "rows near and at zero, where the place of eps shows", Metric::kEach, kNorm, [](Context& context) {
                     Random random(5);
                     Grid x = Grid(4, 128).fill(random), out(4, 128);
                     x.set([&](std::int64_t r, std::int64_t i) { return r == 3 ? 0 : x.at(r, i) * (r == 0 ? 1e-3f : r == 1 ? 1e-4f : 1e-9f); });
                     op::l2_norm(context, x, 1e-6f, 1, out);
                     return Result{{out}, {}, {}};
                   }});
}

// Where exp saturates, underflows and turns subnormal, and both zeros.
constexpr float kExtremes[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-6f, -1e-6f, 17.0f, -17.0f, 87.0f, -87.0f, 88.8f, -88.8f, 104.0f, -104.0f, 300.0f, -300.0f, 1e4f, -1e4f};

Grid extremes(std::int64_t rows, std::int64_t dim, std::int64_t pad) {
  constexpr auto count = static_cast<std::int64_t>(std::size(kExtremes));
  return Grid(rows, dim, pad).set([&](std::int64_t r, std::int64_t i) { return kExtremes[(r * 7 + i) % count]; });
}

void add_elementwise_cases(std::vector<OpCase>& cases) {
  std::vector<Shape> all = shapes(1e6f);
  all.push_back({3, 37, 1, 0});  // scale 0: the extremes
  for (const Shape& s : all) {
    const std::string what = s.scale == 0 ? "extremes" : s.what();
    auto gate_of = [s](Random& random) { return s.scale == 0 ? extremes(s.rows, s.dim, 1) : Grid(s.rows, s.dim, 1).fill(random, 4); };
    auto x_of = [s](Random& random) { return Grid(s.rows, s.dim, s.pad).fill(random, s.scale == 0 ? 1 : s.scale); };
    cases.push_back({"add", what, Metric::kEach, 0, [=](Context& context) {
                       Random random(11);
                       Grid x = x_of(random);
                       op::add(context, x, gate_of(random));
                       return Result{{x}, {}, {}};
                     }});
    cases.push_back({"add_gated", what, Metric::kOfLargest, kElementwise, [=](Context& context) {
                       Random random(12);
                       Grid x = x_of(random), y = x_of(random), gate = s.scale == 0 ? extremes(s.rows, 1, 0) : Grid(s.rows, 1).fill(random, 4);
                       op::add_gated(context, x, y, gate);
                       return Result{{x}, {}, {}};
                     }});
    cases.push_back({"sigmoid_gate", what, Metric::kEach, kElementwise, [=](Context& context) {
                       Random random(13);
                       Grid x = x_of(random);
                       op::sigmoid_gate(context, x, gate_of(random));
                       return Result{{x}, {}, {}};
                     }});
    for (const int target : {0, 1, 2})  // a place of its own, over gate, over up
      cases.push_back({"swiglu", what + (target == 1 ? " over gate" : target == 2 ? " over up" : ""), Metric::kEach, kElementwise,
                       [=](Context& context) {
                         Random random(14);
                         Grid up = x_of(random), gate = gate_of(random), out(s.rows, s.dim, 5);
                         Grid& to = target == 1 ? gate : target == 2 ? up : out;
                         op::swiglu(context, gate, up, to);
                         return Result{{to}, {}, {}};
                       }});
  }
}

void add_conv_cases(std::vector<OpCase>& cases) {
  for (const std::int64_t channels : {1, 15, 16, 17, 100, 640})
    for (const std::vector<std::int64_t>& calls : std::vector<std::vector<std::int64_t>>{{1}, {2}, {3}, {4}, {65}, {1, 1, 1, 1, 1}, {2, 63, 0, 1, 4}}) {
      std::string what = std::to_string(channels) + " channels, calls of";
      for (const std::int64_t tokens : calls) what += " " + std::to_string(tokens);
      cases.push_back({"conv1d_silu", what, Metric::kOfLargest, kElementwise, [=](Context& context) {
                         Random random(21);
                         const Matrix weight = Matrix(DType::kF32, channels, 4).fill(random);
                         Grid state = Grid(1, 3 * channels).fill(random);
                         Result result;
                         for (const std::int64_t tokens : calls) {
                           const Grid x = Grid(tokens, channels, 9).fill(random);
                           Grid out(tokens, channels, 2);
                           op::conv1d_silu(context, x, weight, state.data(), out);
                           result.values.push_back(out);
                         }
                         const Tensor bytes{reinterpret_cast<std::byte*>(state.data()), DType::kF32, {1, 1, 3 * channels}};
                         result.bytes.assign(bytes.data, bytes.data + bytes.bytes());  // a copy of inputs: exact
                         result.values.push_back(state);
                         return result;
                       }});
    }
}

void add_gate_cases(std::vector<OpCase>& cases) {
  for (const std::int64_t tokens : kTokenCounts)
    for (const float scale : {1.0f, 30.0f, 1e4f})
      cases.push_back({"gdn_gates", std::to_string(tokens) + " tokens of scale " + std::to_string(scale), Metric::kEach, kGates,
                       [=](Context& context) {
                         Random random(31);
                         const std::int64_t heads = tokens % 5 + 14;
                         const Grid a = Grid(tokens, heads, 2).fill(random, scale), b = Grid(tokens, heads, 2).fill(random, scale);
                         Grid ssm_a(1, heads), dt_bias = Grid(1, heads).fill(random);
                         ssm_a.set([&](std::int64_t, std::int64_t) { return -uniform(random, 0.01f, 16); });
                         Grid g(tokens, heads, 1), beta(tokens, heads, 3);
                         op::gdn_gates(context, a, b, ssm_a.data(), dt_bias.data(), g, beta);
                         return Result{{g, beta}, {}, {}};
                       }});
}

void add_rope_cases(std::vector<OpCase>& cases) {
  struct Rope {
    std::int64_t tokens, heads, first, dim, rotary;
    double theta;
  };
  std::vector<Rope> ropes;
  for (const std::int64_t tokens : kTokenCounts) ropes.push_back({tokens, 3, 0, 256, 64, 1e7});
  for (const std::int64_t first : {1, 77, 4095, 262000, 1000000}) ropes.push_back({4, 2, first, 256, 64, 1e7});
  ropes.push_back({3, 2, 5, 64, 64, 1e4});
  ropes.push_back({3, 1, 5, 6, 2, 1e4});
  ropes.push_back({3, 1, 5, 40, 20, 1e4});
  ropes.push_back({2, 1, 5, 16, 0, 1e4});
  for (const Rope& r : ropes) {
    const std::string what = std::to_string(r.tokens) + " tokens of " + std::to_string(r.heads) + " heads from " + std::to_string(r.first) + ", " +
                             std::to_string(r.rotary) + " of " + std::to_string(r.dim);
    const auto angles_of = [r](Context& context) {
      Grid angles(r.tokens, r.rotary, 3);
      op::rope_angles(context, r.first, r.theta, angles);
      return angles;
    };
    cases.push_back({"rope_angles", what, Metric::kOfLargest, kElementwise, [=](Context& context) { return Result{{angles_of(context)}, {}, {}}; }});
    cases.push_back({"norm_rope", what, Metric::kOfLargest, kNorm, [=](Context& context) {
                       Random random(41);
                       Grid x = Grid(r.tokens * r.heads, r.dim, r.dim).fill(random);  // queries lie between their gates
                       Grid weight = Grid(1, r.dim).fill(random);
                       op::norm_rope(context, x, weight.data(), 1e-6f, r.heads, angles_of(context));
                       return Result{{x}, {}, {}};
                     }});
  }
}

void add_rotate_cases(std::vector<OpCase>& cases) {
  const auto add = [&](Rotation rotation, std::int64_t rows, std::int64_t dim, float scale) {
    for (const bool back : {false, true})
      cases.push_back({"rotate", std::string(name(rotation)) + (back ? " back, " : ", ") + Shape{rows, dim, 5, scale}.what(), Metric::kOfLargest,
                       kElementwise, [=](Context& context) {
                         Random random(42);
                         Grid x = Grid(rows, dim, 5).fill(random, scale);
                         op::rotate(context, x, rotation, back);
                         return Result{{x}, {}, {}};
                       }});
  };
  for (const std::int64_t dim : {16, 32, 64, 128, 256})
    for (const float scale : {1.0f, 1e15f, 1e-15f}) add(Rotation::kHadamard, 5, dim, scale);
  for (const std::int64_t dim : {128, 256, 384}) add(Rotation::kSigned, 5, dim, 1);
  for (const std::int64_t rows : kTokenCounts) add(Rotation::kHadamard, rows, 256, 1);
  add(Rotation::kSigned, 0, 256, 1);
  add(Rotation::kNone, 3, 20, 1);
}

}  // namespace

std::vector<OpCase> row_cases() {
  std::vector<OpCase> cases;
  add_norm_cases(cases);
  add_aligned_norm_cases(cases);
  add_zero_norm_cases(cases);
  add_elementwise_cases(cases);
  add_conv_cases(cases);
  add_gate_cases(cases);
  add_rope_cases(cases);
  add_rotate_cases(cases);
  return cases;
}

}  // namespace crossover::testing
