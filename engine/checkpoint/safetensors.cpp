#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace crossover {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "checkpoint files are little-endian");

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
constexpr int kMaxRank = 8;

struct FileType {
  const char* name;
  int bits;
  std::optional<DType> dtype;
};
constexpr std::array<FileType, 21> kTypes{
    {{"F32", 32, DType::kF32},     {"F16", 16, DType::kF16},     {"BF16", 16, DType::kBF16},
     {"F64", 64, std::nullopt},    {"I64", 64, std::nullopt},    {"U64", 64, std::nullopt},
     {"I32", 32, std::nullopt},    {"U32", 32, std::nullopt},    {"I16", 16, std::nullopt},
     {"U16", 16, std::nullopt},    {"I8", 8, std::nullopt},      {"U8", 8, std::nullopt},
     {"BOOL", 8, std::nullopt},    {"C64", 64, std::nullopt},    {"F8_E4M3", 8, std::nullopt},
     {"F8_E5M2", 8, std::nullopt}, {"F8_E8M0", 8, std::nullopt}, {"F6_E2M3", 6, std::nullopt},
     {"F6_E3M2", 6, std::nullopt}, {"F4", 4, std::nullopt},      {"F4_E2M1", 4, std::nullopt}}};

// Event parser: the nesting of the text never becomes nesting of calls or of a tree, and a wrong event ends it.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  struct Entry {
    StoredTensor tensor;  // offset relative to the data section
    std::uint64_t end = 0;
  };
  std::vector<Entry> entries;
  std::string problem;

  bool start_object(std::size_t) override {
    ++depth_;
    if (depth_ == 1) return true;
    if (depth_ != 2 || in_array_ != Field::kNone) return fail("nests deeper than a safetensors header does");
    entry_ = Entry{};
    entry_.tensor.name = name_;
    seen_.fill(false);
    return true;
  }
  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_) return finish_entry();
    if (depth_ == 1) in_metadata_ = false;
    return true;
  }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      name_ = text;
      in_metadata_ = text == "__metadata__";
      if (!names_.insert(text).second) return fail("appears twice in the header");
      return true;
    }
    if (in_metadata_) return true;
    field_ = text == "dtype"          ? Field::kDtype
             : text == "shape"        ? Field::kShape
             : text == "data_offsets" ? Field::kOffsets
                                      : Field::kNone;
    if (field_ == Field::kNone) return fail(fmt::format("has the unknown field '{}'", text));
    if (seen_[static_cast<std::size_t>(field_)]) return fail(fmt::format("has the field '{}' twice", text));
    seen_[static_cast<std::size_t>(field_)] = true;
    return true;
  }
  bool string(string_t& text) override {
    if (in_metadata_ && depth_ == 2) return true;
    if (depth_ != 2 || field_ != Field::kDtype || in_array_ != Field::kNone) return fail("has text where none belongs");
    entry_.tensor.dtype_name = text;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ != Field::kNone ||
        (field_ != Field::kShape && field_ != Field::kOffsets))
      return fail("has an array where none belongs");
    in_array_ = field_;
    offsets_.clear();
    return true;
  }
  bool end_array() override {
    if (in_array_ == Field::kOffsets) {
      if (offsets_.size() != 2) return fail(fmt::format("has {} data_offsets instead of 2", offsets_.size()));
      entry_.tensor.offset = offsets_[0];
      entry_.end = offsets_[1];
    }
    in_array_ = Field::kNone;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (in_array_ == Field::kShape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return fail("has a dimension too large");
      if (entry_.tensor.shape.size() == kMaxRank) return fail(fmt::format("has more than {} dimensions", kMaxRank));
      entry_.tensor.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (in_array_ != Field::kOffsets || offsets_.size() == 2) return fail("has a number where none belongs");
    offsets_.push_back(value);
    return true;
  }
  bool number_integer(number_integer_t value) override {
    return fail(fmt::format("has the negative number {}", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return fail(fmt::format("has {} instead of a whole number", text));
  }
  bool null() override { return fail("has a null"); }
  bool boolean(bool) override { return fail("has a boolean"); }
  bool binary(binary_t&) override { return fail("has binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    problem = fmt::format("the header is not JSON at byte {}", position + 8);
    return false;
  }

 private:
  enum class Field : std::uint8_t { kDtype, kShape, kOffsets, kNone };

  bool fail(const std::string& what) {
    problem = name_.empty() ? "the header " + what : fmt::format("tensor {} {}", name_, what);
    return false;
  }
  bool finish_entry() {
    if (!seen_[0] || !seen_[1] || !seen_[2]) return fail("lacks dtype, shape or data_offsets");
    entries.push_back(std::move(entry_));
    return true;
  }

  int depth_ = 0;
  bool in_metadata_ = false;
  Field field_ = Field::kNone, in_array_ = Field::kNone;
  std::array<bool, 3> seen_{};
  std::string name_;
  Entry entry_;
  std::vector<std::uint64_t> offsets_;
  std::set<std::string, std::less<>> names_;
};

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw std::runtime_error(
      fmt::format("{}: {}; the file is damaged or incomplete, fetch it again", path.string(), what));
}

// Bytes the shape needs; nullopt when they overflow or are not whole bytes.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape, int bits) {
  std::uint64_t values = 1;
  for (std::int64_t dim : shape)
    if (__builtin_mul_overflow(values, static_cast<std::uint64_t>(dim), &values)) return std::nullopt;
  std::uint64_t total_bits = 0;
  if (__builtin_mul_overflow(values, static_cast<std::uint64_t>(bits), &total_bits) || total_bits % 8 != 0)
    return std::nullopt;
  return total_bits / 8;
}

void check_entry(const fs::path& path, HeaderEvents::Entry& entry, std::uint64_t data_bytes) {
  StoredTensor& tensor = entry.tensor;
  const auto type =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const FileType& t) { return tensor.dtype_name == t.name; });
  if (type == kTypes.end())
    fail(path, fmt::format("tensor {} has the unknown dtype '{}'", tensor.name, tensor.dtype_name));
  if (tensor.offset > entry.end || entry.end > data_bytes)
    fail(path, fmt::format("tensor {} lies at bytes {} to {} of {} bytes of data", tensor.name, tensor.offset,
                           entry.end, data_bytes));
  tensor.bytes = entry.end - tensor.offset;
  const std::optional<std::uint64_t> needed = bytes_of(tensor.shape, type->bits);
  if (!needed) fail(path, fmt::format("tensor {} {} has no possible size in bytes", tensor.name, describe(tensor)));
  if (*needed != tensor.bytes)
    fail(path, fmt::format("tensor {} {} needs {} bytes, the header gives it {}", tensor.name, describe(tensor),
                           *needed, tensor.bytes));
  tensor.dtype = type->dtype;
}

