#include "kernels/cpu/multiply.h"

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

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
  explicit Ranges(std::int64_t* memory) : first_(memory) { first_[0] = 0; }  // room for the lists to come and one more
  void append(std::int64_t count) { ++lists_, first_[lists_] = first_[lists_ - 1] + count; }
  std::int64_t total() const { return first_[lists_]; }
  // Calls body(list, item inside the list) for items begin .. end - 1.
  template <class Body>
  void visit(std::int64_t begin, std::int64_t end, Body body) const {
    auto list = static_cast<std::size_t>(std::upper_bound(first_, first_ + lists_ + 1, begin) - first_) - 1;
    for (std::int64_t i = begin; i < end; ++i) {
      while (i >= first_[list + 1]) ++list;
      body(list, i - first_[list]);
    }
  }

 private:
  std::int64_t* first_;
  std::size_t lists_ = 0;
};

// Workspace names of the kinds of one call, which live side by side.
struct Names {
  const char *lists, *packed, *rows, *panels, *ups;
};
constexpr Names kNames[kMaxWeightKinds] = {
    {"matmul.lists.0", "matmul.packed.0", "matmul.rows.0", "matmul.panels.0", "matmul.ups.0"}, {"matmul.lists.1", "matmul.packed.1", "matmul.rows.1", "matmul.panels.1", "matmul.ups.1"},
    {"matmul.lists.2", "matmul.packed.2", "matmul.rows.2", "matmul.panels.2", "matmul.ups.2"}, {"matmul.lists.3", "matmul.packed.3", "matmul.rows.3", "matmul.panels.3", "matmul.ups.3"},
    {"matmul.lists.4", "matmul.packed.4", "matmul.rows.4", "matmul.panels.4", "matmul.ups.4"}, {"matmul.lists.5", "matmul.packed.5", "matmul.rows.5", "matmul.panels.5", "matmul.ups.5"},
    {"matmul.lists.6", "matmul.packed.6", "matmul.rows.6", "matmul.panels.6", "matmul.ups.6"}, {"matmul.lists.7", "matmul.packed.7", "matmul.rows.7", "matmul.panels.7", "matmul.ups.7"}};

// The products of one kind of weight: type, layout and number of columns. The others of the call are passed over.
class Multiplication {
 public:
  Multiplication(Context& context, std::span<const Operand> operands, std::span<const Product> products, const Tensor& kind, const Names& names);

  bool takes(const Product& product) const { return product.weight.dtype == type_ && product.weight.layout == layout_ && product.weight.cols() == dim_; }
  std::int64_t pack_items() const { return pack_items_.total(); }
  std::int64_t pack_grain() const { return std::max<std::int64_t>(1, kPackTaskValues / dim_); }
  std::int64_t compute_items() const { return compute_items_.total(); }
  void pack(std::int64_t begin, std::int64_t end) {
    pack_items_.visit(begin, end, [this](std::size_t operand, std::int64_t item) { pack_item(operand, item); });
  }
  void compute(std::int64_t begin, std::int64_t end) {
    compute_items_.visit(begin, end, [this](std::size_t product, std::int64_t item) { compute_item(product, item); });
  }

