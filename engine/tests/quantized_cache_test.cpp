// The post-quantization cache: what ranks put is the file that `quantize` writes, and it is used only when it is whole and still of
// its source.
#include "engine/load/cache/quantized_cache.h"

#include <chrono>

#include "engine/checkpoint/gguf.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/quantized_cache_files.h"

namespace crossover::test {
namespace {

struct Shape {
  const char* label;
  const char* preset;
  int ranks;
  DType type;
};
class QuantizedCacheOf : public QuantizedCache, public testing::WithParamInterface<Shape> {
 protected:
  static SynthOptions options() {
    SynthOptions o = tiny(GetParam().preset);
    if (o.preset == "tiny-moe") o.experts = 4;
    o.mtp = true;
    if (std::string(GetParam().label).starts_with("next")) o.qwen3_next = true;
    if (std::string(GetParam().label).starts_with("tied")) o.tied = true;
    return o;
  }
};

TEST_P(QuantizedCacheOf, HoldsWhatQuantizeWrites) {
  make_model(options());
  const CacheLookup before = find(GetParam().type);
  EXPECT_EQ(before.state, CacheState::kNone) << before.sentence;
  EXPECT_NE(before.sentence.find("no quantized file"), std::string::npos) << before.sentence;
  ASSERT_EQ(make(GetParam().ranks, GetParam().type), "");
  ASSERT_EQ(in_cache().size(), 1u);
  EXPECT_TRUE(in_cache()[0].starts_with(std::string("My-Model-") + name(GetParam().type) + "-")) << in_cache()[0];

  const CacheLookup hit = find(GetParam().type);
  ASSERT_EQ(hit.state, CacheState::kHit) << hit.sentence;
  check_data(hit);
  QuantizeOptions quantize;
  quantize.type = GetParam().type;
  quantize_checkpoint(model(), folder_ / "plain.gguf", quantize);
  const GgufHeader plain = read_gguf_header(folder_ / "plain.gguf");
  const std::string data = read_bytes(folder_ / "plain.gguf").substr(plain.data_start);
  EXPECT_TRUE(read_bytes(hit.file).substr(hit.header->gguf.data_start) == data);
  EXPECT_EQ(hit.header->data_bytes, data.size());
  for (const auto& [key, value] : plain.metadata) EXPECT_TRUE(hit.header->gguf.find(key)) << key;

  const Source cached = open_quantized(hit, source_);
  const Source direct = open_checkpoint(hit.file);
  ASSERT_EQ(cached.tensors.size(), source_.tensors.size());
  for (std::size_t i = 0; i < cached.tensors.size(); ++i) {
    EXPECT_EQ(cached.tensors[i].name, source_.tensors[i].name);
    EXPECT_EQ(direct.tensors[i].name, source_.tensors[i].name);
    EXPECT_EQ(cached.tensors[i].dtype, target_type(source_.tensors[i], GetParam().type)) << cached.tensors[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, QuantizedCacheOf,
                         testing::Values(Shape{"dense_one_rank", "tiny-dense", 1, DType::kQ6_K},
                                         Shape{"dense_two_ranks", "tiny-dense", 2, DType::kQ6_K},
                                         Shape{"tied_two_ranks", "tiny-dense", 2, DType::kQ8_0},
                                         Shape{"moe_two_ranks", "tiny-moe", 2, DType::kQ6_K},
                                         Shape{"moe_q8_0", "tiny-moe", 2, DType::kQ8_0},
                                         Shape{"next_two_ranks", "tiny-moe", 2, DType::kQ6_K}),
                         [](const auto& test) { return std::string(test.param.label); });

// One bit of every kind of place: the header is proved at once, data when they are read, and the place is named.
TEST_F(QuantizedCache, EveryFlippedBitIsFound) {
  make_model();
  ASSERT_EQ(make(), "");
  const CacheLookup good = find();
  ASSERT_EQ(good.state, CacheState::kHit) << good.sentence;
  const std::string bytes = read_bytes(good.file);
  const std::uint64_t data_start = good.header->gguf.data_start;
  const auto entry = [&](const std::string& key) { return good.header->gguf.entries.at(key); };

  struct Flip {
    std::string what;
    std::uint64_t at;
  };
  std::vector<Flip> flips{{"magic", 1}, {"version", 4}, {"tensor count", 8}, {"padding", data_start - 1}};
  for (const auto& [key, range] : good.header->gguf.entries) {
    flips.push_back({key, range.offset + 8});
    flips.push_back({key, range.offset + range.bytes - 1});
    flips.push_back({key, range.offset + range.bytes - 8});
  }
  const auto table = entry("crossover.cache.header_hash");
  for (std::uint64_t at = table.offset + table.bytes; at < data_start; at += 61) flips.push_back({"tensor table", at});
  for (const Flip& flip : flips) {
    std::string damaged = bytes;
    damaged[flip.at] = static_cast<char>(damaged[flip.at] ^ 4);
    write_bytes(good.file, damaged);
    const CacheLookup found = find();
    // Times are proved by the content, which is what they stand for.
    if (flip.what.starts_with("crossover.cache.file_times") && found.state == CacheState::kHit) {
      EXPECT_NE(found.sentence.find("the recorded times are damaged, but the content is the same"), std::string::npos)
          << found.sentence;
      EXPECT_EQ(read_bytes(good.file), bytes);
      continue;
    }
    EXPECT_EQ(found.state, CacheState::kDamaged) << flip.what << " at " << flip.at << ": " << found.sentence;
    EXPECT_NE(found.sentence.find(good.file.string()), std::string::npos) << found.sentence;
    EXPECT_EQ(found.header, nullptr);
  }

  for (const auto& [tensor_name, tensor] : good.header->gguf.stored.tensors)
    for (std::uint64_t at : {tensor.offset, tensor.offset + tensor.bytes - 1}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      write_bytes(good.file, damaged);
      const CacheLookup found = find();
      ASSERT_EQ(found.state, CacheState::kHit) << found.sentence;
      const std::string message = message_of([&] { check_data(found); });
      EXPECT_NE(message.find(tensor_name), std::string::npos) << message;
      EXPECT_NE(message.find("not what was written"), std::string::npos) << message;
      EXPECT_NE(message.find(good.file.string()), std::string::npos) << message;
    }
  std::string tail = bytes;
  tail.back() = static_cast<char>(tail.back() ^ 1);
  write_bytes(good.file, tail);
  EXPECT_NE(message_of([&] { check_data(find()); }), "");
  write_bytes(good.file, bytes + "x");
  EXPECT_NE(find().sentence.find(" bytes instead of "), std::string::npos) << find().sentence;
  write_bytes(good.file, bytes);
  EXPECT_EQ(find().state, CacheState::kHit);
}

TEST_F(QuantizedCache, ADamagedOneIsReplaced) {
  make_model();
  ASSERT_EQ(make(), "");
  const fs::path file = find().file;
  const std::string good = read_bytes(file);
  for (std::uint64_t left : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{400}, good.size() / 2, good.size() - 1}) {
    fs::resize_file(file, left);
    const CacheLookup found = find();
    EXPECT_EQ(found.state, CacheState::kDamaged) << left;
    EXPECT_NE(found.sentence.find(file.string()), std::string::npos) << found.sentence;
    ASSERT_EQ(make(), "");
    EXPECT_EQ(find().state, CacheState::kHit);
    EXPECT_TRUE(read_bytes(file) == good);
  }
  CacheLookup hit = find();
  discard(hit, "piece 3 is damaged");
  EXPECT_EQ(hit.state, CacheState::kDamaged);
  EXPECT_FALSE(fs::exists(file));
  CacheWriter writer(source_, hit);
  put_all(writer, source_, DType::kQ6_K, 1);
  EXPECT_TRUE(writer.finish(pool_)) << writer.trouble();
  EXPECT_EQ(find().state, CacheState::kHit);
}

TEST_F(QuantizedCache, AnotherSourceIsStaleAndReplaced) {
  make_model();
  ASSERT_EQ(make(), "");
  const fs::path first = find().file;
  const auto expect_stale = [&](const std::string& why) {
    const CacheLookup found = find();
    EXPECT_EQ(found.state, CacheState::kStale) << why << ": " << found.sentence;
    EXPECT_NE(found.sentence.find(why), std::string::npos) << found.sentence;
    EXPECT_EQ(found.header, nullptr);
  };
  const fs::path weights = source_.files[0];
  const std::string good = read_bytes(weights);

  // Other weights, the same size and header: only the content tells.
  std::string other = good;
  other[good.size() - 5] = static_cast<char>(other[good.size() - 5] ^ 0x10);
  write_bytes(weights, other);
  expect_stale("other content");
  ASSERT_EQ(make(), "");
  EXPECT_EQ(in_cache().size(), 1u);
  EXPECT_EQ(find().state, CacheState::kHit);
  EXPECT_EQ(find().file, first);
  write_bytes(weights, good);
  expect_stale("other content");

  // Another header of the same length.
  std::string header = good;
  header[header.find("\"format\"") + 10] = 'x';
  ASSERT_NE(header, good);
  write_bytes(weights, header);
  expect_stale("changed (its header)");
  // Another configuration.
  write_bytes(weights, good);
  const std::string config = read_bytes(model() / "config.json");
  write_bytes(model() / "config.json", config + " ");
  expect_stale("config.json had");
  std::string same_size = config;
  same_size[same_size.find("\n")] = ' ';
  write_bytes(model() / "config.json", same_size);
  expect_stale("config.json changed (its text)");
  write_bytes(model() / "chat_template.jinja", "x");
  expect_stale("chat_template.jinja has come to the model");
  ASSERT_EQ(make(), "");
  EXPECT_EQ(in_cache().size(), 1u);  // the outdated one went
  EXPECT_FALSE(fs::exists(first));
  fs::remove(model() / "chat_template.jinja");
  expect_stale("chat_template.jinja is no longer part");

  // Another type is another file.
  EXPECT_EQ(find(DType::kQ8_0).state, CacheState::kNone);
}

TEST_F(QuantizedCache, TouchedTimesAreAcceptedAfterHashing) {
  make_model();
  ASSERT_EQ(make(), "");
  const std::string before = read_bytes(find().file);
  fs::last_write_time(source_.files[0], fs::file_time_type::clock::now() - std::chrono::hours(5));
  const CacheLookup touched = find();
  ASSERT_EQ(touched.state, CacheState::kHit) << touched.sentence;
  EXPECT_NE(touched.sentence.find("the times changed, but the content is the same (hashed again); the new times are stored"),
            std::string::npos)
      << touched.sentence;
  EXPECT_NE(touched.sentence.find(source_.files[0].filename().string()), std::string::npos) << touched.sentence;
  EXPECT_NE(read_bytes(touched.file), before);
  const CacheLookup again = find();
  EXPECT_EQ(again.state, CacheState::kHit);
  EXPECT_EQ(again.sentence.find("hashed again"), std::string::npos) << again.sentence;
  check_data(again);
}

TEST_F(QuantizedCache, ListSaysWhatIsThere) {
  make_model();
  ASSERT_EQ(make(), "");
  ASSERT_EQ(make(1, DType::kQ8_0), "");
  std::vector<CachedModel> models = list_quantized(cache());
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].type, "q6_k");
  EXPECT_EQ(models[1].type, "q8_0");
  EXPECT_EQ(models[0].state, "good");
  EXPECT_EQ(models[0].source, model());
  EXPECT_EQ(models[0].bytes, fs::file_size(models[0].file));
  fs::resize_file(models[0].file, 100);
  write_bytes(model() / "config.json", "{}");
  CacheWriter writer(source_, find_quantized(source_, DType::kF16, cache(), pool_));
  write_bytes(cache() / "Other-q6_k-0123456789abcdef.gguf.part", "left");
  models = list_quantized(cache());
  ASSERT_EQ(models.size(), 4u);
  EXPECT_TRUE(models[0].state.starts_with("damaged: ")) << models[0].state;
  EXPECT_TRUE(models[1].state.starts_with("stale: ")) << models[1].state;
  EXPECT_EQ(models[2].state, "being written") << writer.trouble();
  EXPECT_EQ(models[3].state, "abandoned");
}

TEST_F(QuantizedCache, PiecesAreCheckedOnceWhoeverReadsThem) {
  SynthOptions options = tiny();
  options.vocab = 8192;
  make_model(options);
  ASSERT_EQ(make(), "");
  const CacheLookup hit = find();
  ASSERT_EQ(hit.state, CacheState::kHit) << hit.sentence;
  PieceCheck check(hit.header);
  ASSERT_GT(check.pieces(), 2);
  std::string bytes = read_bytes(hit.file);
  const auto* at = reinterpret_cast<const std::byte*>(bytes.data());
  const std::uint64_t start = check.data_offset();
  EXPECT_EQ(check.covering(start, 1).first, 0);
  EXPECT_EQ(check.covering(start + kCachePieceBytes - 1, 2).count, 2);
  EXPECT_EQ(check.covering(0, start).count, 0);
  check.check_once(at, start + kCachePieceBytes - 1, 2);
  EXPECT_EQ(check.checked(), 2);
  check.check_once(at, start, 2 * kCachePieceBytes);
  EXPECT_EQ(check.checked(), 2);
  check.check_once(at, start, bytes.size() - start);
  EXPECT_EQ(check.checked(), check.pieces());
  EXPECT_THROW(check.check(check.pieces(), at, 1), std::invalid_argument);
  PieceCheck fresh(hit.header);
  bytes[start + kCachePieceBytes + 7] ^= 1;
  fresh.check(0, at + start, 1);
  const std::string message = message_of([&] { fresh.check(1, at + start + kCachePieceBytes, 1); });
  EXPECT_NE(message.find("piece 1 of"), std::string::npos) << message;
  EXPECT_NE(message.find("token_embd.weight"), std::string::npos) << message;
}

TEST_F(QuantizedCache, DamageNeverCrashes) {
  make_model();
  ASSERT_EQ(make(), "");
  const CacheLookup hit = find();
  expect_survives_damage(hit.file, hit.header->gguf.data_start, 3000, [&] {
    const CacheLookup found = find();
    if (found.state != CacheState::kHit) throw std::runtime_error(found.sentence);
  });
}

}  // namespace
}  // namespace crossover::test
