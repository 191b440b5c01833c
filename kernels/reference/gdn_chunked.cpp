// The gated delta rule by chunks of 64 tokens: one triangular system per chunk and head instead of one
// state update per token, so it checks the recurrence with other arithmetic.
#include <algorithm>
#include <vector>

#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {
namespace {

constexpr std::int64_t kChunk = 64;

struct Scratch {
  explicit Scratch(std::int64_t dim)
      : decay(kChunk), delta(static_cast<std::size_t>(kChunk * dim)), state(static_cast<std::size_t>(dim * dim)),
        read(static_cast<std::size_t>(dim)) {}
  std::vector<double> decay;  // G [C]: cumulative log decay inside the chunk
  std::vector<double> delta;  // [C, D]
  std::vector<double> state;  // S [D (k), D (v)]
  std::vector<double> read;   // [D]
};

struct Chunk {
  const GdnScan& scan;
  std::int64_t head, first, tokens, dim;

  const float* q(std::int64_t i) const { return scan.q.row(first + i) + key_head(scan, head) * dim; }
  const float* k(std::int64_t i) const { return scan.k.row(first + i) + key_head(scan, head) * dim; }
  const float* v(std::int64_t i) const { return scan.v.row(first + i) + head * dim; }
};

// read = factor * S^T x
void read_state(const Chunk& chunk, const float* x, double factor, Scratch& s) {
  std::fill(s.read.begin(), s.read.end(), 0.0);
  for (std::int64_t i = 0; i < chunk.dim; ++i)
    for (std::int64_t j = 0; j < chunk.dim; ++j) s.read[j] += factor * x[i] * s.state[i * chunk.dim + j];
}

// Forward substitution in (I + A) Delta = diag(beta) V - diag(beta e^G) K S. Exponents are always differences, hence <= 0.
void solve_deltas(const Chunk& chunk, Scratch& s) {
  const std::int64_t dim = chunk.dim;
  for (std::int64_t i = 0; i < chunk.tokens; ++i) {
    const double beta = chunk.scan.beta.row(chunk.first + i)[chunk.head];
    read_state(chunk, chunk.k(i), std::exp(s.decay[i]), s);
    double* delta = s.delta.data() + i * dim;
    for (std::int64_t c = 0; c < dim; ++c) delta[c] = beta * (chunk.v(i)[c] - s.read[c]);
    for (std::int64_t j = 0; j < i; ++j) {
      const double a = beta * std::exp(s.decay[i] - s.decay[j]) * dot(chunk.k(i), chunk.k(j), dim);
      for (std::int64_t c = 0; c < dim; ++c) delta[c] -= a * s.delta[j * dim + c];
    }
  }
}

void write_outputs(const Chunk& chunk, Scratch& s, Rows out) {
  const std::int64_t dim = chunk.dim;
  for (std::int64_t i = 0; i < chunk.tokens; ++i) {
    read_state(chunk, chunk.q(i), std::exp(s.decay[i]), s);
    for (std::int64_t j = 0; j <= i; ++j) {
      const double a = std::exp(s.decay[i] - s.decay[j]) * dot(chunk.q(i), chunk.k(j), dim);
      for (std::int64_t c = 0; c < dim; ++c) s.read[c] += a * s.delta[j * dim + c];
    }
    float* to = out.row(chunk.first + i) + chunk.head * dim;
    for (std::int64_t c = 0; c < dim; ++c) to[c] = static_cast<float>(s.read[c]);
  }
}

void advance_state(const Chunk& chunk, Scratch& s) {
  const std::int64_t dim = chunk.dim;
  const double end = s.decay[chunk.tokens - 1];
  const double kept = std::exp(end);
  for (double& value : s.state) value *= kept;
  for (std::int64_t t = 0; t < chunk.tokens; ++t) {
    const double factor = std::exp(end - s.decay[t]);
    for (std::int64_t i = 0; i < dim; ++i)
      for (std::int64_t j = 0; j < dim; ++j) s.state[i * dim + j] += factor * chunk.k(t)[i] * s.delta[t * dim + j];
  }
}

}  // namespace

void gdn_chunked(Context&, const GdnScan& scan, Rows out) {
  const std::int64_t dim = scan.head_dim;
  Scratch s(dim);
  for (std::int64_t head = 0; head < scan.value_heads; ++head) {
    float* kept = scan.state + head * dim * dim;
    std::copy(kept, kept + dim * dim, s.state.begin());
    for (std::int64_t first = 0; first < out.rows; first += kChunk) {
      const Chunk chunk{scan, head, first, std::min(kChunk, out.rows - first), dim};
      double sum = 0;
      for (std::int64_t i = 0; i < chunk.tokens; ++i) s.decay[i] = sum += scan.g.row(first + i)[head];
      solve_deltas(chunk, s);
      write_outputs(chunk, s, out);
      advance_state(chunk, s);
    }
    for (std::int64_t i = 0; i < dim * dim; ++i) kept[i] = static_cast<float>(s.state[i]);
  }
}

}  // namespace crossover::reference
