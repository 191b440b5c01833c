#include "engine/load/cache/cache_header.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "engine/checkpoint/output_file.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kVersion = 1;  // of these keys
constexpr const char* kVersionKey = "crossover.cache.version";
constexpr const char* kQuantizerKey = "crossover.cache.quantizer";
constexpr const char* kModelKey = "crossover.cache.model";
constexpr const char* kTypeKey = "crossover.cache.type";
constexpr const char* kTypeMapKey = "crossover.cache.type_map";
constexpr const char* kFilesKey = "crossover.cache.files";
constexpr const char* kBytesKey = "crossover.cache.file_bytes";
constexpr const char* kHeadersKey = "crossover.cache.file_headers";
constexpr const char* kContentsKey = "crossover.cache.file_contents";
constexpr const char* kTimesKey = "crossover.cache.file_times";
constexpr const char* kTimesHashKey = "crossover.cache.file_times_hash";
constexpr const char* kPieceBytesKey = "crossover.cache.piece_bytes";
constexpr const char* kPieceHashesKey = "crossover.cache.piece_hashes";
constexpr const char* kHeaderHashKey = "crossover.cache.header_hash";
constexpr std::uint64_t kMaxHeaderBytes = 1u << 30;

std::int64_t stored(std::uint64_t value) { return static_cast<std::int64_t>(value); }

// mtime and ctime of every file, as stored.
std::vector<std::int64_t> times_of(const SourceIdentity& source) {
  std::vector<std::int64_t> times;
  for (const SourceFileState& file : source.files) {
    times.push_back(file.mtime_ns);
    times.push_back(file.ctime_ns);
  }
  return times;
}

std::uint64_t hash_of(const std::vector<std::int64_t>& values) {
  return hash64(values.data(), values.size() * sizeof(std::int64_t));
}

std::string joined_names(const SourceIdentity& source) {
  std::string names;
  for (const SourceFileState& file : source.files) names += file.name + "\n";
  return names;
}

std::vector<std::string> split_names(const std::string& joined) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at < joined.size();) {
    const std::size_t end = joined.find('\n', at);
    names.push_back(joined.substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return names;
}

}  // namespace

CacheKey cache_key(const Source& source, DType type) {
  CacheKey key{identify(source), name(type), 0};
  std::string map;
  for (const GgufTensorPlan& tensor : plan_gguf(source, type))
    map += fmt::format("{} {} {} {} {}\n", tensor.name, name(tensor.dtype), tensor.shape[0], tensor.shape[1],
                       tensor.shape[2]);
  key.type_map = hash64(map.data(), map.size());
  return key;
}

std::string CacheKey::digits() const {
  std::string text = fmt::format("{} {} {} {}\n", kVersion, kQuantizerVersion, type, type_map);
  for (const SourceFileState& file : source.files)
    text += fmt::format("{} {} {}\n", file.name, file.bytes, file.header_hash);
  return hex(hash64(text.data(), text.size()));
}

std::string CacheHeader::difference(const CacheKey& wanted) const {
  if (quantizer != kQuantizerVersion)
    return fmt::format("it was made by version {} of the quantizers, this is version {}", quantizer, kQuantizerVersion);
  if (key.type != wanted.type) return fmt::format("it holds {}, {} is wanted", key.type, wanted.type);
  const auto& was = key.source.files;
  const auto& now = wanted.source.files;
  const auto by_name = [](const std::vector<SourceFileState>& files, const std::string& name) {
    return std::find_if(files.begin(), files.end(), [&](const SourceFileState& f) { return f.name == name; });
  };
  for (const SourceFileState& one : now)
    if (by_name(was, one.name) == was.end()) return fmt::format("{} has come to the model since", one.name);
  for (const SourceFileState& one : was) {
    const auto at = by_name(now, one.name);
    if (at == now.end()) return fmt::format("{} is no longer part of the model", one.name);
    if (at->bytes != one.bytes) return fmt::format("{} had {} bytes, now it has {}", one.name, one.bytes, at->bytes);
    if (at->header_hash == one.header_hash) continue;
    const bool weights = one.name.ends_with(".safetensors") || one.name.ends_with(".gguf");
    return fmt::format("{} changed ({})", one.name, weights ? "its header" : "its text");
  }
  if (joined_names(key.source) != joined_names(wanted.source)) return "the files of the model have another order";
  if (key.type_map != wanted.type_map) return "tensors have other names, types or shapes";
  return "";
}

bool is_cache_header(const GgufHeader& header) { return header.find(kVersionKey) != nullptr; }

