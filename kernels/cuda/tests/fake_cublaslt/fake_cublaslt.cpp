#include "kernels/cuda/tests/fake_cublaslt/fake_cublaslt.h"

#include <cstring>

namespace crossover::cuda::lt {

struct OpaqueHandle {};
struct OpaqueProduct {
  ComputeType sums;
  DataType factors;
  Transpose transpose[2] = {Transpose::kNo, Transpose::kNo};
};
struct OpaqueLayout {
  DataType type;
  std::int64_t rows, columns, leading;
};
struct OpaqueWishes {
  std::uint64_t workspace_bytes = 0;
  std::uint32_t schemes = 7;
  std::uint32_t alignments[4] = {256, 256, 256, 256};
};

namespace {

CublasLtFake& fake() {
  static CublasLtFake one;
  return one;
}

Status offence(const char* what) {
  fake().offences.push_back(what);
  return Status::kInvalidValue;
}

template <class Value>
Status set(Value& value, const void* from, std::size_t bytes) {
  if (bytes != sizeof value) return offence("an attribute of another size");
  std::memcpy(&value, from, bytes);
  return Status::kSuccess;
}

// The shape that the descriptions agree on.
bool shape_of(const OpaqueProduct& product, const OpaqueLayout& a, const OpaqueLayout& b, const OpaqueLayout& d, FakeProduct& out) {
  const auto rows = [](const OpaqueLayout& x, bool transposed) { return transposed ? x.columns : x.rows; };
  const auto columns = [](const OpaqueLayout& x, bool transposed) { return transposed ? x.rows : x.columns; };
  out.transposed_a = product.transpose[0] == Transpose::kYes, out.transposed_b = product.transpose[1] == Transpose::kYes;
  out.rows = d.rows, out.columns = d.columns, out.values = columns(a, out.transposed_a);
  out.leading[0] = a.leading, out.leading[1] = b.leading, out.leading[2] = d.leading;
  const bool types = a.type == DataType::kBf16 && b.type == DataType::kBf16 && d.type == DataType::kF32 && product.sums == ComputeType::kF32 && product.factors == DataType::kF32;
  const bool strides = a.leading >= a.rows && b.leading >= b.rows && d.leading >= d.rows;
  return types && strides && rows(a, out.transposed_a) == d.rows && columns(b, out.transposed_b) == d.columns && rows(b, out.transposed_b) == out.values;
}

float widen(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// What an algorithm carries: the product that it was chosen for.
struct Chosen {
  std::int64_t rows, columns, values;
  std::uint32_t alignments[4];
};
static_assert(sizeof(Chosen) <= sizeof(Algorithm));

struct Job {
  FakeProduct shape;
  const std::uint16_t *a, *b;
  float* d;
  float alpha, beta;
  void* workspace;
  std::size_t workspace_bytes;
};

void run(void* context) {
  const Job& job = *static_cast<const Job*>(context);
  const FakeProduct& s = job.shape;
  if (job.workspace_bytes > 0) std::memset(job.workspace, 0xa5, job.workspace_bytes);
  for (std::int64_t column = 0; column < s.columns; ++column)
    for (std::int64_t row = 0; row < s.rows; ++row) {
      float sum = 0;
      for (std::int64_t i = 0; i < s.values; ++i)
        sum += widen(job.a[s.transposed_a ? row * s.leading[0] + i : i * s.leading[0] + row]) * widen(job.b[s.transposed_b ? i * s.leading[1] + column : column * s.leading[1] + i]);
      float& d = job.d[column * s.leading[2] + row];
      d = job.alpha * sum + (job.beta != 0 ? job.beta * d : 0);
    }
}

bool aligned(const void* address, std::int64_t leading_bytes, std::uint32_t promised) {
  return reinterpret_cast<std::uintptr_t>(address) % promised == 0 && leading_bytes % promised == 0;
}

template <class T>
Status destroy(T* object) {
  delete object;
  --fake().objects;
  return Status::kSuccess;
}

}  // namespace
}  // namespace crossover::cuda::lt

using namespace crossover::cuda::lt;

extern "C" {

CublasLtFake* crossover_fake_cublaslt() { return &fake(); }
void crossover_fake_cublaslt_reset() { fake() = {}; }

std::size_t cublasLtGetVersion() { return fake().version; }
const char* cublasLtGetStatusString(Status status) {
  return status == Status::kNotSupported ? "the functionality is not supported" : status == Status::kNotInitialized ? "the library was not initialized" : "some status";
}
Status cublasLtCreate(Handle* handle) {
  if (fake().on_create != Status::kSuccess) return fake().on_create;
  ++fake().created;
  *handle = new OpaqueHandle;
  return Status::kSuccess;
}
Status cublasLtDestroy(Handle handle) {
  delete handle;
  ++fake().destroyed;
  return Status::kSuccess;
}
Status cublasLtMatmulDescCreate(Product* product, ComputeType sums, DataType factors) {
  *product = new OpaqueProduct{sums, factors};
  ++fake().objects;
  return Status::kSuccess;
}
Status cublasLtMatmulDescDestroy(Product product) { return destroy(product); }
Status cublasLtMatmulDescSetAttribute(Product product, ProductAttribute attribute, const void* value, std::size_t bytes) {
  return set(product->transpose[attribute == ProductAttribute::kTransposeA ? 0 : 1], value, bytes);
}
Status cublasLtMatrixLayoutCreate(Layout* layout, DataType type, std::uint64_t rows, std::uint64_t columns, std::int64_t leading) {
  *layout = new OpaqueLayout{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), leading};
  ++fake().objects;
  return Status::kSuccess;
}
Status cublasLtMatrixLayoutDestroy(Layout layout) { return destroy(layout); }
Status cublasLtMatmulPreferenceCreate(Wishes* wishes) {
  *wishes = new OpaqueWishes;
  ++fake().objects;
  return Status::kSuccess;
}
Status cublasLtMatmulPreferenceDestroy(Wishes wishes) { return destroy(wishes); }
Status cublasLtMatmulPreferenceSetAttribute(Wishes wishes, WishAttribute attribute, const void* value, std::size_t bytes) {
  if (attribute == WishAttribute::kMostWorkspaceBytes) return set(wishes->workspace_bytes, value, bytes);
  if (attribute == WishAttribute::kReductionSchemes) return set(wishes->schemes, value, bytes);
  return set(wishes->alignments[static_cast<int>(attribute) - static_cast<int>(WishAttribute::kAlignmentA)], value, bytes);
}
Status cublasLtMatmulAlgoGetHeuristic(Handle handle, Product product, Layout a, Layout b, Layout c, Layout d, Wishes wishes, int asked, Heuristic* found, int* count) {
  CublasLtFake& f = fake();
  ++f.heuristics;
  *count = 0;
  if (f.on_heuristic != Status::kSuccess) return f.on_heuristic;
  if (!handle || asked < 1 || c != d || !shape_of(*product, *a, *b, *d, f.last)) return offence("matrices that do not fit together");
  if (wishes->schemes != 0) return offence("sums whose order is free");
  std::memcpy(f.last.alignments, wishes->alignments, sizeof f.last.alignments);
  if (f.algorithms == 0 || f.workspace_bytes > wishes->workspace_bytes) return Status::kSuccess;
  Chosen chosen{f.last.rows, f.last.columns, f.last.values, {}};
  std::memcpy(chosen.alignments, wishes->alignments, sizeof chosen.alignments);
  *found = {};
  std::memcpy(&found->algorithm, &chosen, sizeof chosen);
  found->workspace_bytes = f.workspace_bytes;
  *count = 1;
  return Status::kSuccess;
}
Status cublasLtMatmul(Handle handle, Product product, const void* alpha, const void* a, Layout a_layout, const void* b, Layout b_layout, const void* beta, const void* c,
                      Layout c_layout, void* d, Layout d_layout, const Algorithm* algorithm, void* workspace, std::size_t workspace_bytes, Stream stream) {
  CublasLtFake& f = fake();
  if (f.on_multiply != Status::kSuccess) return f.on_multiply;
  Job job{{}, static_cast<const std::uint16_t*>(a), static_cast<const std::uint16_t*>(b), static_cast<float*>(d), 0, 0, workspace, workspace_bytes};
  if (!handle || c != d || c_layout != d_layout || !shape_of(*product, *a_layout, *b_layout, *d_layout, job.shape)) return offence("matrices that do not fit together");
  Chosen chosen{};
  std::memcpy(&chosen, algorithm, sizeof chosen);
  if (chosen.rows != job.shape.rows || chosen.columns != job.shape.columns || chosen.values != job.shape.values) return offence("an algorithm of another product");
  if (!aligned(a, 2 * job.shape.leading[0], chosen.alignments[0]) || !aligned(b, 2 * job.shape.leading[1], chosen.alignments[1]) ||
      !aligned(d, 4 * job.shape.leading[2], chosen.alignments[3]))
    return offence("addresses that are not aligned as promised");
  if (workspace_bytes < f.workspace_bytes || (f.workspace_bytes > 0 && !workspace)) return offence("less workspace than the algorithm needs");
  std::memcpy(&job.alpha, alpha, sizeof job.alpha), std::memcpy(&job.beta, beta, sizeof job.beta);
  if (f.with_memory) f.with_memory(run, &job);
  else run(&job);
  ++f.products, f.stream = stream;
  return Status::kSuccess;
}

}  // extern "C"
