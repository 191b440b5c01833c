// Gated DeltaNet of the cpu backend against the reference (double, token by token), and against itself: however a prompt is
// split, by either form, the same state has to come out.
#include <memory>

#include "kernels/tests/emulated_tiles.h"

namespace crossover {
namespace {

using testing::Backend;
using testing::Grid;
using testing::Random;
using testing::TestContext;

constexpr std::int64_t kDim = 128;

enum class Form { kRecurrent, kChunked, kChunkedF32 };
constexpr Form kForms[] = {Form::kRecurrent, Form::kChunked, Form::kChunkedF32};
const char* name(Form form) { return form == Form::kRecurrent ? "recurrent" : form == Form::kChunked ? "chunked" : "chunked f32"; }

void scan(Context& context, GdnScan operands, Form form, Rows out) {
  operands.f32_products = form == Form::kChunkedF32;
  (form == Form::kRecurrent ? op::gdn_recurrent : op::gdn_chunked)(context, operands, out);
}

// Of the largest value. bf16 rounds the operands of every product by up to 2^-9, so its error grows with the length of what is
// added up and not with the number of chunks: the state between chunks is f32.
constexpr double kBf16Limit = 1.2e-2;

const cpu::GdnChunks& chunks_of(const Backend& backend) { return (backend.micro ? *backend.micro : cpu::micro(*backend.isa)).gdn->chunked; }
bool in_bf16(const Backend& backend) { return std::string_view(chunks_of(backend).path).ends_with("bf16"); }
bool in_bf16(const Backend& backend, Form form) { return form == Form::kChunked && in_bf16(backend); }

struct Case {
  std::int64_t tokens, key_heads, ratio;
  HeadOrder order = HeadOrder::kTiled;
  float lowest_g = -3.0f, highest_g = 0.0f;
  float lowest_beta = 0.0f;
  bool equal_keys = false;
};

// Inputs with rows apart in memory, q and k of one buffer as the model has them.
struct Inputs {
  Case shape;
  Grid qk, v, g, beta, start;

  Inputs(const Case& c, Random& random)
      : shape(c),
        qk(c.tokens, 2 * c.key_heads * kDim, 8),
        v(c.tokens, value_heads() * kDim, 24),
        g(c.tokens, value_heads(), 3),
        beta(c.tokens, value_heads()),
        start(value_heads() * kDim, kDim) {
    qk.set([&](std::int64_t t, std::int64_t i) { return c.equal_keys && t > 0 ? qk.at(0, i) : testing::normal(random); });
    for (std::int64_t t = 0; t < c.tokens; ++t)
      for (std::int64_t h = 0; h < 2 * c.key_heads; ++h) normalise(t, h * kDim, h < c.key_heads ? 0.08838835f : 1.0f);
    v.fill(random);
    g.set([&](std::int64_t, std::int64_t) { return testing::uniform(random, c.lowest_g, c.highest_g); });
    beta.set([&](std::int64_t, std::int64_t) { return testing::uniform(random, c.lowest_beta, 1); });
    start.fill(random, 0.3f);
  }

  std::int64_t value_heads() const { return shape.key_heads * shape.ratio; }
  void normalise(std::int64_t t, std::int64_t first, float length) {
    double squares = 0;
    for (std::int64_t i = 0; i < kDim; ++i) squares += static_cast<double>(qk.at(t, first + i)) * static_cast<double>(qk.at(t, first + i));
    for (std::int64_t i = 0; i < kDim; ++i) qk.at(t, first + i) *= length / static_cast<float>(std::sqrt(squares));
  }

