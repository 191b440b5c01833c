#include "engine/checkpoint/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace crossover {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "checkpoint files are little-endian");

constexpr std::array<std::uint32_t, kDTypeCount> kTypeNumbers{0, 1, 30, 8, 14, 2, 3, 6, 7};  // in the order of DType
constexpr std::uint64_t kMaxStringBytes = 64u << 20;  // chat templates are the longest strings in use
constexpr std::uint64_t kMaxNameBytes = 1024;
constexpr std::uint64_t kMaxAlignment = 1u << 20;
constexpr std::uint64_t kMaxEntries = 1u << 20;  // metadata keys; tensors
constexpr int kMaxRank = 4;
constexpr int kMaxArrayDepth = 4;

// Sequential reader that never goes past the end of the file. A vocabulary is half a million strings, so what lies in the buffer
// costs no call.
class HeaderReader {
 public:
  explicit HeaderReader(const fs::path& path) : path_(path), in_(path, std::ios::binary) {
    std::error_code error;
    bytes_ = fs::file_size(path, error);
    if (error) throw std::runtime_error(fmt::format("cannot open {}: {}", path.string(), error.message()));
    if (!in_) throw std::runtime_error(fmt::format("cannot open {} for reading", path.string()));
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(
        fmt::format("{}: {}; the file is damaged or incomplete, make or fetch it again", path_.string(), what));
  }
  std::uint64_t file_bytes() const { return bytes_; }
  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_ - position_; }

  void raw(void* to, std::uint64_t count, std::string_view what) {
    check_left(count, what);
    auto* out = static_cast<char*>(to);
    while (count > 0) {
      if (at_ == buffered_) fill(what);
      const std::uint64_t here = std::min<std::uint64_t>(count, buffered_ - at_);
      std::memcpy(out, buffer_.data() + at_, here);
      out += here, count -= here, at_ += here, position_ += here;
    }
  }
  void skip(std::uint64_t count, std::string_view what) {
    check_left(count, what);
    position_ += count;
    if (count <= buffered_ - at_) {
      at_ += count;
      return;
    }
    at_ = buffered_ = 0;
    in_.seekg(static_cast<std::streamoff>(position_));
  }
  template <class T>
  T value(std::string_view what) {
    T result;
    raw(&result, sizeof result, what);
    return result;
  }
  std::uint64_t string_length(std::uint64_t limit, std::string_view what) {
    const auto length = value<std::uint64_t>(what);
    if (length > limit || length > left()) fail(fmt::format("{} claims a string of {} bytes", what, length));
    return length;
  }
  std::string string(std::uint64_t limit, std::string_view what) {
    std::string text(string_length(limit, what), '\0');
    raw(text.data(), text.size(), what);
    return text;
  }

 private:
  void check_left(std::uint64_t count, std::string_view what) const {
    if (count > left()) fail(fmt::format("{} at byte {} needs {} bytes, {} are left", what, position_, count, left()));
  }
  void fill(std::string_view what) {
    const std::uint64_t wanted = std::min<std::uint64_t>(buffer_.size(), left());
    if (!in_.read(buffer_.data(), static_cast<std::streamsize>(wanted))) fail(fmt::format("{} cannot be read", what));
    at_ = 0;
    buffered_ = wanted;
  }

  fs::path path_;
  std::ifstream in_;
  std::vector<char> buffer_ = std::vector<char>(256u << 10);
  std::uint64_t at_ = 0, buffered_ = 0;          // in the buffer
  std::uint64_t bytes_ = 0, position_ = 0;  // in the file
};

std::uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

GgufType read_type(HeaderReader& in, const std::string& key) {
  const auto type = in.value<std::uint32_t>(key);
  if (type > static_cast<std::uint32_t>(GgufType::kF64))
    in.fail(fmt::format("metadata {} has the unknown type {}", key, type));
  return static_cast<GgufType>(type);
}

