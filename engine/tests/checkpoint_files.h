// Files for the checkpoint tests: raw bytes, small safetensors files, tiny synthetic models.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/row_gather.h"
#include "engine/checkpoint/synth.h"
#include "engine/tests/temp_folder.h"
#include "kernels/tests/message_of.h"

namespace crossover::test {

namespace fs = std::filesystem;

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// A safetensors file: length, header, `data_bytes` zeros.
inline std::string safetensors(const std::string& header, std::size_t data_bytes) {
  return little_endian(static_cast<std::uint64_t>(header.size())) + header + std::string(data_bytes, '\0');
}

inline SynthOptions tiny(const std::string& preset = "tiny-dense") {
  SynthOptions options;
  options.preset = preset;
  options.vocab = 32;
  options.seed = 11;
  options.threads = 2;
  return options;
}

// Rows [first_row, first_row + row_count) of some columns (empty: all), read one range after another.
inline void read_rows(const SourceFiles& files, const SourceTensor& tensor, std::int64_t first_row, std::int64_t row_count,
                      std::span<const IndexRange> columns, std::byte* out) {
  const RowGather rows(tensor, columns);
  std::vector<std::vector<std::byte>> ranges;
  std::vector<const std::byte*> data;
  for (const Extent& extent : rows.extents(first_row, row_count)) {
    std::vector<std::byte>& bytes = ranges.emplace_back(extent.bytes);
    files.read(extent.file, extent.offset, bytes.data(), extent.bytes, tensor);
    data.push_back(bytes.data());
  }
  rows.gather(first_row, row_count, data, out);
}

// All values of a tensor in the engine's order, widened.
inline std::vector<float> values_of(const Source& source, const SourceTensor& tensor, ReadMode mode = ReadMode::kMap) {
  const SourceFiles files(source, mode);
  const std::int64_t rows = tensor.shape[0] * tensor.shape[1];
  std::vector<std::byte> stored(static_cast<std::size_t>(rows * row_bytes(tensor.dtype, tensor.shape[2])));
  read_rows(files, tensor, 0, rows, {}, stored.data());
  std::vector<float> values(static_cast<std::size_t>(rows * tensor.shape[2]));
  widen(tensor, stored.data(), rows * tensor.shape[2], values.data());
  return values;
}

// Calls `open` on `cases` damaged versions of the first `range` bytes of a file: flipped, overwritten and cut. It may
// succeed or throw a std::exception; anything else ends the test program.
inline void expect_survives_damage(const fs::path& path, std::size_t range, int cases,
                                   const std::function<void()>& open) {
  const std::string good = read_bytes(path);
  range = std::min(range, good.size());
  std::mt19937_64 random(7);
  int refused = 0;
  for (int i = 0; i < cases; ++i) {
    const std::size_t at = random() % range;
    if (i % 16 == 0) {
      fs::resize_file(path, random() % 2 == 0 ? at : good.size() - 1 - random() % (good.size() / 2));
    } else {
      std::string patch(1 + random() % 8, '\0');
      if (i % 3 == 0)
        for (char& c : patch) c = static_cast<char>(random());
      else if (i % 3 == 1)
        patch.assign(8, static_cast<char>(random() % 2 == 0 ? 0xff : 0x7f));
      else
        patch = static_cast<char>(good[at] ^ (1 << random() % 8));
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>(at));
      file.write(patch.data(), static_cast<std::streamsize>(std::min(patch.size(), good.size() - at)));
    }
    if (!message_of(open).empty()) ++refused;
    if (fs::file_size(path) != good.size()) {
      write_bytes(path, good);
    } else {
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>(at));
      file.write(good.data() + at, static_cast<std::streamsize>(std::min<std::size_t>(8, good.size() - at)));
    }
  }
  EXPECT_GT(refused, cases / 4);
  EXPECT_EQ(message_of(open), "") << "the file was not restored";
}

// The folder of golden models, or nothing.
inline std::optional<fs::path> golden_models() {
  const char* folder = std::getenv("CROSSOVER_GOLDEN");
  if (!folder || !fs::is_directory(fs::path(folder) / "models")) return std::nullopt;
  return fs::path(folder) / "models";
}

}  // namespace crossover::test