// Every byte of the data belongs to exactly one tensor.
void check_cover(const fs::path& path, const std::vector<HeaderEvents::Entry>& entries, std::uint64_t data_bytes) {
  std::vector<const HeaderEvents::Entry*> order;
  for (const auto& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->tensor.offset != b->tensor.offset ? a->tensor.offset < b->tensor.offset : a->end < b->end;
  });
  std::uint64_t next = 0;
  const std::string* last = nullptr;
  for (const auto* entry : order) {
    if (entry->tensor.offset < next) fail(path, fmt::format("tensors {} and {} overlap", *last, entry->tensor.name));
    if (entry->tensor.offset > next)
      fail(path, fmt::format("{} bytes before tensor {} belong to no tensor", entry->tensor.offset - next,
                             entry->tensor.name));
    next = entry->end;
    last = &entry->tensor.name;
  }
  if (next != data_bytes) fail(path, fmt::format("the last {} bytes belong to no tensor", data_bytes - next));
}

std::string read_header(const fs::path& path, std::uint64_t& file_bytes) {
  std::error_code error;
  file_bytes = fs::file_size(path, error);
  if (error) throw std::runtime_error(fmt::format("cannot open {}: {}", path.string(), error.message()));
  std::ifstream in(path, std::ios::binary);
  std::array<char, 8> prefix{};
  if (!in) throw std::runtime_error(fmt::format("cannot open {} for reading", path.string()));
  if (!in.read(prefix.data(), prefix.size()))
    fail(path, fmt::format("{} bytes are too few for a safetensors file", file_bytes));
  std::uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof length);
  if (length > file_bytes - 8)
    fail(path, fmt::format("its header claims {} bytes, the file has {}", length, file_bytes));
  if (length > kMaxHeaderBytes)
    fail(path, fmt::format("its header claims {} bytes, the format allows {}", length, kMaxHeaderBytes));
  std::string header(length, '\0');
  if (!in.read(header.data(), static_cast<std::streamsize>(length))) fail(path, "the header cannot be read");
  return header;
}

