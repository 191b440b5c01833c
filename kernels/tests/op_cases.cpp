#include "kernels/tests/op_cases.h"

#include <cstring>
#include <limits>

namespace crossover::testing {
namespace {

bool same_bits(const Grid& a, const Grid& b) {
  if (a.row_count() != b.row_count() || a.dim() != b.dim()) return false;
  for (std::int64_t r = 0; r < a.row_count(); ++r)
    for (std::int64_t i = 0; i < a.dim(); ++i) {
      const float x = a.at(r, i), y = b.at(r, i);
      if (std::memcmp(&x, &y, sizeof x) != 0) return false;
    }
  return true;
}

}  // namespace

double error_of(const OpCase& op_case, const Result& found, const Result& expected) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  if (found.ids != expected.ids || found.bytes != expected.bytes || found.values.size() != expected.values.size()) return kWrong;
  double worst = 0;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    if (found.values[i].written_outside()) return kWrong;
    const bool each = op_case.metric == Metric::kEach;
    worst = std::max(worst, each ? elementwise_error(found.values[i], expected.values[i]) : relative_error(found.values[i], expected.values[i]));
  }
  return worst;
}

bool same_bits(const Result& a, const Result& b) {
  if (a.ids != b.ids || a.bytes != b.bytes || a.values.size() != b.values.size()) return false;
  for (std::size_t i = 0; i < a.values.size(); ++i)
    if (!same_bits(a.values[i], b.values[i])) return false;
  return true;
}

std::vector<OpCase> cases_of(const std::string& op) {
  std::vector<OpCase> chosen;
  for (const auto& list : {row_cases, matrix_cases, sequence_cases})
    for (OpCase& op_case : list())
      if (op_case.op == op) chosen.push_back(std::move(op_case));
  return chosen;
}

}  // namespace crossover::testing
