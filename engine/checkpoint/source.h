// A checkpoint seen as GGUF tensors: whatever the file format, every tensor of the model has GGUF's name, shape and head order,
// and says where its rows lie. So one loader, one shard plan and one GGUF writer serve both formats, and the in-situ and the GGUF
// route quantize the same values in the same order.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "kernels/tensor.h"

namespace crossover {

struct IndexRange {
  std::int64_t first, count;
};

// Applied in f32 after widening.
enum class Transform : std::uint8_t { kNone, kAddOne /* zero-centred norm */, kNegExp /* A_log -> ssm_a */ };

// Rows first_row .. first_row+rows-1 of the tensor (expert-major: row e*R + r) lie in `file` at offset + i*stride_bytes.
struct RowSegment {
  std::int32_t file;     // index into Source::files
  std::uint64_t offset;  // bytes from the start of the file
  std::int64_t first_row, rows, stride_bytes;
};

// Columns [to, to + count) of the tensor are stored columns [from, from + count).
struct ColumnRun { std::int64_t to, from, count; };

struct SourceTensor {
  std::string name;                   // GGUF name: "blk.0.attn_qkv.weight"
  DType dtype;                        // as stored
  std::array<std::int64_t, 3> shape;  // experts, rows, cols, as Tensor::shape
  Transform transform = Transform::kNone;
  std::vector<RowSegment> segments;   // ascending first_row, covering experts*rows
  std::vector<ColumnRun> columns;     // empty: as stored
  std::string stored_as;              // name(s) in the file, for messages
};

struct Source {
  ModelConfig config;
  std::vector<std::filesystem::path> files;
  std::vector<std::uint64_t> file_bytes;
  std::vector<SourceTensor> tensors;  // GGUF order: token_embd, output_norm, output, blk.0.*, ...; text model and MTP
  std::filesystem::path tokenizer;    // tokenizer.json beside the checkpoint; empty when there is none
  bool gguf = false;

  const SourceTensor* find(std::string_view name) const;
};

// A directory with config.json and *.safetensors, or a .gguf file. Verified here: headers, names, dtypes, shapes, ranges against the
// file sizes; nothing is read but headers. std::runtime_error names file, tensor, what was found and what to do.
Source open_checkpoint(const std::filesystem::path& path);

// The element type a tensor gets when the model is loaded or written as `weights` (model-spec 7.4): matrices take it, a row that
// is not whole blocks falls back to q8_0; conv1d, router, shared-expert gate, ssm_alpha/beta and vectors are f32.
DType target_type(const SourceTensor& tensor, DType weights);

}  // namespace crossover