std::int64_t read_integer(HeaderReader& in, GgufType type, const std::string& key) {
  switch (type) {
    case GgufType::kU8:
      return in.value<std::uint8_t>(key);
    case GgufType::kI8:
      return in.value<std::int8_t>(key);
    case GgufType::kU16:
      return in.value<std::uint16_t>(key);
    case GgufType::kI16:
      return in.value<std::int16_t>(key);
    case GgufType::kU32:
      return in.value<std::uint32_t>(key);
    case GgufType::kI32:
      return in.value<std::int32_t>(key);
    case GgufType::kBool:
      return in.value<std::uint8_t>(key) != 0;
    case GgufType::kI64:
      return in.value<std::int64_t>(key);
    default:
      break;
  }
  const auto value = in.value<std::uint64_t>(key);
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    in.fail(fmt::format("metadata {} is too large", key));
  return static_cast<std::int64_t>(value);
}

bool is_integer(GgufType type) { return scalar_bytes(type) != 0 && type != GgufType::kF32 && type != GgufType::kF64; }

GgufArray read_array(HeaderReader& in, const std::string& key, int depth) {
  if (depth > kMaxArrayDepth) in.fail(fmt::format("metadata {} nests arrays deeper than {}", key, kMaxArrayDepth));
  GgufArray array;
  array.type = read_type(in, key);
  array.count = in.value<std::uint64_t>(key);
  // An element takes at least one byte, a string eight, an array twelve: a count the rest of the file cannot hold is
  // refused here.
  const std::uint64_t least = array.type == GgufType::kString  ? 8
                              : array.type == GgufType::kArray ? 12
                                                               : scalar_bytes(array.type);
  if (array.count > in.left() / least)
    in.fail(fmt::format("metadata {} claims an array of {} elements", key, array.count));
  if (array.type == GgufType::kString) {
    for (std::uint64_t i = 0; i < array.count; ++i) in.skip(in.string_length(kMaxStringBytes, key), key);
  } else if (array.type == GgufType::kArray) {
    for (std::uint64_t i = 0; i < array.count; ++i) read_array(in, key, depth + 1);
  } else if (is_integer(array.type) && array.count <= GgufArray::kKeptValues) {
    array.integers.reserve(array.count);
    for (std::uint64_t i = 0; i < array.count; ++i) array.integers.push_back(read_integer(in, array.type, key));
  } else {
    in.skip(array.count * scalar_bytes(array.type), key);
  }
  return array;
}

GgufValue read_value(HeaderReader& in, const std::string& key) {
  const GgufType type = read_type(in, key);
  switch (type) {
    case GgufType::kF32:
      return static_cast<double>(in.value<float>(key));
    case GgufType::kF64:
      return in.value<double>(key);
    case GgufType::kBool:
      return read_integer(in, type, key) != 0;
    case GgufType::kString:
      return in.string(kMaxStringBytes, "metadata " + key);
    case GgufType::kArray:
      return read_array(in, key, 1);
    default:
      return read_integer(in, type, key);
  }
}

std::string type_name(std::uint32_t type) {
  static constexpr std::array<std::pair<std::uint32_t, const char*>, 9> kOther{{{9, "q8_1"},
                                                                                {10, "q2_k"},
                                                                                {11, "q3_k"},
                                                                                {12, "q4_k"},
                                                                                {13, "q5_k"},
                                                                                {15, "q8_k"},
                                                                                {28, "f64"},
                                                                                {20, "iq4_nl"},
                                                                                {23, "iq4_xs"}}};
  for (const auto& [number, text] : kOther)
    if (number == type) return text;
  return fmt::format("type {}", type);
}

