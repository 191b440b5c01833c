// Finding cuBLASLt, and what becomes of products that it refuses.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/launch_graphs.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/tests/fake_cublaslt/fake_cublaslt.h"
#include "kernels/tests/message_of.h"
#include "kernels/tests/test_context.h"

namespace crossover::cuda {
namespace {

using crossover::testing::Grid;
using crossover::testing::Matrix;
using crossover::testing::Random;
using crossover::testing::TestContext;
using crossover::test::message_of;
using lt::Status;

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class CublasLtFakeTest : public ::testing::Test {
 protected:
  CublasLtFakeTest() : loaded_(::dlopen(CROSSOVER_FAKE_CUBLASLT, RTLD_NOW | RTLD_LOCAL)) {
    if (!loaded_) throw std::runtime_error(::dlerror());
    reset();
    tested.context.device = &device;
  }
  ~CublasLtFakeTest() override { reset(); }

  lt::CublasLtFake& fake() const { return *reinterpret_cast<decltype(&crossover_fake_cublaslt)>(::dlsym(loaded_, "crossover_fake_cublaslt"))(); }
  static CublasLt::Options options(bool must = false) { return {.libraries = {CROSSOVER_FAKE_CUBLASLT}, .fewest_tokens = 9, .fewest_sums = 0, .must = must}; }

  // x weight^T of so many tokens, its rows `pad` apart, close to the reference's. A shape has the same addresses, and so alignments, each time.
  void expect_right(CublasLt& library, std::int64_t tokens, std::int64_t rows, std::int64_t values, std::int64_t pad = 0) {
    auto& operands = operands_[{tokens, rows, values, pad}];
    if (!operands) operands = std::make_unique<Operands>(tokens, rows, values, pad);
    Operands& o = *operands;
    tested.context.cublaslt = &library;
    op::matmul(tested, o.x, o.weight, o.found);
    EXPECT_LE(crossover::testing::relative_error(o.found, o.expected), 6e-3) << tokens << " tokens";
    o.found.expect_gaps_untouched();
  }
  std::string path(const char* part) const {
    const auto it = tested.counters.paths.find(part);
    return it == tested.counters.paths.end() ? "" : it->second;
  }

  Device device{0};
  TestContext tested{{cuda_ops, std::nullopt, 1}};

 private:
  struct Operands {
    Operands(std::int64_t tokens, std::int64_t rows, std::int64_t values, std::int64_t pad)
        : x(tokens, values), expected(tokens, rows), found(tokens, rows, pad), weight(DType::kBF16, rows, values) {
      Random random(static_cast<std::uint64_t>(tokens * 7919 + rows));
      x.fill(random), weight.fill(random);
      TestContext reference(crossover::testing::reference_backend());
      op::matmul(reference, x, weight, expected);
    }
    Grid x, expected, found;
    Matrix weight;
  };
  std::map<std::array<std::int64_t, 4>, std::unique_ptr<Operands>> operands_;

  void reset() const { reinterpret_cast<decltype(&crossover_fake_cublaslt_reset)>(::dlsym(loaded_, "crossover_fake_cublaslt_reset"))(); }
  void* loaded_;
};

TEST_F(CublasLtFakeTest, IsFoundAmongNamesThatAreNotThere) {
  const lt::Library library({"libcublasLt.so.of.nobody", CROSSOVER_FAKE_CUBLASLT});
  EXPECT_EQ(library.path(), CROSSOVER_FAKE_CUBLASLT);
  EXPECT_EQ(library.version(), "13.1.0");
  fake().version = 120'903;
  EXPECT_EQ(lt::Library({CROSSOVER_FAKE_CUBLASLT}).version(), "12.9.3");
}

TEST_F(CublasLtFakeTest, AbsentOldOrForeignLibrariesAreNamed) {
  const std::string absent = message_of([] { lt::Library({"libcublasLt.so.of.nobody"}); });
  EXPECT_TRUE(says(absent, "no libcublasLt was found")) << absent;
  EXPECT_TRUE(says(absent, "CROSSOVER_CUDA_GEMM=own")) << absent;
  const std::string foreign = message_of([] { lt::Library({"libcublasLt.so.of.nobody", "libm.so.6"}); });
  EXPECT_TRUE(says(foreign, "libm.so.6 has no function cublasLtGetVersion")) << foreign;
  fake().version = 111'103;
  const std::string old = message_of([] { lt::Library({CROSSOVER_FAKE_CUBLASLT}); });
  EXPECT_TRUE(says(old, "is version 11.11.3, older than 12.0")) << old;
}

TEST_F(CublasLtFakeTest, OneThatDoesNotWorkHereIsPassedOver) {
  int tries = 0;
  const lt::Library second({"libm.so.6", CROSSOVER_FAKE_CUBLASLT, CROSSOVER_FAKE_CUBLASLT}, [&](const lt::Library&) { return ++tries == 1 ? "too new" : ""; });
  EXPECT_EQ(tries, 2);
  fake().on_create = Status::kNotInitialized;
  const std::string message = message_of([] { CublasLt library(options()); });
  EXPECT_TRUE(says(message, "cuBLASLt 13.1.0, cublasLtCreate: the library was not initialized (1)")) << message;
}

TEST_F(CublasLtFakeTest, AShapeIsAskedForOnce) {
  {
    CublasLt library(options(true));
    for (int pass = 0; pass < 3; ++pass) expect_right(library, 12, 24, 64);
    EXPECT_EQ(fake().heuristics, 1);
    EXPECT_EQ(fake().products, 3);
    expect_right(library, 13, 24, 64), expect_right(library, 12, 24, 64, 3);
    EXPECT_EQ(fake().heuristics, 3);
    EXPECT_EQ(library.shapes(), 3u);
    EXPECT_EQ(path("matmul.bf16"), "gemm-cublaslt");
    EXPECT_EQ(fake().stream, device.stream());
  }
  EXPECT_EQ(fake().objects, 0);
  EXPECT_EQ(fake().created, 1);
  EXPECT_EQ(fake().destroyed, 1);
  EXPECT_TRUE(fake().offences.empty()) << fake().offences.front();
}

// Which matrix is which, by leading dimensions that all differ.
TEST_F(CublasLtFakeTest, RowsOfOursAreColumnsOfTheLibrary) {
  CublasLt library(options(true));
  expect_right(library, 10, 24, 96, 5);
  const lt::FakeProduct& product = fake().last;
  EXPECT_EQ(product.rows, 24);
  EXPECT_EQ(product.columns, 10);
  EXPECT_EQ(product.values, 96);
  EXPECT_TRUE(product.transposed_a);
  EXPECT_FALSE(product.transposed_b);
  EXPECT_EQ(product.leading[0], 96);   // of the weight
  EXPECT_EQ(product.leading[1], 128);  // of x, padded
  EXPECT_EQ(product.leading[2], 29);   // of the result
  EXPECT_EQ(product.alignments[3], 4u);  // its rows are 116 bytes apart
}

TEST_F(CublasLtFakeTest, GetsTheWorkspaceThatItAskedFor) {
  CublasLt library(options(true));
  fake().workspace_bytes = 5000;
  expect_right(library, 16, 32, 64);
  EXPECT_TRUE(fake().offences.empty()) << fake().offences.front();
  fake().workspace_bytes = std::size_t{33} << 20;
  EXPECT_TRUE(says(message_of([&] { expect_right(library, 17, 32, 64); }), "not supported (15) for 17 tokens by bf16 [32, 64]"));
}

TEST_F(CublasLtFakeTest, WhatItRefusesIsOurs) {
  CublasLt library(options());
  fake().algorithms = 0;
  expect_right(library, 16, 32, 64), expect_right(library, 16, 32, 64);
  EXPECT_EQ(fake().heuristics, 1);
  EXPECT_EQ(path("matmul.bf16"), "gemm-mma-bf16");
  EXPECT_TRUE(says(path("gemm.refused"), "cuBLASLt 13.1.0, cublasLtMatmulAlgoGetHeuristic: the functionality is not supported (15) for 16 tokens by bf16 [32, 64]"))
      << path("gemm.refused");
  fake().algorithms = 1, fake().on_multiply = Status::kExecutionFailed;
  expect_right(library, 20, 32, 64);
  EXPECT_TRUE(says(path("gemm.refused"), "cublasLtMatmul: some status (13)")) << path("gemm.refused");
  fake().on_multiply = Status::kSuccess, fake().on_heuristic = Status::kNotSupported;
  expect_right(library, 21, 32, 64);
  EXPECT_EQ(path("matmul.bf16"), "gemm-mma-bf16");
  EXPECT_EQ(fake().products, 0);
}

TEST_F(CublasLtFakeTest, WhatItRefusesIsAnErrorWhereItMustBeUsed) {
  CublasLt library(options(true));
  fake().on_heuristic = Status::kNotSupported;
  const std::string message = message_of([&] { expect_right(library, 16, 32, 64); });
  EXPECT_TRUE(says(message, "CROSSOVER_CUDA_GEMM=auto leaves what it refuses to our kernel")) << message;
}

TEST_F(CublasLtFakeTest, IsAskedForLargeProductsOfBf16Alone) {
  const CublasLt library({.libraries = {CROSSOVER_FAKE_CUBLASLT}});
  const auto weight = [](DType type, std::int64_t rows) { return Tensor{nullptr, type, {1, rows, 5120}}; };
  EXPECT_TRUE(library.wants(weight(DType::kBF16, 5120), 2048));
  EXPECT_FALSE(library.wants(weight(DType::kBF16, 48), 2048));     // a wide gate: too few tiles without splitting K
  EXPECT_FALSE(library.wants(weight(DType::kBF16, 17408), 64));    // bound by memory
  EXPECT_FALSE(library.wants(weight(DType::kF16, 5120), 2048));
  EXPECT_FALSE(library.wants(weight(DType::kQ6_K, 5120), 2048));
}

// What waits to become a graph comes before a product that cannot.
TEST_F(CublasLtFakeTest, ComesAfterLaunchesThatWait) {
  CublasLt library(options(true));
  tested.context.cublaslt = &library;
  LaunchGraphs graphs(device);
  Random random(1);
  Grid x(12, 64), y(12, 64), out(12, 32), expected(12, 32);
  const Matrix weight = Matrix(DType::kBF16, 32, 64).fill(random);
  x.fill(random), y.fill(random);
  Grid sum = x;
  TestContext reference(crossover::testing::reference_backend());
  op::add(reference, sum, y), op::matmul(reference, sum, weight, expected), op::add(reference, expected, expected);
  graphs.run(true, [&] {
    op::add(tested, x, y);
    EXPECT_EQ(graphs.started(), 0);
    op::matmul(tested, x, weight, out);
    EXPECT_EQ(graphs.started(), 1);  // the sum, and x in bf16
    op::add(tested, out, out);
  });
  EXPECT_EQ(graphs.started(), 2);
  EXPECT_EQ(fake().products, 1);
  EXPECT_LE(crossover::testing::relative_error(out, expected), 6e-3);
}

// A gate and an up are two products there, and the rest of a pass is ours.
TEST_F(CublasLtFakeTest, TakesPairsApart) {
  CublasLt library(options(true));
  Random random(2);
  Grid x(20, 64), expected(20, 48), found(20, 48), expected_q(20, 16), found_q(20, 16);
  x.fill(random);
  const Matrix gate = Matrix(DType::kBF16, 48, 64).fill(random), up = Matrix(DType::kBF16, 48, 64).fill(random), half = Matrix(DType::kF16, 16, 64).fill(random);
  TestContext reference(crossover::testing::reference_backend());
  const auto run = [&](Context& context, Grid& pair, Grid& plain) {
    const std::vector<Projection> projections{{gate, pair, up}, {half, plain}};
    op::matmuls(context, x, projections);
  };
  run(reference, expected, expected_q);
  tested.context.cublaslt = &library;
  run(tested, found, found_q);
  EXPECT_LE(crossover::testing::relative_error(found, expected), 6e-3);
  EXPECT_LE(crossover::testing::relative_error(found_q, expected_q), 6e-3);
  EXPECT_EQ(fake().products, 2);
  EXPECT_EQ(path("matmul.f16"), "gemm-mma-bf16");
}

}  // namespace
}  // namespace crossover::cuda
