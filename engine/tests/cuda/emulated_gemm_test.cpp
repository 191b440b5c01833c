// The engine on an emulated GPU whose products of many tokens a fake cuBLASLt makes.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/gemm_choice.h"
#include "engine/tests/reference_model.h"
#include "kernels/cuda/emulator/memory.h"
#include "kernels/cuda/tests/fake_cublaslt/fake_cublaslt.h"
#include "kernels/tests/message_of.h"

namespace crossover::test {
namespace {

constexpr const char* kNotHere = "libcublasLt_that_is_not_here.so.13";

class GemmEngine : public testing::Test {
 protected:
  GemmEngine() : loaded_(::dlopen(CROSSOVER_FAKE_CUBLASLT, RTLD_NOW | RTLD_LOCAL)) {
    if (!loaded_) throw std::runtime_error(::dlerror());
    reset();
    fake().with_memory = [](void (*body)(void*), void* context) {
      const cuda::emulated::OpenMemory open;
      body(context);
    };
  }
  ~GemmEngine() override { reset(); }

  cuda::lt::CublasLtFake& fake() const { return *reinterpret_cast<decltype(&crossover_fake_cublaslt)>(::dlsym(loaded_, "crossover_fake_cublaslt"))(); }
  static const ReferenceModel& model() { return reference_models().front(); }
  static EngineOptions options(const char* gemm, DType weights = DType::kBF16) {
    EngineOptions options = options_for(model());
    options.backend = "cuda", options.weights = weights, options.rehearses = false;
    options.cublaslt = {.libraries = {CROSSOVER_FAKE_CUBLASLT}, .fewest_tokens = 9, .fewest_sums = 0};
    options.knobs.set("CROSSOVER_CUDA_GEMM", gemm, "test");
    return options;
  }
  static std::vector<float> logits(Engine& engine) { return run_logits(engine, {model().prompt.begin(), model().prompt.begin() + 11}, {model().greedy.front()}); }
  static std::string path(const Engine& engine, const char* part) {
    const Counters counters = engine.counters();
    const auto it = counters.paths.find(part);
    return it == counters.paths.end() ? "none" : it->second;
  }

 private:
  void reset() const { reinterpret_cast<decltype(&crossover_fake_cublaslt_reset)>(::dlsym(loaded_, "crossover_fake_cublaslt_reset"))(); }
  void* loaded_;
};

TEST_F(GemmEngine, MultipliesPromptsByTheLibraryAndTokensByOurKernels) {
  Engine own(options("own"));
  const std::vector<float> expected = logits(own);
  EXPECT_EQ(path(own, "gemm"), "own");
  EXPECT_EQ(fake().created, 0);
  std::vector<float> found;
  {
    Engine engine(options("auto"));
    found = logits(engine);
    EXPECT_EQ(path(engine, "gemm"), "cublaslt");
    EXPECT_NE(path(engine, "matmul.bf16").find("gemm-cublaslt"), std::string::npos);
    EXPECT_EQ(path(engine, "matmul.bf16").find("gemm-mma-bf16"), std::string::npos);
    EXPECT_EQ(path(engine, "decode"), "graph");
    EXPECT_EQ(path(engine, "gemm.refused"), "none");
    EXPECT_GE(fake().products, 4 * engine.config().layers);  // of one prompt
    EXPECT_LE(fake().heuristics, fake().products);
  }
  EXPECT_TRUE(fake().offences.empty()) << fake().offences.front();
  EXPECT_EQ(fake().destroyed, 1);
  EXPECT_EQ(fake().objects, 0);
  // The same bf16 operands, sums in another order; a last bit of a sum that falls the other way when it is rounded to bf16 grows from layer to layer.
  EXPECT_LE(median_row_nmse(found.data(), expected, own.config().vocab), 1e-4);
}

TEST_F(GemmEngine, ProductsAreTheSameButForTheOrderOfSums) {
  const auto first_products = [](const EngineOptions& options) {
    Engine engine(options);
    std::vector<float> values;
    engine.set_probe(0, [&](std::string_view name, std::int64_t layer, ConstRows rows) {
      if (name == "gdn.conv_out" && layer == 0)
        for (std::int64_t r = 0; r < rows.rows; ++r) values.insert(values.end(), rows.row(r), rows.row(r) + rows.dim);
    });
    engine.feed(std::vector<std::int32_t>(model().prompt.begin(), model().prompt.begin() + 11));
    return values;
  };
  const std::vector<float> own = first_products(options("own")), found = first_products(options("cublaslt"));
  ASSERT_EQ(found.size(), own.size());
  ASSERT_FALSE(own.empty());
  EXPECT_LE(max_error(found.data(), own), 1e-5);
}

TEST_F(GemmEngine, AMissingLibraryIsOurKernelUnlessItWasAskedFor) {
  EngineOptions free = options("auto"), asked = options("cublaslt");
  free.cublaslt.libraries = asked.cublaslt.libraries = {kNotHere};
  EXPECT_EQ(path(Engine(free), "gemm"), "own (no cuBLASLt that works)");
  const std::string message = message_of([&] { Engine engine(asked); });
  EXPECT_NE(message.find("no libcublasLt was found"), std::string::npos) << message;
}

TEST_F(GemmEngine, WhatItRefusesIsOursUnlessItWasAskedFor) {
  fake().algorithms = 0;
  Engine free(options("auto")), asked(options("cublaslt"));
  EXPECT_FALSE(logits(free).empty());
  EXPECT_EQ(path(free, "matmul.bf16").find("gemm-cublaslt"), std::string::npos);
  EXPECT_NE(path(free, "gemm.refused").find("is not supported (15)"), std::string::npos) << path(free, "gemm.refused");
  const std::string message = message_of([&] { logits(asked); });
  EXPECT_NE(message.find("leaves what it refuses to our kernel"), std::string::npos) << message;
}

TEST_F(GemmEngine, IsNotOpenedForOtherWeights) {
  EngineOptions quantized = options("auto", DType::kQ6_K);
  quantized.cublaslt.libraries = {kNotHere};
  EXPECT_EQ(path(Engine(quantized), "gemm"), "none");
}

TEST_F(GemmEngine, OtherBackendsHaveNone) {
  EngineOptions cpu = options("cublaslt");
  cpu.backend = "cpu";
  EXPECT_NE(message_of([&] { Engine engine(cpu); }).find("CROSSOVER_CUDA_GEMM=cublaslt multiplies on GPUs, and the backend is cpu"), std::string::npos);
}

}  // namespace
}  // namespace crossover::test
