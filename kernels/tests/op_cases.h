// The operation suite: every operation on many inputs, each a function of the context alone. ops_test.cpp runs them on each
// backend and holds the results against the reference's.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/tests/test_context.h"

namespace crossover::testing {

struct Result {
  std::vector<Grid> values;       // compared within the case's tolerance
  Operand<std::int32_t> ids;      // these two must be equal
  Operand<std::byte> bytes;
};

enum class Metric {
  kOfLargest,  // |difference| against the largest expected value: sums of products
  kEach,       // against each value: operations on single values
};

struct OpCase {
  const char* op;
  std::string what;
  Metric metric;
  double tolerance;
  std::function<Result(Context&)> run;  // always the same inputs
  double bf16_tolerance = 0;            // of instruction sets and devices that round this operation's operands to bf16; 0: none does
  double device_tolerance = 0;          // of GPUs, where they round what those keep in f32; 0: as above

  double tolerance_on(const Context& context) const {
    if (context.device && device_tolerance > 0) return device_tolerance;
    const bool rounds = context.device || (context.micro && (context.micro->attention_pairs || context.micro->gemm_tiles));
    return bf16_tolerance > 0 && rounds ? bf16_tolerance : tolerance;
  }
};

// Infinite when something that must be equal is not, a value is NaN, or memory outside an operand was written.
double error_of(const OpCase& op_case, const Result& found, const Result& expected);
bool same_bits(const Result& a, const Result& b);

std::vector<OpCase> row_cases();       // norms, elementwise, conv1d, gates, RoPE
std::vector<OpCase> matrix_cases();    // embed, matmul, router, experts
std::vector<OpCase> sequence_cases();  // GDN scans, cache writes, attention
std::vector<OpCase> cases_of(const std::string& op);

inline constexpr const char* kOpNames[] = {
    "embed",     "rms_norm",  "add_rms_norm", "l2_norm",       "matmul",      "matmuls",     "add",            "add_gated", "swiglu",   "sigmoid_gate", "conv1d_silu",
    "gdn_gates", "gdn_recurrent", "gdn_chunked", "gdn_mixer", "gated_rms_norm", "rope_angles", "norm_rope", "rotate", "kv_write", "attention",    "moe_route",   "moe_experts"};

// Around every vector length, tile and chunk in use.
inline constexpr std::int64_t kTokenCounts[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 130};

}  // namespace crossover::testing
