#include "engine/tests/greedy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/tests/reference_model.h"

namespace crossover::test {

double preference(std::span<const float> row, std::int32_t chosen, std::int32_t other) {
  float largest = 0;
  for (const float logit : row) {
    if (std::isnan(logit)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(logit));
  }
  const double gap = static_cast<double>(row[static_cast<std::size_t>(chosen)]) - row[static_cast<std::size_t>(other)];
  return gap == 0 ? 0 : gap / largest;
}

GreedyComparison compare_greedy(Engine& a, Engine& b, const std::vector<std::int32_t>& prompt, std::size_t tokens) {
  GreedyComparison found;
  const std::int64_t vocab = a.config().vocab;
  std::vector<float> rows_a, rows_b;
  a.reset(), b.reset();
  std::vector<std::int32_t> next = prompt;
  for (; found.tokens < tokens; ++found.tokens) {
    const std::span<const float> row_a = a.feed(next), row_b = b.feed(next);
    rows_a.insert(rows_a.end(), row_a.begin(), row_a.end()), rows_b.insert(rows_b.end(), row_b.begin(), row_b.end());
    const std::int32_t of_a = argmax(row_a.data(), vocab), of_b = argmax(row_b.data(), vocab);
    next = {of_a};
    if (of_a == of_b) continue;
    if (!found.first) found.first = found.tokens;
    ++found.differ;
    found.widest_gap = std::max({found.widest_gap, preference(row_a, of_a, of_b), preference(row_b, of_b, of_a)});
  }
  found.median_nmse = median_row_nmse(rows_b.data(), rows_a, vocab);
  return found;
}

}  // namespace crossover::test