std::vector<fs::path> safetensors_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::map<std::string, std::string> read_index(const fs::path& path) {
  const std::string text = read_text_file(path, 256u << 20);
  check_json_nesting(text, 16, path);
  const nlohmann::json index = nlohmann::json::parse(text, nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw std::runtime_error(fmt::format("{}: no weight_map object in it", path.string()));
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string())
      throw std::runtime_error(fmt::format("{}: the shard of {} is not text", path.string(), name));
    const std::string file = shard.get<std::string>();
    if (file.empty() || fs::path(file).filename() != file || file == "." || file == "..")
      throw std::runtime_error(fmt::format("{}: shard '{}' of {} is not a plain file name", path.string(), file, name));
    shard_of[name] = file;
  }
  if (shard_of.empty()) throw std::runtime_error(fmt::format("{}: weight_map is empty", path.string()));
  return shard_of;
}

void add_file(StoredTensors& all, const fs::path& path) {
  const auto index = static_cast<std::int32_t>(all.files.size());
  for (StoredTensor& tensor : read_safetensors_header(path, index)) {
    const auto [at, fresh] = all.tensors.try_emplace(tensor.name, tensor);
    if (!fresh)
      throw std::runtime_error(fmt::format("tensor {} is both in {} and in {}", tensor.name,
                                           all.files[static_cast<std::size_t>(at->second.file)].string(),
                                           path.string()));
  }
  all.files.push_back(path);
  all.file_bytes.push_back(fs::file_size(path));
}

StoredTensors open_sharded(const fs::path& directory, const fs::path& index_path) {
  const auto shard_of = read_index(index_path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards)
    if (!fs::is_regular_file(directory / shard))
      throw std::runtime_error(fmt::format("{} lists {}, which is not in {}; fetch the missing shard",
                                           index_path.filename().string(), shard, directory.string()));
  StoredTensors all;
  for (const std::string& shard : shards) add_file(all, directory / shard);
  for (const auto& [name, shard] : shard_of) {
    const auto at = all.tensors.find(name);
    if (at == all.tensors.end() || all.files[static_cast<std::size_t>(at->second.file)].filename() != shard)
      throw std::runtime_error(fmt::format(
          "{} says that tensor {} is in {}, which does not hold it; index and shards do not belong together",
          index_path.string(), name, shard));
  }
  return all;
}

}  // namespace

std::vector<StoredTensor> read_safetensors_header(const fs::path& path, std::int32_t file_index) {
  std::uint64_t file_bytes = 0;
  const std::string header = read_header(path, file_bytes);
  if (header.empty() || header.front() != '{') fail(path, "the header does not start with '{'");
  HeaderEvents events;
  if (!nlohmann::json::sax_parse(header, &events)) fail(path, events.problem);
  const std::uint64_t data_start = 8 + header.size();
  const std::uint64_t data_bytes = file_bytes - data_start;
  for (auto& entry : events.entries) check_entry(path, entry, data_bytes);
  check_cover(path, events.entries, data_bytes);
  std::vector<StoredTensor> tensors;
  for (auto& entry : events.entries) {
    entry.tensor.file = file_index;
    entry.tensor.offset += data_start;
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

StoredTensors open_safetensors(const fs::path& directory) {
  StoredTensors all;
  if (fs::exists(directory / "model.safetensors")) {
    add_file(all, directory / "model.safetensors");
    return all;
  }
  const fs::path index = directory / "model.safetensors.index.json";
  if (fs::exists(index)) return open_sharded(directory, index);
  const std::vector<fs::path> files = safetensors_files(directory);
  if (files.empty())
    throw std::runtime_error(
        fmt::format("{} holds no *.safetensors file; name a Hugging Face checkpoint directory or a .gguf file",
                    directory.string()));
  if (files.size() > 1)
    throw std::runtime_error(fmt::format("{} holds {} *.safetensors files but no model.safetensors.index.json",
                                         directory.string(), files.size()));
  add_file(all, files.front());
  return all;
}

}  // namespace crossover
