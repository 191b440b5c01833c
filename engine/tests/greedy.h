// Greedy tokens of two engines that round differently, as a CPU and a GPU do.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "engine/engine.h"

namespace crossover::test {

// By how much the row prefers `chosen` to `other`, in parts of its largest |logit|; infinite where a logit is not a number.
double preference(std::span<const float> row, std::int32_t chosen, std::int32_t other);

// Two choices this near are a tie that rounding decides. Between products in bf16 and in f32 the difference of two logits has a standard deviation of
// some 2^-8.5 of the largest (nmse 4e-5 on the models of the tree, whose largest is three times their root mean square), where the one side rounds
// activations to int8, as the cpu backend does for weights in blocks, of 2^-6.3 (nmse 8e-4): five of them.
inline constexpr double kGreedyTie = 0x1p-6, kGreedyTieOfInt8 = 0x1p-4;

struct GreedyComparison {
  std::size_t tokens = 0, differ = 0;    // chosen by both; by each another one
  std::optional<std::size_t> first;      // that differs
  double widest_gap = 0;                 // of those that differ: what the engine that is surer of its choice prefers it by
  double median_nmse = 0;                // of the rows of logits
};

// Each chooses `tokens` greedy ones behind the prompt; where they differ both go on with a's, so that every choice is between the same tokens before.
GreedyComparison compare_greedy(Engine& a, Engine& b, const std::vector<std::int32_t>& prompt, std::size_t tokens);

}  // namespace crossover::test