 private:
  // How the rows of an operand are packed: one by one, in tiles of MatmulMicro, or of GemmTilesMicro.
  enum class Form : std::uint8_t { kRows, kTiles, kGemmTiles };
  struct Packed {
    bool used, gemm, shared;  // shared: rows and place are those of the operand before
    Form form;
    std::int64_t offset;      // into packed_
    std::int64_t first_row;   // of this operand in rows_; weights in panels only
  };
  Form form(bool gemm, std::int64_t rows) const {
    if (gemm_tiles_ && rows >= gemm_tiles_from_) return Form::kGemmTiles;
    return gemm && !panels() ? Form::kTiles : Form::kRows;
  }
  std::int64_t tile_rows(Form form) const { return form == Form::kGemmTiles ? gemm_tiles_->tokens : form == Form::kTiles ? kTileTokens : 1; }
  std::int64_t form_bytes(Form form) const {
    return form == Form::kGemmTiles ? gemm_tiles_->packed_bytes(gemm_tiles_->tokens, dim_) : form == Form::kTiles ? micro_.tile_bytes(type_, dim_) : packed_bytes_;
  }
  std::int64_t most_packed_bytes() const;
  std::int64_t row_step() const { return panels() ? 2 * kPanelRows : 4; }  // panels may be read two at a time
  bool panels() const { return layout_ == Layout::kPanels; }
  std::int64_t task_rows(const Product& product) const {
    const Packed& packed = where_[product.operand];
    if (packed.form == Form::kGemmTiles) return tile_group_panels_ / (product.up.data ? 2 : 1) * kPanelRows;
    return packed.gemm ? kPanelRows : task_rows_;
  }
  std::int64_t tile_group_panels() const;
  std::int64_t packed_rows(const Operand& operand) const { return panels() && operand.index ? operand.x.rows : operand.rows; }
  void place_operands(const Names& names);
  void pack_item(std::size_t operand, std::int64_t item);
  void compute_item(std::size_t product, std::int64_t item);
  void multiply_rows(std::size_t operand, const Tensor& weight, std::int64_t first_row, std::int64_t rows, const std::byte* next, float* out,
                     std::int64_t out_stride);
  const std::byte* weights_after(std::size_t product, std::int64_t row) const;

  Context& context_;
  const MatmulMicro& micro_;
  const GemmTilesMicro* gemm_tiles_;  // null: nothing multiplies tiles, or not weights of this kind
  std::span<const Operand> operands_;
  std::span<const Product> products_;
  DType type_;
  Layout layout_;
  std::int64_t dim_, gemm_tiles_from_ = 0, packed_bytes_, panel_bytes_, task_rows_, tile_group_panels_ = 0, up_floats_ = 0;
  Packed* where_;
  Ranges pack_items_, compute_items_;
  std::byte* packed_ = nullptr;
  const std::byte** rows_ = nullptr;  // of all operands, one after the other: where each is packed; weights in panels only
  std::byte* panels_ = nullptr;  // one per worker
  float* ups_ = nullptr;         // one per worker: the other half of a gated task
};

std::byte* list_memory(Context& context, const char* name, std::size_t operands, std::size_t products) {
  return context.workspace.bytes(name, operands * 32 + (operands + products + 2) * sizeof(std::int64_t));
}

Multiplication::Multiplication(Context& context, std::span<const Operand> operands, std::span<const Product> products, const Tensor& kind, const Names& names)
    : context_(context), micro_(*context.micro->matmul), gemm_tiles_(context.micro->gemm_tiles), operands_(operands), products_(products),
      type_(kind.dtype), layout_(kind.layout), dim_(kind.cols()),
      packed_bytes_(panels() ? context.micro->panels->activation_bytes(dim_) : micro_.packed_bytes(type_, dim_)),
      panel_bytes_(panels() ? context.micro->panels->scratch_bytes(dim_) : micro_.panel_bytes(type_, dim_)),
      task_rows_(std::max<std::int64_t>(1, kMatvecTaskBytes / kind.row_stride() / row_step()) * row_step()),
      where_(reinterpret_cast<Packed*>(list_memory(context, names.lists, operands.size(), products.size()))),
      pack_items_(reinterpret_cast<std::int64_t*>(where_ + operands.size())),
      compute_items_(reinterpret_cast<std::int64_t*>(where_ + operands.size()) + operands.size() + 1) {
  static_assert(sizeof(Packed) <= 32);
  if (gemm_tiles_) gemm_tiles_from_ = gemm_tiles_->from_tokens(type_, layout_, dim_);
  if (gemm_tiles_from_ == 0) gemm_tiles_ = nullptr;
  panel_bytes_ = (std::max(panel_bytes_, gemm_tiles_ ? gemm_tiles_->scratch_bytes() : 0) + 63) / 64 * 64;
  const std::int64_t gemm_from = panels() ? context.micro->panels->gemm_from_tokens : micro_.gemm_from_tokens[static_cast<std::size_t>(type_)];
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const bool gemm = operands[i].rows >= gemm_from;
    where_[i] = {false, gemm, false, form(gemm, operands[i].rows), 0, 0};
  }
  for (const Product& product : products)
    if (takes(product)) where_[product.operand].used = operands[product.operand].rows > 0;
  if (gemm_tiles_) tile_group_panels_ = tile_group_panels();
  for (const Product& product : products) {
    const Packed& packed = where_[product.operand];
    compute_items_.append(takes(product) && packed.used ? ceil_div(product.weight.rows(), task_rows(product)) : 0);
    if (takes(product) && product.up.data) {
      // Room for any part of x: how many rows of it an expert gets changes from pass to pass.
      std::int64_t most = std::max(operands[product.operand].rows, operands[product.operand].x.rows);
      if (gemm_tiles_) most = std::min(most, gemm_tiles_from_ - 1);  // more are gated where they are summed
      up_floats_ = std::max({up_floats_, std::min(most, gemm_from - 1) * task_rows_, most >= gemm_from ? most * kPanelRows : 0});
    }
  }
  place_operands(names);
  if (up_floats_ > 0) ups_ = context.workspace.floats(names.ups, static_cast<std::size_t>(up_floats_ * context.pool.threads()));
}

