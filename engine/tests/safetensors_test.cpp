// Headers of safetensors files: what is read, and that every kind of damage is refused with the file and the tensor
// named.
#include "engine/checkpoint/safetensors.h"

#include "engine/tests/checkpoint_files.h"

namespace crossover::test {
namespace {

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, ReadsNamesShapesAndPlaces) {
  const TempFolder folder;
  const std::string header = "{" + entry("b", "BF16", "[2,3]", "[8,20]") + R"(,"__metadata__":{"format":"pt"},)" +
                             entry("a", "F32", "[2]", "[0,8]") + "," + entry("scalar", "I64", "[]", "[20,28]") + "}   ";
  write_bytes(folder / "x.safetensors", safetensors(header, 28));
  const std::vector<StoredTensor> tensors = read_safetensors_header(folder / "x.safetensors", 3);
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "b");
  EXPECT_EQ(tensors[0].dtype, DType::kBF16);
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(tensors[0].file, 3);
  EXPECT_EQ(tensors[0].offset, 8 + header.size() + 8);
  EXPECT_EQ(tensors[0].bytes, 12u);
  EXPECT_EQ(tensors[2].dtype, std::nullopt);
  EXPECT_EQ(tensors[2].dtype_name, "I64");
}

struct BadHeader {
  const char* label;
  std::string header;
  std::size_t data_bytes;
  const char* message;
};