  GdnScan slice(std::int64_t first, std::int64_t count, Grid& state) const {
    const auto rows = [&](const Grid& x) { return static_cast<ConstRows>(x).slice(first, count); };
    return {.q = rows(qk).columns(0, shape.key_heads * kDim),
            .k = rows(qk).columns(shape.key_heads * kDim, shape.key_heads * kDim),
            .v = rows(v),
            .g = rows(g),
            .beta = rows(beta),
            .state = state.data(),
            .key_heads = shape.key_heads,
            .value_heads = value_heads(),
            .head_dim = kDim,
            .order = shape.order};
  }
};

struct Result {
  Grid out, state;
};

Result run(const Backend& backend, Form form, const Inputs& in, std::initializer_list<std::int64_t> pieces = {}) {
  TestContext context(backend);
  Result result{Grid(in.shape.tokens, in.value_heads() * kDim, 40), in.start};
  std::int64_t first = 0;
  const auto piece = [&](std::int64_t count) {
    scan(context, in.slice(first, count, result.state), form, static_cast<Rows>(result.out).slice(first, count));
    first += count;
  };
  for (const std::int64_t count : pieces) piece(count);
  if (first < in.shape.tokens) piece(in.shape.tokens - first);
  result.out.expect_gaps_untouched();
  result.state.expect_gaps_untouched();
  return result;
}

Result expected(const Inputs& in) { return run(testing::reference_backend(), Form::kRecurrent, in); }

void expect_near(const Result& found, const Result& wanted, double limit, const char* what) {
  EXPECT_LE(testing::relative_error(found.out, wanted.out), limit) << what << ": output";
  EXPECT_LE(testing::relative_error(found.state, wanted.state), limit) << what << ": state";
}

void expect_all_near(const Backend& backend, const Inputs& in, double limit) {
  const Result wanted = expected(in);
  for (const Form form : kForms) expect_near(run(backend, form, in), wanted, in_bf16(backend, form) ? kBf16Limit : limit, name(form));
}

class Gdn : public ::testing::TestWithParam<Backend> {
 protected:
  Random random{20240521};
};
INSTANTIATE_TEST_SUITE_P(Cpu, Gdn, ::testing::ValuesIn(testing::backends_with_emulated_tiles()), testing::test_name);

TEST_P(Gdn, EqualsTheReferenceAtEveryLength) {
  for (const std::int64_t tokens : {1, 2, 3, 15, 16, 17, 63, 64, 65, 128, 200}) {
    SCOPED_TRACE(tokens);
    expect_all_near(GetParam(), Inputs({.tokens = tokens, .key_heads = 2, .ratio = 2}, random), 3e-6);
  }
}

TEST_P(Gdn, EqualsTheReferenceOverThousandsOfTokens) {
  expect_all_near(GetParam(), Inputs({.tokens = 2000, .key_heads = 1, .ratio = 2, .lowest_g = -0.01f}, random), 1e-5);
}

TEST_P(Gdn, MapsValueHeadsToKeyHeads) {
  for (const std::int64_t ratio : {1, 2, 3, 4})
    for (const HeadOrder order : {HeadOrder::kTiled, HeadOrder::kGrouped}) {
      SCOPED_TRACE(::testing::Message() << ratio << " value heads per key head, order " << static_cast<int>(order));
      expect_all_near(GetParam(), Inputs({.tokens = 5, .key_heads = 3, .ratio = ratio, .order = order}, random), 3e-6);
    }
}

TEST_P(Gdn, HoldsWithoutDecay) {
  expect_all_near(GetParam(), Inputs({.tokens = 200, .key_heads = 1, .ratio = 1, .lowest_g = -1e-7f}, random), 3e-6);
}

TEST_P(Gdn, ForgetsEverythingWithoutNaN) {
  expect_all_near(GetParam(), Inputs({.tokens = 130, .key_heads = 1, .ratio = 2, .lowest_g = -20, .highest_g = -20}, random), 3e-6);
  expect_all_near(GetParam(), Inputs({.tokens = 130, .key_heads = 1, .ratio = 2, .lowest_g = -3000}, random), 3e-6);
}

// A sum of g in the hundreds in front of differences near zero: in f32 they would lose four digits.
TEST_P(Gdn, KeepsSmallDecaysAfterLargeOnes) {
  Inputs in({.tokens = 64, .key_heads = 1, .ratio = 1, .lowest_g = -0.02f}, random);
  for (std::int64_t t = 0; t < 20; ++t) in.g.at(t, 0) = -100;
  expect_all_near(GetParam(), in, 3e-6);
}

// Equal keys written with full strength: the triangular system of the chunk is as far from the identity as it can be.
TEST_P(Gdn, HoldsForEqualKeysAtFullStrength) {
  const Inputs in({.tokens = 200, .key_heads = 2, .ratio = 2, .lowest_g = -1e-4f, .lowest_beta = 0.9999f, .equal_keys = true}, random);
  expect_all_near(GetParam(), in, 3e-5);
}

TEST_P(Gdn, PiecesOfAnyLengthGiveTheSameBitsByRecurrence) {
  const Inputs in({.tokens = 200, .key_heads = 2, .ratio = 2}, random);
  const Result whole = run(GetParam(), Form::kRecurrent, in);
  for (const auto& pieces : {std::initializer_list<std::int64_t>{1, 1, 1, 61, 64, 65}, {3, 5, 100, 1}, {199}}) {
    const Result split = run(GetParam(), Form::kRecurrent, in, pieces);
    EXPECT_EQ(testing::relative_error(split.out, whole.out), 0);
    EXPECT_EQ(testing::relative_error(split.state, whole.state), 0);
  }
}

// At the borders of chunks nothing is rounded that a longer call would not round; elsewhere sums are associated anew.
TEST_P(Gdn, PiecesOfAnyLengthAgreeByChunks) {
  const Inputs in({.tokens = 200, .key_heads = 2, .ratio = 2}, random);
  for (const Form form : {Form::kChunked, Form::kChunkedF32}) {
    const Result whole = run(GetParam(), form, in);
    const std::int64_t chunk = form == Form::kChunked ? chunks_of(GetParam()).chunk_tokens : 16;
    for (const auto& pieces : {std::initializer_list<std::int64_t>{16, 32, 128}, {160}, {112, 64}, {64, 64, 64}, {128}}) {
      if (std::any_of(pieces.begin(), pieces.end(), [&](std::int64_t count) { return count % chunk != 0; })) continue;
      expect_near(run(GetParam(), form, in, pieces), whole, 0, "chunked in whole chunks");
    }
    for (const auto& pieces : {std::initializer_list<std::int64_t>{1, 1, 1, 61, 64, 65}, {3, 5, 100, 1}, {199}})
      expect_near(run(GetParam(), form, in, pieces), whole, in_bf16(GetParam(), form) ? kBf16Limit : 3e-6, "chunked in pieces");
  }
}

TEST(GdnThreads, DoNotChangeABit) {
  Random random{7};
  const Inputs in({.tokens = 130, .key_heads = 3, .ratio = 3}, random);
  for (const cpu::Isa isa : cpu::usable_isas())
    for (const Form form : kForms) {
      const Result one = run({cpu_ops, isa, 1}, form, in), three = run({cpu_ops, isa, 3}, form, in);
      EXPECT_EQ(testing::relative_error(three.out, one.out), 0);
      EXPECT_EQ(testing::relative_error(three.state, one.state), 0);
    }
}

TEST(GdnPath, IsReported) {
  Random random{7};
  const Inputs in({.tokens = 2, .key_heads = 1, .ratio = 1}, random);
  for (const cpu::Isa isa : cpu::usable_isas()) {
    TestContext context({cpu_ops, isa, 1});
    Grid state = in.start, out(2, kDim);
    const std::string set = cpu::name(isa == cpu::Isa::kAmx ? cpu::Isa::kAvx512 : isa), f32 = set + "-recurrent+" + set + "-chunked-f32";
    for (const Form form : {Form::kRecurrent, Form::kChunkedF32}) scan(context, in.slice(0, 2, state), form, out);
    EXPECT_EQ(context.counters.paths.at("gdn"), f32);
    scan(context, in.slice(0, 2, state), Form::kChunked, out);
    EXPECT_EQ(context.counters.paths.at("gdn"), isa >= cpu::Isa::kAvx512Bf16 ? f32 + "+" + cpu::name(isa) + "-chunked-bf16" : f32);
  }
}

// The mixer with the form that a CPU runs fastest against the reference, whole and in pieces.
struct Mixed {
  std::int64_t tokens, heads;
  testing::Matrix conv;
  Grid mixed, z, a, b, ssm_a, dt_bias, norm, conv_state, state;