// A group is as large as can be, so that activations are fetched seldom, with four tasks and more for every thread.
std::int64_t Multiplication::tile_group_panels() const {
  std::int64_t panels = 0;
  for (const Product& product : products_)
    if (takes(product) && where_[product.operand].used && where_[product.operand].form == Form::kGemmTiles)
      panels += ceil_div(product.weight.rows(), kPanelRows) * (product.up.data ? 2 : 1);
  return std::clamp<std::int64_t>(panels / (4 * context_.pool.threads()) / 2 * 2, 2, gemm_tiles_->most_panels);
}

// Room for any other division of the same rows among as many operands: how many an expert gets changes from pass to pass, and with it how
// they are packed.
std::int64_t Multiplication::most_packed_bytes() const {
  if (!gemm_tiles_) return 0;
  std::int64_t rows = 0, gathered = 0, used = 0;
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    if (!where_[i].used) continue;
    rows += operands_[i].rows, ++used;
    if (operands_[i].index) gathered = std::max(gathered, operands_[i].x.rows);
  }
  if (rows < gemm_tiles_from_) return 0;
  const auto incomplete = [&](Form form, std::int64_t from) { return std::min(used, rows / from) * form_bytes(form); };
  const std::int64_t tiles = form_bytes(Form::kGemmTiles) / tile_rows(Form::kGemmTiles);
  if (panels()) return rows * tiles + incomplete(Form::kGemmTiles, gemm_tiles_from_) + gathered * packed_bytes_;
  if (used == 1) return 0;
  return rows * std::max({packed_bytes_, form_bytes(Form::kTiles) / tile_rows(Form::kTiles), tiles}) + incomplete(Form::kGemmTiles, gemm_tiles_from_) +
         incomplete(Form::kTiles, micro_.gemm_from_tokens[static_cast<std::size_t>(type_)]);
}