namespace {

// Values of metadata, straight from the header bytes.
class Fields {
 public:
  Fields(const fs::path& file, const GgufHeader& header) : file_(file), header_(header) {
    if (header.data_start > kMaxHeaderBytes) fail(fmt::format("its header claims {} bytes", header.data_start));
    bytes_.resize(header.data_start);
    std::ifstream in(file, std::ios::binary);
    if (!in.read(bytes_.data(), static_cast<std::streamsize>(bytes_.size()))) fail("its header cannot be read");
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}; the file is damaged", file_.string(), what));
  }
  std::int64_t integer(const char* key) const {
    const auto value = header_.integer(key);
    if (!value) fail(fmt::format("metadata {} is missing", key));
    return *value;
  }
  std::string text(const char* key) const {
    auto value = header_.text(key);
    if (!value) fail(fmt::format("metadata {} is missing", key));
    return std::move(*value);
  }
  template <class T>
  std::vector<T> array(const char* key) const {
    static_assert(sizeof(T) % sizeof(std::int64_t) == 0);
    const auto [at, count] = range(key);
    if (count % sizeof(T) != 0) fail(fmt::format("metadata {} is not whole", key));
    std::vector<T> values(count / sizeof(T));
    std::memcpy(values.data(), bytes_.data() + at, count);
    return values;
  }
  // Where the elements of an array lie: offset, bytes.
  std::pair<std::uint64_t, std::uint64_t> range(const char* key) const {
    const GgufArray* array = header_.array(key);
    if (!array || array->type != GgufType::kI64) fail(fmt::format("metadata {} is missing or no array of i64", key));
    const GgufHeader::Range entry = header_.entries.at(key);
    return {entry.offset + entry.bytes - array->count * sizeof(std::int64_t), array->count * sizeof(std::int64_t)};
  }
  // The hash of all bytes with the named 8-byte values and the times taken as zeros.
  std::uint64_t header_hash() const {
    std::string bytes = bytes_;
    const auto [times_at, times_bytes] = range(kTimesKey);
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(times_at), times_bytes, '\0');
    for (const char* key : {kTimesHashKey, kHeaderHashKey})
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(scalar_at(key)), sizeof(std::int64_t), '\0');
    return hash64(bytes.data(), bytes.size());
  }
  std::uint64_t scalar_at(const char* key) const {
    integer(key);
    const GgufHeader::Range entry = header_.entries.at(key);
    return entry.offset + entry.bytes - sizeof(std::int64_t);
  }

 private:
  fs::path file_;
  const GgufHeader& header_;
  std::string bytes_;
};

void take_source(const Fields& fields, CacheHeader& header) {
  SourceIdentity& source = header.key.source;
  source.model = fields.text(kModelKey);
  const std::vector<std::string> names = split_names(fields.text(kFilesKey));
  const auto bytes = fields.array<std::int64_t>(kBytesKey), headers = fields.array<std::int64_t>(kHeadersKey),
             times = fields.array<std::int64_t>(kTimesKey);
  header.contents = fields.array<Hash128>(kContentsKey);
  if (bytes.size() != names.size() || headers.size() != names.size() || times.size() != 2 * names.size() ||
      header.contents.size() != names.size())
    fields.fail(fmt::format("it names {} source files but says something else of their number", names.size()));
  for (std::size_t i = 0; i < names.size(); ++i)
    source.files.push_back({names[i], static_cast<std::uint64_t>(bytes[i]), times[2 * i], times[2 * i + 1],
                            static_cast<std::uint64_t>(headers[i])});
  header.times_intact = stored(hash_of(times)) == fields.integer(kTimesHashKey);
}

}  // namespace

CacheHeader read_cache_header(const fs::path& file) {
  CacheHeader header;
  header.file = file;
  header.gguf = read_gguf_header(file);
  const Fields fields(file, header.gguf);
  if (fields.integer(kVersionKey) != kVersion)
    fields.fail(fmt::format("its crossover.cache keys are of version {}, this program knows {}",
                            fields.integer(kVersionKey), kVersion));
  if (stored(fields.header_hash()) != fields.integer(kHeaderHashKey)) fields.fail("its header does not have the hash it says");
  take_source(fields, header);
  header.quantizer = static_cast<std::uint32_t>(fields.integer(kQuantizerKey));
  header.key.type = fields.text(kTypeKey);
  header.key.type_map = static_cast<std::uint64_t>(fields.integer(kTypeMapKey));
  header.piece_hashes = fields.array<std::uint64_t>(kPieceHashesKey);
  if (fields.integer(kPieceBytesKey) != static_cast<std::int64_t>(kCachePieceBytes))
    fields.fail("it is hashed in pieces of another size");
  for (const auto& [name, tensor] : header.gguf.stored.tensors)
    header.data_bytes = std::max(header.data_bytes, tensor.offset + tensor.bytes - header.gguf.data_start);
  header.data_bytes = (header.data_bytes + header.gguf.alignment - 1) / header.gguf.alignment * header.gguf.alignment;
  const std::uint64_t file_bytes = header.gguf.stored.file_bytes[0];
  if (file_bytes != header.gguf.data_start + header.data_bytes)
    fields.fail(fmt::format("it has {} bytes instead of {}", file_bytes, header.gguf.data_start + header.data_bytes));
  if (header.piece_hashes.size() != (header.data_bytes + kCachePieceBytes - 1) / kCachePieceBytes)
    fields.fail(fmt::format("it has {} piece hashes for {} bytes of data", header.piece_hashes.size(), header.data_bytes));
  return header;
}