  Mixed(std::int64_t t, std::int64_t h, Random& random)
      : tokens(t), heads(h), conv(DType::kF32, 2 * h * kDim, 4), mixed(t, 2 * h * kDim), z(t, h * kDim), a(t, h), b(t, h), ssm_a(1, h), dt_bias(1, h),
        norm(1, kDim), conv_state(3, 2 * h * kDim), state(h * kDim, kDim) {
    conv.fill(random, 0.5f);
    for (Grid* grid : {&mixed, &z, &a, &b, &dt_bias, &norm, &conv_state}) grid->fill(random);
    ssm_a.set([&](std::int64_t, std::int64_t) { return -testing::uniform(random, 0.01f, 0.5f); });
    state.fill(random, 0.1f);
  }

  // Two value heads on each key head.
  Result run(const Backend& backend, GdnForm form, std::initializer_list<std::int64_t> pieces, std::string* path = nullptr) const {
    TestContext context(backend);
    Result result{Grid(tokens, heads * kDim), state};
    Grid inputs = conv_state, rates = ssm_a, bias = dt_bias, scale = norm;
    std::int64_t first = 0;
    for (const std::int64_t count : pieces) {
      const auto rows = [&](const Grid& x) { return static_cast<ConstRows>(x).slice(first, count); };
      op::gdn_mixer(context, {.mixed = rows(mixed), .conv = conv, .a = rows(a), .b = rows(b), .ssm_a = rates.data(), .dt_bias = bias.data(), .z = rows(z),
                              .norm = scale.data(), .conv_state = inputs.data(), .state = result.state.data(), .key_heads = heads / 2,
                              .value_heads = heads, .form = form}, static_cast<Rows>(result.out).slice(first, count));
      first += count;
    }
    EXPECT_EQ(first, tokens);
    if (path) *path = context.counters.paths.at("gdn");
    return result;
  }
};

TEST_P(Gdn, MixerEqualsTheReferenceInEveryFormAndInPieces) {
  const Mixed in(200, 4, random);
  const Result wanted = in.run(testing::reference_backend(), GdnForm::kRecurrent, {200});
  for (const GdnForm form : {GdnForm::kAuto, GdnForm::kRecurrent, GdnForm::kChunked, GdnForm::kChunkedF32}) {
    const bool exact = form == GdnForm::kRecurrent || form == GdnForm::kChunkedF32 || !in_bf16(GetParam());
    for (const auto& pieces : {std::initializer_list<std::int64_t>{200}, {1, 2, 3, 66, 128}, {129, 1, 70}})
      expect_near(in.run(GetParam(), form, pieces), wanted, exact ? 1e-5 : kBf16Limit, "mixer");
  }
  const Result whole = in.run(GetParam(), GdnForm::kRecurrent, {200}), split = in.run(GetParam(), GdnForm::kRecurrent, {1, 1, 70, 128});
  expect_near(split, whole, 0, "recurrent mixer in pieces");
  for (const GdnForm form : {GdnForm::kChunked, GdnForm::kChunkedF32})
    expect_near(in.run(GetParam(), form, {64, 128, 8}), in.run(GetParam(), form, {200}), 0, "chunked mixer in whole chunks");
}

TEST_P(Gdn, AutoTakesChunksFromTheCrossingOn) {
  const std::int64_t crossing = chunks_of(GetParam()).from_tokens;
  for (const std::int64_t tokens : {std::int64_t{1}, crossing - 1, crossing, crossing + 100}) {
    std::string path;
    Mixed(tokens, 2, random).run(GetParam(), GdnForm::kAuto, {tokens}, &path);
    EXPECT_EQ(path.find("chunked") != std::string::npos, tokens >= crossing) << tokens << " tokens: " << path;
  }
}

}  // namespace
}  // namespace crossover