// Operands that follow each other and take their rows from the same ones, as experts do, share them packed where weights are in panels.
void Multiplication::place_operands(const Names& names) {
  const auto type = static_cast<std::size_t>(type_);
  const PanelMicro& panel = *context_.micro->panels;
  std::int64_t bytes = 0, rows = 0;
  const Packed* before = nullptr;
  const Operand* operand_before = nullptr;
  bool any_gemm = false;
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    Packed& packed = where_[i];
    const Operand& operand = operands_[i];
    packed.offset = bytes, packed.first_row = rows;
    if (!packed.used) {
      pack_items_.append(0);
      continue;
    }
    packed.shared = panels() && packed.form == Form::kRows && before && operand_before->x.data == operand.x.data && packed_rows(*operand_before) == packed_rows(operand);
    if (packed.shared) packed.offset = before->offset;
    const std::int64_t items = packed.shared ? 0 : ceil_div(packed.form == Form::kRows ? packed_rows(operand) : operand.rows, tile_rows(packed.form));
    pack_items_.append(items);
    bytes += items * form_bytes(packed.form);
    rows += operand.rows;
    any_gemm |= packed.gemm || packed.form == Form::kGemmTiles;
    context_.counters.path(kPathNames[type], packed.form == Form::kGemmTiles ? gemm_tiles_->path(type_)
                                             : panels()                      ? (packed.gemm ? panel.gemm_path : panel.matvec_path)
                                                                             : (packed.gemm ? micro_.gemm_path : micro_.matvec_path)[type]);
    if (packed.form == Form::kRows) before = &packed, operand_before = &operand;
  }
  const std::int64_t most = most_packed_bytes();
  packed_ = context_.workspace.bytes(names.packed, static_cast<std::size_t>(std::max(bytes, most)));
  // Another division of the rows may need it where this one does not.
  if (any_gemm || (gemm_tiles_ && most > 0)) panels_ = context_.workspace.bytes(names.panels, static_cast<std::size_t>(panel_bytes_ * context_.pool.threads()));
  if (!panels()) return;
  rows_ = reinterpret_cast<const std::byte**>(context_.workspace.bytes(names.rows, static_cast<std::size_t>(rows) * sizeof(std::byte*)));
  for (std::size_t i = 0; i < operands_.size(); ++i)
    for (std::int64_t r = 0; where_[i].used && where_[i].form == Form::kRows && r < operands_[i].rows; ++r)
      rows_[where_[i].first_row + r] = packed_ + where_[i].offset + (operands_[i].index ? operands_[i].index[r] : r) * packed_bytes_;
}

void Multiplication::pack_item(std::size_t index, std::int64_t item) {
  const Operand& operand = operands_[index];
  const Packed& packed = where_[index];
  std::byte* const memory = packed_ + packed.offset + (packed.form == Form::kGemmTiles ? 0 : item * form_bytes(packed.form));
  if (packed.form == Form::kRows && panels()) return context_.micro->panels->pack_activations(operand.x.row(item), dim_, memory);
  if (packed.form == Form::kRows) return micro_.pack(type_, operand.row(item), dim_, memory);
  static_assert(kTileTokens <= kMostTileTokens);
  const float* rows[kMostTileTokens];
  const std::int64_t first = item * tile_rows(packed.form), count = std::min(tile_rows(packed.form), operand.rows - first);
  for (std::int64_t t = 0; t < count; ++t) rows[t] = operand.row(first + t);
  if (packed.form == Form::kGemmTiles) return gemm_tiles_->pack_tile(type_, rows, item, operand.rows, dim_, memory);
  micro_.pack_tile(type_, rows, count, dim_, memory);
}

// Weight rows first_row .. first_row + rows - 1 times all rows of the operand; out[t*out_stride + n] is of weight row first_row + n.
// next: weights that this worker will probably multiply then; or null.
void Multiplication::multiply_rows(std::size_t operand, const Tensor& weight, std::int64_t first_row, std::int64_t rows, const std::byte* next, float* out,
                                   std::int64_t out_stride) {
  const Packed& packed = where_[operand];
  const std::byte *w = weight.row(first_row), *activations = packed_ + packed.offset;
  const std::int64_t tokens = operands_[operand].rows;
  std::byte* const scratch = packed.gemm ? panels_ + ThreadPool::worker() * panel_bytes_ : nullptr;
  if (panels()) {
    const PanelMicro& micro = *context_.micro->panels;
    const std::byte* const* x = rows_ + packed.first_row;
    if (packed.gemm) return micro.gemm(w, rows, dim_, x, tokens, out, out_stride, next, scratch);
    for (std::int64_t t = 0; t < tokens; t += kMatvecTokens)
      micro.matvec(w, rows, dim_, x + t, std::min(kMatvecTokens, tokens - t), out + t * out_stride, out_stride);
    return;
  }
  if (packed.gemm) return micro_.gemm(type_, w, rows, dim_, activations, tokens, out, out_stride, scratch);
  for (std::int64_t t = 0; t < tokens; t += kMatvecTokens)  // the rows of one task stay in the cache
    micro_.matvec(type_, w, rows, dim_, activations + t * packed_bytes_, std::min(kMatvecTokens, tokens - t), out + t * out_stride, out_stride);
}