class BadHeaders : public testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaders, AreRefused) {
  const TempFolder folder;
  const fs::path path = folder / "bad.safetensors";
  write_bytes(path, safetensors(GetParam().header, GetParam().data_bytes));
  const std::string message = message_of([&] { read_safetensors_header(path); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_NE(message.find(path.string()), std::string::npos) << message;
}

std::vector<BadHeader> bad_headers() {
  const std::string a = entry("a", "F32", "[2]", "[0,8]");
  return {
      {"overlap", "{" + a + "," + entry("b", "F32", "[2]", "[4,12]") + "}", 12, "tensors a and b overlap"},
      {"hole", "{" + a + "," + entry("b", "F32", "[2]", "[12,20]") + "}", 20,
       "4 bytes before tensor b belong to no tensor"},
      {"tail", "{" + a + "}", 9, "the last 1 bytes belong to no tensor"},
      {"out_of_range", "{" + entry("a", "F32", "[4]", "[0,16]") + "}", 8, "tensor a lies at bytes 0 to 16 of 8"},
      {"reversed", "{" + entry("a", "F32", "[0]", "[8,0]") + "}", 8, "tensor a lies at"},
      {"far_away", "{" + entry("a", "F32", "[2]", "[18446744073709551608,18446744073709551615]") + "}", 8,
       "tensor a lies at"},
      {"duplicate", "{" + a + "," + a + "}", 8, "tensor a appears twice"},
      {"two_metadata", R"({"__metadata__":{},"__metadata__":{},)" + a + "}", 8, "__metadata__ appears twice"},
      {"negative_shape", "{" + entry("a", "F32", "[-2]", "[0,8]") + "}", 8, "tensor a has the negative number -2"},
      {"overflowing_shape", "{" + entry("a", "F32", "[4294967296,4294967296,4]", "[0,8]") + "}", 8,
       "has no possible size"},
      {"huge_dimension", "{" + entry("a", "F32", "[18446744073709551615]", "[0,8]") + "}", 8, "dimension too large"},
      {"beyond_64_bits", "{" + entry("a", "F32", "[99999999999999999999]", "[0,8]") + "}", 8,
       "instead of a whole number"},
      {"fraction", "{" + entry("a", "F32", "[2.0]", "[0,8]") + "}", 8, "tensor a has 2.0 instead of a whole number"},
      {"wrong_bytes", "{" + entry("a", "BF16", "[2]", "[0,8]") + "}", 8, "needs 4 bytes, the header gives it 8"},
      {"unknown_dtype", "{" + entry("a", "Q7", "[2]", "[0,8]") + "}", 8, "unknown dtype 'Q7'"},
      {"too_many_dimensions", "{" + entry("a", "F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") + "}", 8,
       "more than 8 dimensions"},
      {"one_offset", "{" + entry("a", "F32", "[2]", "[0]") + "}", 8, "1 data_offsets"},
      {"three_offsets", "{" + entry("a", "F32", "[2]", "[0,8,8]") + "}", 8, "number where none belongs"},
      {"no_dtype", R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8, "tensor a lacks dtype"},
      {"repeated_field", R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "'dtype' twice"},
      {"unknown_field", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8, "unknown field 'x'"},
      {"null", R"({"a":null})", 8, "tensor a has a null"},
      {"not_an_object", "[1,2]", 8, "does not start with '{'"},
      {"cut_json", "{\"a\":{", 8, "not JSON"},
      {"two_values", "{" + a + "}{}", 8, "not JSON"},
      {"empty_header", "", 8, "does not start with '{'"},
      {"bad_utf8", "{\"\xff\xfe\":1}", 8, "not JSON"},
      {"deep_objects", "{\"a\":" + std::string(200000, '{'), 8, ""},
      {"deep_arrays", "{\"a\":{\"shape\":" + std::string(1000000, '['), 8, "array where none belongs"},
      {"deep_metadata", "{\"__metadata__\":{\"a\":{\"b\":" + std::string(100000, '['), 8, "nests deeper"},
  };
}

INSTANTIATE_TEST_SUITE_P(Safetensors, BadHeaders, testing::ValuesIn(bad_headers()),
                         [](const auto& test) { return std::string(test.param.label); });

TEST(Safetensors, LengthsAreCheckedAgainstTheFile) {
  const TempFolder folder;
  const fs::path path = folder / "x.safetensors";
  for (std::uint64_t length : {std::uint64_t{100}, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    write_bytes(path, little_endian(length) + "{}");
    EXPECT_NE(message_of([&] { read_safetensors_header(path); }).find("its header claims"), std::string::npos)
        << length;
  }
  write_bytes(path, "abc");
  EXPECT_NE(message_of([&] { read_safetensors_header(path); }).find("too few"), std::string::npos);
  EXPECT_NE(message_of([&] { read_safetensors_header(folder / "absent"); }).find("cannot open"), std::string::npos);
}

TEST(Safetensors, TruncatedFileIsRefusedByTensor) {
  const TempFolder folder;
  write_bytes(
      folder / "x.safetensors",
      safetensors("{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[8,16]") + "}", 15));
  EXPECT_NE(message_of([&] {
              read_safetensors_header(folder / "x.safetensors");
            }).find("tensor b lies at bytes 8 to 16 of 15"),
            std::string::npos);
}

class Shards : public testing::Test {
 protected:
  void SetUp() override {
    write_bytes(folder_ / "one.safetensors", safetensors("{" + entry("a", "F32", "[2]", "[0,8]") + "}", 8));
    write_bytes(folder_ / "two.safetensors", safetensors("{" + entry("b", "F32", "[2]", "[0,8]") + "}", 8));
  }
  void index(const std::string& map) {
    write_bytes(folder_ / "model.safetensors.index.json", R"({"metadata":{},"weight_map":)" + map + "}");
  }
  std::string refusal() {
    return message_of([&] { open_safetensors(folder_.path()); });
  }
  const TempFolder folder_;
};

TEST_F(Shards, AreOpenedTogether) {
  index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  const StoredTensors all = open_safetensors(folder_.path());
  EXPECT_EQ(all.files.size(), 2u);
  EXPECT_EQ(all.tensors.at("b").file, 1);
}

TEST_F(Shards, MissingShardIsNamed) {
  index(R"({"a":"one.safetensors","b":"three.safetensors"})");
  EXPECT_NE(refusal().find("lists three.safetensors, which is not in"), std::string::npos) << refusal();
}

TEST_F(Shards, TensorMissingFromItsShardIsNamed) {
  index(R"({"a":"one.safetensors","c":"two.safetensors"})");
  EXPECT_NE(refusal().find("tensor c is in two.safetensors"), std::string::npos) << refusal();
}

TEST_F(Shards, TensorInTwoShardsIsNamed) {
  write_bytes(
      folder_ / "two.safetensors",
      safetensors("{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[8,16]") + "}", 16));
  index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  EXPECT_NE(refusal().find("tensor a is both in"), std::string::npos) << refusal();
}

TEST_F(Shards, IndexMayNotLeaveTheFolder) {
  index(R"({"a":"../one.safetensors"})");
  EXPECT_NE(refusal().find("not a plain file name"), std::string::npos) << refusal();
}

TEST_F(Shards, BrokenIndexIsRefused) {
  for (const char* map : {"[]", "{}", R"({"a":1})", "null"}) {
    index(map);
    EXPECT_NE(refusal(), "") << map;
  }
  write_bytes(folder_ / "model.safetensors.index.json", std::string(100000, '['));
  EXPECT_NE(refusal().find("nested deeper"), std::string::npos) << refusal();
}

TEST_F(Shards, WithoutIndexOneFileOnly) {
  EXPECT_NE(refusal().find("2 *.safetensors files but no"), std::string::npos) << refusal();
  fs::remove(folder_ / "two.safetensors");
  EXPECT_EQ(open_safetensors(folder_.path()).tensors.size(), 1u);
  fs::remove(folder_ / "one.safetensors");
  EXPECT_NE(refusal().find("holds no *.safetensors file"), std::string::npos) << refusal();
}

TEST(Safetensors, DamageNeverCrashes) {
  const TempFolder folder;
  write_synth(tiny(), folder / "model");
  const fs::path path = folder / "model" / "model.safetensors";
  expect_survives_damage(path, 8000, 2000, [&] { open_checkpoint(folder / "model"); });
}

}  // namespace
}  // namespace crossover::test
