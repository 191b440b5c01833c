// Products with weights: the shapes of the 27B (a quarter of a feed-forward matrix) and of the 35B-A3B (a projection, the experts).
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "bench/micro/kernel_row.h"
#include "kernels/formats/panels.h"

namespace crossover::micro_bench {
namespace {

constexpr std::int64_t kDecodingTokens = 16;  // fewer: one pass over the weights, so they have to come from memory

// The layout that a load gives to these weights; "matmul/q6_k-rows" is that of the file.
void add_matmul(DType dtype, Layout layout, cpu::Isa isa, std::int64_t tokens, std::int64_t n, std::int64_t k, int threads) {
  add_row(fmt::format("matmul/{}{}", name(dtype), has_panels(dtype) && layout == Layout::kRows ? "-rows" : ""), isa, fmt::format("M:{}/N:{}/K:{}", tokens, n, k), threads, [=](std::shared_ptr<CpuContext> context) {
    const bool decodes = tokens < kDecodingTokens;
    const Tensor first{weights(dtype, layout), dtype, {1, n, k}, layout};
    const std::int64_t bytes = first.bytes(), matrices = decodes ? kMemoryBytes / bytes : 1;
    auto x = std::make_shared<std::vector<float>>(random_floats(tokens * k));
    auto out = std::make_shared<std::vector<float>>(static_cast<std::size_t>(tokens * n));
    const auto work = [=] {
      Tensor weight = first;
      for (std::int64_t i = 0; i < matrices; ++i, weight.data += bytes)
        op::matmul(*context, ConstRows(x->data(), tokens, k), weight, Rows(out->data(), tokens, n));
    };
    return KernelRow{.bound = decodes ? "memory" : products_of(dtype, layout, k, isa, tokens),
                     .cost = cost::matmul(ConstRows(nullptr, tokens, k), first, Rows(nullptr, tokens, n)),
                     .work = work,
                     .calls = matrices,
                     .memory = decodes ? first.data : nullptr,
                     .memory_bytes = matrices * bytes};
  });
}

struct Routed {
  std::vector<float> x, out, weights;
  std::vector<std::int32_t> ids;
};

// Each token to eight different experts, all equally likely.
Routed route(std::int64_t tokens, std::int64_t hidden, std::int64_t experts, std::int64_t chosen) {
  Routed routed{random_floats(tokens * hidden), std::vector<float>(static_cast<std::size_t>(tokens * hidden)),
                std::vector<float>(static_cast<std::size_t>(tokens * chosen), 1.0f / static_cast<float>(chosen)), {}};
  std::mt19937 random(2);
  std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
  std::iota(all.begin(), all.end(), 0);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < chosen; ++i) std::swap(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(i + random() % (experts - i))]);
    routed.ids.insert(routed.ids.end(), all.begin(), all.begin() + chosen);
  }
  return routed;
}

void add_experts(cpu::Isa isa, std::int64_t tokens, int threads) {
  constexpr std::int64_t kExperts = 256, kWidth = 512, kHidden = 2048, kChosen = 8;
  add_row("moe_experts/q6_k", isa, fmt::format("T:{}/E:256/width:512/hidden:2048/top:8", tokens), threads, [=](std::shared_ptr<CpuContext> context) {
    const Tensor gate{nullptr, DType::kQ6_K, {kExperts, kWidth, kHidden}, Layout::kPanels}, down{nullptr, DType::kQ6_K, {kExperts, kHidden, kWidth}, Layout::kPanels};
    std::byte* memory = weights(DType::kQ6_K, Layout::kPanels, 2 * gate.bytes() + down.bytes());
    auto routed = std::make_shared<Routed>(route(tokens, kHidden, kExperts, kChosen));
    const MoeExperts moe{.x = {routed->x.data(), tokens, kHidden},
                         .ids = routed->ids,
                         .weights = routed->weights,
                         .gate = {memory, gate.dtype, gate.shape, gate.layout},
                         .up = {memory + gate.bytes(), gate.dtype, gate.shape, gate.layout},
                         .down = {memory + 2 * gate.bytes(), down.dtype, down.shape, down.layout}};
    std::vector<std::int32_t> hit = routed->ids;
    std::sort(hit.begin(), hit.end());
    const std::int64_t experts_hit = std::unique(hit.begin(), hit.end()) - hit.begin();
    const Rows out(routed->out.data(), tokens, kHidden);
    return KernelRow{.bound = tokens < 64 ? "memory" : products_of(DType::kQ6_K, Layout::kPanels, kHidden, isa, tokens * kChosen / kExperts),
                     .cost = cost::moe_experts(moe, experts_hit, out),
                     .work = [=] { static_cast<void>(routed), op::moe_experts(*context, moe, out); },
                     .memory = tokens < 64 ? memory : nullptr,
                     .memory_bytes = kMemoryBytes};
  });
}

[[maybe_unused]] const bool kAdded = [] {
  for (const cpu::Isa isa : cpu::usable_isas()) {
    for (const auto& [n, k] : {std::pair(4352, 5120), std::pair(8192, 2048)}) {
      for (const std::int64_t tokens : {1, 4, 16, 64, 512}) add_matmul(DType::kQ6_K, Layout::kPanels, isa, tokens, n, k, 1);
      for (const std::int64_t tokens : {1, 512}) add_matmul(DType::kQ6_K, Layout::kPanels, isa, tokens, n, k, 2);
      for (const std::int64_t tokens : {1, 512}) add_matmul(DType::kQ6_K, Layout::kRows, isa, tokens, n, k, 1);
    }
    for (const DType dtype : {DType::kQ8_0, DType::kBF16, DType::kF32})
      for (const std::int64_t tokens : {1, 512}) add_matmul(dtype, Layout::kRows, isa, tokens, 8192, 2048, 1);
    for (const std::int64_t tokens : {1, 16, 512, 2048})
      if (tokens < 2048 || isa != cpu::Isa::kPortable)
        for (const int threads : {1, 2}) add_experts(isa, tokens, threads);
  }
  return true;
}();

}  // namespace
}  // namespace crossover::micro_bench