// Rows from `row` on, or the first of the next product.
const std::byte* Multiplication::weights_after(std::size_t product, std::int64_t row) const {
  if (row < products_[product].weight.rows()) return products_[product].weight.row(row);
  return product + 1 < products_.size() && takes(products_[product + 1]) ? products_[product + 1].weight.data : nullptr;
}

void Multiplication::compute_item(std::size_t index, std::int64_t item) {
  const Product& product = products_[index];
  const std::int64_t step = task_rows(product), first = item * step, rows = std::min(step, product.weight.rows() - first);
  if (const Packed& packed = where_[product.operand]; packed.form == Form::kGemmTiles)
    return gemm_tiles_->gemm({type_, product.weight.row(first), product.up.data ? product.up.row(first) : nullptr, rows}, dim_, packed_ + packed.offset,
                             operands_[product.operand].rows, product.out.data + first, product.out.stride,
                             panels_ + ThreadPool::worker() * panel_bytes_);
  const std::byte* next = weights_after(index, first + rows);
  multiply_rows(product.operand, product.weight, first, rows, product.up.data ? product.up.row(first) : next, product.out.data + first, product.out.stride);
  if (!product.up.data) return;
  float* up = ups_ + ThreadPool::worker() * up_floats_;
  multiply_rows(product.operand, product.up, first, rows, next, up, rows);
  for (std::int64_t t = 0; t < operands_[product.operand].rows; ++t) {
    float* gate = product.out.row(t) + first;
    context_.micro->rows->swiglu(gate, up + t * rows, rows, gate);
  }
}

// All kinds of weights of one call: one region converts the operands, a second one multiplies.
class Kinds {
 public:
  Kinds(Context& context, std::span<const Operand> operands, std::span<const Product> products) : context_(context) {
    for (const Product& product : products) {
      if (std::any_of(kinds_.begin(), kinds_.begin() + count_, [&](const auto& kind) { return kind->takes(product); })) continue;
      if (count_ == kMaxWeightKinds) throw std::logic_error("a product of more kinds of weights than kMaxWeightKinds");
      kinds_[count_].emplace(context, operands, products, product.weight, kNames[count_]);
      ++count_;
    }
  }

  void run() {
    std::int64_t grain = kPackTaskValues;
    for (std::size_t i = 0; i < count_; ++i) grain = std::min(grain, kinds_[i]->pack_grain());
    each(&Multiplication::pack_items, grain, &Multiplication::pack);
    each(&Multiplication::compute_items, 1, &Multiplication::compute);
  }

 private:
  void each(std::int64_t (Multiplication::*items)() const, std::int64_t grain, void (Multiplication::*body)(std::int64_t, std::int64_t)) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < count_; ++i) total += ((*kinds_[i]).*items)();
    context_.pool.parallel_for(total, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::size_t i = 0; i < count_ && end > 0; ++i) {
        const std::int64_t own = ((*kinds_[i]).*items)();
        if (begin < own) ((*kinds_[i]).*body)(begin, std::min(end, own));
        begin = std::max<std::int64_t>(0, begin - own), end -= own;
      }
    });
  }

  Context& context_;
  std::array<std::optional<Multiplication>, kMaxWeightKinds> kinds_;
  std::size_t count_ = 0;
};

}  // namespace

void multiply(Context& context, std::span<const Operand> operands, std::span<const Product> products) {
  Kinds(context, operands, products).run();
}

}  // namespace crossover::cpu
