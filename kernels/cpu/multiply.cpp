#include "kernels/cpu/multiply.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/micro.h"

namespace crossover::cpu {
namespace {

constexpr std::int64_t kMatvecTaskBytes = 64 * 1024;  // weights of one task: long enough to hide scheduling, short enough to balance
constexpr std::int64_t kPackTaskValues = 32 * 1024;

constexpr const char* kPathNames[kDTypeCount] = {"matmul.f32",  "matmul.f16",  "matmul.bf16", "matmul.q8_0", "matmul.q6_k",
                                                 "matmul.q4_0", "matmul.q4_1", "matmul.q5_0", "matmul.q5_1"};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The items of several lists laid end to end; finds the list of an item.
class Ranges {
 public:
  void append(std::int64_t count) { first_.push_back(first_.back() + count); }
  std::int64_t total() const { return first_.back(); }
  // Calls body(list, item inside the list) for items begin .. end - 1.
  template <class Body>
  void visit(std::int64_t begin, std::int64_t end, Body body) const {
    auto list = static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), begin) - first_.begin()) - 1;
    for (std::int64_t i = begin; i < end; ++i) {
      while (i >= first_[list + 1]) ++list;
      body(list, i - first_[list]);
    }
  }

 private:
  std::vector<std::int64_t> first_{0};
};

class Multiplication {
 public:
  Multiplication(Context& context, std::span<const Operand> operands, std::span<const Product> products);
  void run() { pack(), compute(); }

 private:
  struct Packed {
    bool gemm;
    std::int64_t offset;  // into packed_
  };
  void pack();
  void pack_item(std::size_t operand, std::int64_t item);
  void compute();
  void compute_item(std::size_t product, std::int64_t item);
  void matvec(const Product&, std::int64_t first_row, std::int64_t rows);

  Context& context_;
  const MatmulMicro& micro_;
  std::span<const Operand> operands_;
  std::span<const Product> products_;
  DType type_;
  std::int64_t dim_, row_bytes_, packed_bytes_, tile_bytes_, panel_bytes_, task_rows_;
  std::vector<Packed> where_;
  Ranges pack_items_, compute_items_;
  std::byte* packed_ = nullptr;
  std::byte* panels_ = nullptr;  // one per worker
};

Multiplication::Multiplication(Context& context, std::span<const Operand> operands, std::span<const Product> products)
    : context_(context), micro_(*context.micro->matmul), operands_(operands), products_(products), type_(products[0].weight.dtype),
      dim_(products[0].weight.cols()), row_bytes_(products[0].weight.row_stride()), packed_bytes_(micro_.packed_bytes(type_, dim_)),
      tile_bytes_(micro_.tile_bytes(type_, dim_)), panel_bytes_((micro_.panel_bytes(type_, dim_) + 63) / 64 * 64),
      task_rows_(std::max<std::int64_t>(1, kMatvecTaskBytes / row_bytes_ / 4) * 4) {
  const auto type = static_cast<std::size_t>(type_);
  std::int64_t bytes = 0;
  bool any_gemm = false;
  where_.reserve(operands.size());
  for (const Operand& operand : operands) {
    const bool gemm = operand.rows >= micro_.gemm_from_tokens[type];
    const std::int64_t items = gemm ? ceil_div(operand.rows, kTileTokens) : operand.rows;
    where_.push_back({gemm, bytes});
    pack_items_.append(items);
    bytes += items * (gemm ? tile_bytes_ : packed_bytes_);
    any_gemm |= gemm;
    if (operand.rows > 0) context.counters.path(kPathNames[type], gemm ? micro_.gemm_path[type] : micro_.matvec_path[type]);
  }
  for (const Product& product : products)
    compute_items_.append(operands[product.operand].rows == 0 ? 0
                          : ceil_div(product.weight.rows(), where_[product.operand].gemm ? kPanelRows : task_rows_));
  packed_ = context.workspace.bytes("matmul.packed", static_cast<std::size_t>(bytes));
  if (any_gemm) panels_ = context.workspace.bytes("matmul.panels", static_cast<std::size_t>(panel_bytes_ * context.pool.threads()));
}

void Multiplication::pack_item(std::size_t index, std::int64_t item) {
  const Operand& operand = operands_[index];
  const Packed& packed = where_[index];
  if (!packed.gemm) return micro_.pack(type_, operand.row(item), dim_, packed_ + packed.offset + item * packed_bytes_);
  const float* rows[kTileTokens];
  const std::int64_t first = item * kTileTokens, count = std::min(kTileTokens, operand.rows - first);
  for (std::int64_t t = 0; t < count; ++t) rows[t] = operand.row(first + t);
  micro_.pack_tile(type_, rows, count, dim_, packed_ + packed.offset + item * tile_bytes_);
}

void Multiplication::pack() {
  context_.pool.parallel_for(pack_items_.total(), std::max<std::int64_t>(1, kPackTaskValues / dim_), [this](std::int64_t begin, std::int64_t end) {
    pack_items_.visit(begin, end, [this](std::size_t operand, std::int64_t item) { pack_item(operand, item); });
  });
}

// The rows of one task stay in the cache while groups of kMatvecTokens pass over them.
void Multiplication::matvec(const Product& product, std::int64_t first_row, std::int64_t rows) {
  const std::byte* packed = packed_ + where_[product.operand].offset;
  for (std::int64_t t = 0; t < operands_[product.operand].rows; t += kMatvecTokens)
    micro_.matvec(type_, product.weight.row(first_row), rows, dim_, packed + t * packed_bytes_,
                  std::min(kMatvecTokens, operands_[product.operand].rows - t), product.out.row(t) + first_row, product.out.stride);
}

void Multiplication::compute_item(std::size_t index, std::int64_t item) {
  const Product& product = products_[index];
  const Packed& packed = where_[product.operand];
  const std::int64_t step = packed.gemm ? kPanelRows : task_rows_, first = item * step, rows = std::min(step, product.weight.rows() - first);
  if (!packed.gemm) return matvec(product, first, rows);
  micro_.gemm(type_, product.weight.row(first), rows, dim_, packed_ + packed.offset, operands_[product.operand].rows,
              product.out.data + first, product.out.stride, panels_ + ThreadPool::worker() * panel_bytes_);
}

void Multiplication::compute() {
  context_.pool.parallel_for(compute_items_.total(), 1, [this](std::int64_t begin, std::int64_t end) {
    compute_items_.visit(begin, end, [this](std::size_t product, std::int64_t item) { compute_item(product, item); });
  });
}

}  // namespace

void multiply(Context& context, std::span<const Operand> operands, std::span<const Product> products) {
  if (!products.empty()) Multiplication(context, operands, products).run();
}

}  // namespace crossover::cpu
