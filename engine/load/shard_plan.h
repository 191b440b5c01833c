// Which part of every tensor a rank of a tensor-parallel group holds. Rows and columns are GGUF's (engine/checkpoint/source.h).
// Attention is split by head, GDN by key head with its value heads, FFN and experts by width, vocabulary by row; norms and routers
// are on every rank. A column-split block format is dealt in whole blocks, so every rank count holds the same quantized bytes; a
// rank may hold none of a tensor.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/source.h"

namespace crossover {

// What one rank computes with; 0 where it holds nothing.
struct RankShape {
  std::int64_t heads = 0, kv_heads = 0;         // attention
  std::int64_t key_heads = 0, value_heads = 0;  // GDN
  std::int64_t intermediate = 0, expert_width = 0, shared_width = 0;
  std::int64_t first_vocab_row = 0, vocab_rows = 0;  // of the embedding
  std::int64_t first_head_row = 0, head_rows = 0;    // of the output head
  bool head_copy = false;                            // of rank 0's whole head: its logits are nobody's answer
};

enum class HeadPolicy : std::uint8_t { kSharded, kRank0, kEveryRankQuantized, kEveryRankPlain };  // values of CROSSOVER_LM_HEAD

struct TensorShard {
  std::size_t tensor;                        // index into Source::tensors
  std::string place;                         // GGUF name of what it is used as: a tied embedding may be the head too
  DType dtype;                               // as held
  std::array<std::int64_t, 3> shape;         // of the part
  std::vector<IndexRange> rows, columns;     // of each expert; ascending and disjoint
};

struct RankPlan {
  RankShape shape;
  std::vector<TensorShard> tensors;  // text model; MTP tensors are not loaded (see is_mtp)
  std::int64_t bytes() const;        // of all parts
};

struct ShardPlan {
  std::vector<RankPlan> ranks;
};

// `weights`: the type matrices are held in, empty = as stored. std::invalid_argument, before anything is read, when the model
// cannot be split over `ranks`, naming the tensor and the number that does not divide.
ShardPlan make_shard_plan(const Source& source, std::optional<DType> weights, int ranks, HeadPolicy head = HeadPolicy::kSharded);

bool is_mtp(const SourceTensor& tensor, const ModelConfig& config);

// One line per tensor kind and rank: shares of rows or columns, bytes.
std::string describe(const Source& source, const ShardPlan& plan);

}  // namespace crossover