StoredTensor read_tensor(HeaderReader& in) {
  StoredTensor tensor;
  tensor.name = in.string(kMaxNameBytes, "a tensor name");
  const auto rank = in.value<std::uint32_t>(tensor.name);
  if (rank == 0 || rank > kMaxRank) in.fail(fmt::format("tensor {} has {} dimensions", tensor.name, rank));
  std::uint64_t values = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const auto dim = in.value<std::uint64_t>(tensor.name);
    if (dim == 0 || dim > (1ull << 62) || __builtin_mul_overflow(values, dim, &values) || values > (1ull << 60))
      in.fail(fmt::format("tensor {} has an impossible dimension {}", tensor.name, dim));
    tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(dim));
  }
  const auto type = in.value<std::uint32_t>(tensor.name);
  tensor.dtype = parse_gguf_dtype(type);
  tensor.dtype_name = tensor.dtype ? name(*tensor.dtype) : type_name(type);
  tensor.offset = in.value<std::uint64_t>(tensor.name);
  if (!tensor.dtype) return tensor;
  const std::int64_t row = tensor.shape.back();
  if (row % info(*tensor.dtype).block_values != 0)
    in.fail(fmt::format("tensor {} {} has rows that are not whole blocks", tensor.name, describe(tensor)));
  tensor.bytes = values / static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>(row_bytes(*tensor.dtype, row));
  return tensor;
}

// Offsets become positions in the file; tensors lie inside it, aligned and apart.
void place_tensors(const HeaderReader& in, GgufHeader& header) {
  const std::uint64_t data_start = header.data_start;
  std::vector<StoredTensor*> order;
  for (auto& [name, tensor] : header.stored.tensors) {
    if (tensor.offset % header.alignment != 0)
      in.fail(fmt::format("tensor {} starts at {}, not at a multiple of {}", name, tensor.offset, header.alignment));
    const std::uint64_t room = data_start <= in.file_bytes() ? in.file_bytes() - data_start : 0;
    if (tensor.offset > room || tensor.bytes > room - tensor.offset)
      in.fail(fmt::format("tensor {} needs bytes {} to {}+{} of {} bytes of data", name, tensor.offset, tensor.offset,
                          tensor.bytes, room));
    tensor.offset += data_start;
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes || order[i]->offset == order[i - 1]->offset)
      in.fail(fmt::format("tensors {} and {} overlap", order[i - 1]->name, order[i]->name));
}

template <class T>
const T* get_as(const GgufHeader& header, std::string_view key, const char* kind) {
  const GgufValue* value = header.find(key);
  if (!value) return nullptr;
  const T* typed = std::get_if<T>(value);
  if (!typed)
    throw std::runtime_error(fmt::format("{}: metadata {} is not {}", header.stored.files.front().string(), key, kind));
  return typed;
}

}  // namespace

std::uint32_t gguf_dtype(DType dtype) { return kTypeNumbers[static_cast<std::size_t>(dtype)]; }

std::optional<DType> parse_gguf_dtype(std::uint32_t type) {
  const auto at = std::find(kTypeNumbers.begin(), kTypeNumbers.end(), type);
  if (at == kTypeNumbers.end()) return std::nullopt;
  return static_cast<DType>(at - kTypeNumbers.begin());
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  const auto at = metadata.find(key);
  return at == metadata.end() ? nullptr : &at->second;
}

