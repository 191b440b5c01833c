// Rows and columns out of files: any part equals the same part of the whole, mapped and read.
#include "engine/checkpoint/row_gather.h"

#include "engine/checkpoint/write_gguf.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/formats/formats.h"

namespace crossover::test {
namespace {

std::vector<std::byte> read(const SourceFiles& files, const SourceTensor& tensor, std::int64_t first,
                            std::int64_t count, const std::vector<IndexRange>& columns) {
  std::int64_t values = columns.empty() ? tensor.shape[2] : 0;
  for (const IndexRange& range : columns) values += range.count;
  std::vector<std::byte> out(static_cast<std::size_t>(count * row_bytes(tensor.dtype, values)));
  read_rows(files, tensor, first, count, columns, out.data());
  return out;
}

// What read must give, cut out of the whole tensor.
std::vector<std::byte> cut(const std::vector<std::byte>& whole, const SourceTensor& tensor, std::int64_t first,
                           std::int64_t count, const std::vector<IndexRange>& columns) {
  const std::int64_t row = row_bytes(tensor.dtype, tensor.shape[2]);
  std::vector<std::byte> out;
  for (std::int64_t r = first; r < first + count; ++r)
    for (const IndexRange& range : columns.empty() ? std::vector<IndexRange>{{0, tensor.shape[2]}} : columns) {
      const auto begin = whole.begin() + r * row + row_bytes(tensor.dtype, range.first);
      out.insert(out.end(), begin, begin + row_bytes(tensor.dtype, range.count));
    }
  return out;
}

void expect_parts(const Source& source, ReadMode mode) {
  const SourceFiles files(source, mode);
  std::mt19937_64 random(3);
  for (const SourceTensor& tensor : source.tensors) {
    const std::int64_t rows = tensor.shape[0] * tensor.shape[1], cols = tensor.shape[2],
                       block = info(tensor.dtype).block_values;
    const std::vector<std::byte> whole = read(files, tensor, 0, rows, {});
    for (int i = 0; i < 12; ++i) {
      const std::int64_t first = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(rows));
      const std::int64_t count = static_cast<std::int64_t>(
          random() % static_cast<std::uint64_t>(std::min<std::int64_t>(rows - first, 40) + 1));
      std::vector<IndexRange> columns;
      for (std::uint64_t k = random() % 4; k > 0; --k) {
        const std::int64_t blocks = cols / block,
                           at = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(blocks));
        columns.push_back(
            {at * block, static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(blocks - at + 1)) * block});
      }
      ASSERT_EQ(read(files, tensor, first, count, columns), cut(whole, tensor, first, count, columns))
          << tensor.name << " rows " << first << "+" << count;
    }
  }
}

class ReadModes : public testing::TestWithParam<ReadMode> {};

TEST_P(ReadModes, PartsEqualTheWhole) {
  const TempFolder folder;
  SynthOptions options = tiny("tiny-moe");
  options.experts = 4;
  options.max_shard_bytes = 2'000'000;
  write_synth(options, folder / "moe");
  expect_parts(open_checkpoint(folder / "moe"), GetParam());
  options.qwen3_next = options.per_expert_names = true;
  write_synth(options, folder / "next");
  expect_parts(open_checkpoint(folder / "next"), GetParam());
}

TEST_P(ReadModes, PartsOfBlockFormats) {
  const TempFolder folder;
  write_synth(tiny(), folder / "hf");
  const Source source = open_checkpoint(folder / "hf");
  const std::vector<GgufTensorPlan> plan = plan_gguf(source, DType::kQ6_K);
  GgufWriter writer(folder / "x.gguf", source, plan);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const std::vector<float> values = values_of(source, source.tensors[i]);
    const auto count = static_cast<std::int64_t>(values.size());
    std::vector<std::byte> bytes(static_cast<std::size_t>(row_bytes(plan[i].dtype, count)));
    quantize_fn(plan[i].dtype)(values.data(), bytes.data(), count);
    writer.write(i, 0, bytes.data(), plan[i].shape[0] * plan[i].shape[1]);
  }
  writer.finish();
  const Source quantized = open_checkpoint(folder / "x.gguf");
  expect_parts(quantized, GetParam());
  const SourceFiles files(quantized, GetParam());
  std::byte room[4096];
  const IndexRange half_block{0, 128};
  EXPECT_THROW(read_rows(files, *quantized.find("blk.0.ssm_out.weight"), 0, 1, {&half_block, 1}, room),
               std::invalid_argument);
}

TEST_P(ReadModes, ShrunkFileIsAnErrorNamingTheTensor) {
  const TempFolder folder;
  write_synth(tiny(), folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const SourceFiles files(source, GetParam());
  const SourceTensor& tensor = *source.find("blk.3.attn_q.weight");
  fs::resize_file(source.files[0], tensor.segments[0].offset + 100);
  std::vector<std::byte> out(512);
  const std::string message = message_of([&] { read_rows(files, tensor, 0, 1, {}, out.data()); });
  EXPECT_NE(message.find("cannot read tensor blk.3.attn_q.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("self_attn.q_proj.weight) at byte "), std::string::npos) << message;
  EXPECT_NE(message_of([&] { SourceFiles(source, GetParam()); }).find("when its header was read"), std::string::npos);
  fs::remove(source.files[0]);
  EXPECT_NE(message_of([&] { SourceFiles(source, GetParam()); }).find("cannot open"), std::string::npos);
}

TEST_P(ReadModes, RangesOutsideTheTensorAreRefused) {
  const TempFolder folder;
  write_synth(tiny(), folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const SourceFiles files(source, GetParam());
  const SourceTensor& tensor = source.tensors[0];  // [32, 256]
  std::byte out[4];
  const std::int64_t far = std::numeric_limits<std::int64_t>::max();
  for (const auto& [first, count] :
       {std::pair<std::int64_t, std::int64_t>{-1, 1}, {0, 33}, {32, 1}, {far, 1}, {1, far}, {0, -1}})
    EXPECT_THROW(read_rows(files, tensor, first, count, {}, out), std::invalid_argument) << first << "+" << count;
  for (const IndexRange& range : {IndexRange{-1, 1}, {256, 1}, {0, 257}, {far, 1}, {1, far}, {0, -1}})
    EXPECT_THROW(read_rows(files, tensor, 0, 1, {&range, 1}, out), std::invalid_argument)
        << range.first << "+" << range.count;
  EXPECT_NO_THROW(read_rows(files, tensor, 32, 0, {}, out));
}

INSTANTIATE_TEST_SUITE_P(ReadRows, ReadModes, testing::Values(ReadMode::kMap, ReadMode::kRead),
                         [](const auto& test) { return test.param == ReadMode::kMap ? "map" : "read"; });

TEST(Widen, AppliesTypeAndTransform) {
  SourceTensor tensor;
  tensor.dtype = DType::kBF16;
  const std::uint16_t stored[3] = {0x3f80, 0xbf00, 0x3b00};  // 1, -0.5, 2^-9
  float out[3];
  const auto* bytes = reinterpret_cast<const std::byte*>(stored);
  widen(tensor, bytes, 3, out);
  EXPECT_EQ(out[1], -0.5f);
  tensor.transform = Transform::kAddOne;
  widen(tensor, bytes, 3, out);
  EXPECT_EQ(out[2], 1.001953125f);  // more bits than a bf16 sum would keep
  tensor.transform = Transform::kNegExp;
  widen(tensor, bytes, 3, out);
  EXPECT_EQ(out[0], -2.71828174591064453125f);
}

}  // namespace
}  // namespace crossover::test