void store_times(const CacheHeader& header, const SourceIdentity& now) {
  const Fields fields(header.file, header.gguf);
  const std::vector<std::int64_t> times = times_of(now);
  const auto [at, bytes] = fields.range(kTimesKey);
  if (times.size() * sizeof(std::int64_t) != bytes) throw std::invalid_argument("another number of source files");
  const std::int64_t hash = stored(hash_of(times));
  const int descriptor = open(header.file.c_str(), O_WRONLY | O_CLOEXEC);
  // A kill between the two leaves times that do not have their hash: the next load compares the contents again.
  const bool wrote = descriptor >= 0 &&
                     pwrite(descriptor, times.data(), bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes) &&
                     pwrite(descriptor, &hash, sizeof hash, static_cast<off_t>(fields.scalar_at(kTimesHashKey))) ==
                         static_cast<ssize_t>(sizeof hash);
  const int reason = errno;
  if (descriptor >= 0) close(descriptor);
  if (!wrote)
    throw std::runtime_error(fmt::format("cannot store the new times in {}: {}", header.file.string(),
                                         std::generic_category().message(reason)));
}

CacheHeaderBytes::CacheHeaderBytes(const Source& source, const GgufLayout& layout, const CacheKey& key) {
  const std::size_t files = key.source.files.size();
  std::vector<std::int64_t> bytes, headers;
  for (const SourceFileState& file : key.source.files) {
    bytes.push_back(stored(file.bytes));
    headers.push_back(stored(file.header_hash));
  }
  const std::vector<std::int64_t> times = times_of(key.source);
  const std::uint64_t pieces = (layout.data_bytes() + kCachePieceBytes - 1) / kCachePieceBytes;
  GgufMetadata extra;
  extra.add_u32(kVersionKey, kVersion);
  extra.add_u32(kQuantizerKey, kQuantizerVersion);
  extra.add_string(kModelKey, key.source.model.string());
  extra.add_string(kTypeKey, key.type);
  extra.add_i64(kTypeMapKey, stored(key.type_map));
  extra.add_string(kFilesKey, joined_names(key.source));
  extra.add_i64s(kBytesKey, bytes);
  extra.add_i64s(kHeadersKey, headers);
  contents_at_ = extra.add_i64s(kContentsKey, std::vector<std::int64_t>(2 * files));
  const std::size_t times_at = extra.add_i64s(kTimesKey, times);
  const std::size_t times_hash_at = extra.add_i64(kTimesHashKey, stored(hash_of(times)));
  extra.add_u32(kPieceBytesKey, kCachePieceBytes);
  pieces_at_ = extra.add_i64s(kPieceHashesKey, std::vector<std::int64_t>(pieces));
  header_hash_at_ = extra.add_i64(kHeaderHashKey, 0);
  std::size_t extra_at = 0;
  bytes_ = layout.header(source, extra, &extra_at);
  for (std::size_t* at : {&contents_at_, &pieces_at_, &header_hash_at_}) *at += extra_at;
  uncovered_ = {{extra_at + times_at, times.size() * sizeof(std::int64_t)},
                {extra_at + times_hash_at, sizeof(std::int64_t)},
                {header_hash_at_, sizeof(std::int64_t)}};
}

void CacheHeaderBytes::set(std::size_t at, const void* values, std::size_t count) {
  std::memcpy(bytes_.data() + at, values, count);
}

const std::string& CacheHeaderBytes::fill(std::span<const Hash128> contents, std::span<const std::uint64_t> piece_hashes) {
  set(contents_at_, contents.data(), contents.size_bytes());
  set(pieces_at_, piece_hashes.data(), piece_hashes.size_bytes());
  std::string covered = bytes_;
  for (const auto& [at, count] : uncovered_) std::fill_n(covered.begin() + static_cast<std::ptrdiff_t>(at), count, '\0');
  const std::uint64_t hash = hash64(covered.data(), covered.size());
  set(header_hash_at_, &hash, sizeof hash);
  return bytes_;
}

}  // namespace crossover