std::optional<std::int64_t> GgufHeader::integer(std::string_view key) const {
  const auto* value = get_as<std::int64_t>(*this, key, "a whole number");
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<double> GgufHeader::number(std::string_view key) const {
  const auto* value = get_as<double>(*this, key, "a floating-point number");
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<bool> GgufHeader::boolean(std::string_view key) const {
  const auto* value = get_as<bool>(*this, key, "a boolean");
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<std::string> GgufHeader::text(std::string_view key) const {
  const auto* value = get_as<std::string>(*this, key, "text");
  return value ? std::optional(*value) : std::nullopt;
}

const GgufArray* GgufHeader::array(std::string_view key) const { return get_as<GgufArray>(*this, key, "an array"); }

GgufHeader read_gguf_header(const fs::path& path) {
  HeaderReader in(path);
  GgufHeader header;
  header.stored.files = {path};
  header.stored.file_bytes = {in.file_bytes()};
  std::array<char, 4> magic{};
  in.raw(magic.data(), magic.size(), "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) in.fail("it does not start with GGUF");
  const auto version = in.value<std::uint32_t>("the version");
  if (version != 3) in.fail(fmt::format("it has GGUF version {}, version 3 is supported", version));
  const auto tensor_count = in.value<std::uint64_t>("the tensor count");
  const auto key_count = in.value<std::uint64_t>("the metadata count");
  // A tensor entry takes at least 33 bytes, a metadata entry 13.
  if (tensor_count > kMaxEntries || tensor_count > in.left() / 33)
    in.fail(fmt::format("it claims {} tensors", tensor_count));
  if (key_count > kMaxEntries || key_count > in.left() / 13)
    in.fail(fmt::format("it claims {} metadata entries", key_count));
  for (std::uint64_t i = 0; i < key_count; ++i) {
    const std::uint64_t start = in.position();
    const std::string key = in.string(kMaxNameBytes, "a metadata key");
    if (!header.metadata.try_emplace(key, read_value(in, key)).second)
      in.fail(fmt::format("metadata {} appears twice", key));
    header.entries[key] = {start, in.position() - start};
  }
  if (const auto alignment = header.integer("general.alignment")) {
    if (*alignment < 1 || *alignment > static_cast<std::int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<std::uint64_t>(*alignment)))
      in.fail(fmt::format("general.alignment is {}", *alignment));
    header.alignment = static_cast<std::uint64_t>(*alignment);
  }
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    StoredTensor tensor = read_tensor(in);
    const std::string tensor_name = tensor.name;
    if (!header.stored.tensors.try_emplace(tensor_name, std::move(tensor)).second)
      in.fail(fmt::format("tensor {} appears twice", tensor_name));
  }
  header.data_start = (in.position() + header.alignment - 1) / header.alignment * header.alignment;
  place_tensors(in, header);
  return header;
}

namespace {

// The elements of an array as the file holds them.
std::string array_bytes(const GgufHeader& header, std::string_view key, GgufType type) {
  const std::string file = header.stored.files.front().string();
  const GgufArray* array = header.array(key);
  if (!array || array->type != type)
    throw std::runtime_error(fmt::format("{}: metadata {} is missing or holds other values than expected", file, key));
  const GgufHeader::Range entry = header.entries.find(key)->second;
  // In front of the elements: the key with its length, two types, the count.
  const std::uint64_t before = sizeof(std::uint64_t) + key.size() + 2 * sizeof(std::uint32_t) + sizeof(std::uint64_t);
  std::string bytes(entry.bytes - before, '\0');
  std::ifstream in(file, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(entry.offset + before));
  if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
    throw std::runtime_error(fmt::format("{}: metadata {} cannot be read", file, key));
  return bytes;
}

}  // namespace

std::vector<std::string> read_strings(const GgufHeader& header, std::string_view key) {
  const std::string bytes = array_bytes(header, key, GgufType::kString);
  std::vector<std::string> strings;
  for (std::uint64_t at = 0; at < bytes.size();) {
    std::uint64_t length = bytes.size();
    if (bytes.size() - at >= sizeof length) std::memcpy(&length, bytes.data() + at, sizeof length);
    at += sizeof length;
    if (at > bytes.size() || length > bytes.size() - at)
      throw std::runtime_error(
          fmt::format("{}: metadata {} changed while it was read", header.stored.files.front().string(), key));
    strings.emplace_back(bytes, at, length);
    at += length;
  }
  return strings;
}

std::vector<std::int32_t> read_i32s(const GgufHeader& header, std::string_view key) {
  const std::string bytes = array_bytes(header, key, GgufType::kI32);
  std::vector<std::int32_t> values(bytes.size() / sizeof(std::int32_t));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(std::int32_t));
  return values;
}

}  // namespace crossover
