// Weights in panels: packing loses nothing, every instruction set packs the same bytes, and products are those of the rows.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/formats/panels.h"
#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using namespace testing;

std::vector<std::byte> random_blocks(Random& random, std::int64_t rows, std::int64_t dim) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * row_bytes(DType::kQ6_K, dim)));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xff);  // any bits are codes and scales, d may be anything
  return bytes;
}

TEST(Panels, PackingLosesNothing) {
  Random random(1);
  for (const std::int64_t rows : {1, 2, 15, 16, 17, 31, 32})
    for (const std::int64_t dim : {256, 768}) {
      const std::vector<std::byte> stored = random_blocks(random, rows, dim);
      const std::int64_t stride = row_bytes(DType::kQ6_K, dim);
      std::vector<std::byte> panel(static_cast<std::size_t>(kPanelRows * stride)), row(static_cast<std::size_t>(stride));
      pack_panel(DType::kQ6_K, stored.data(), rows, dim, panel.data());
      for (std::int64_t r = 0; r < kPanelRows; ++r) {
        unpack_panel_row(DType::kQ6_K, panel.data(), r, dim, row.data());
        for (std::int64_t i = 0; i < stride; ++i)
          ASSERT_EQ(row[static_cast<std::size_t>(i)], r < rows ? stored[static_cast<std::size_t>(r * stride + i)] : std::byte{0}) << "row " << r << " byte " << i;
      }
    }
}

TEST(Panels, EveryInstructionSetPacksTheSameBytes) {
  Random random(2);
  for (const cpu::Isa isa : cpu::usable_isas())
    for (const std::int64_t rows : {1, 15, 16, 29, 32})
      for (const std::int64_t dim : {256, 1280}) {
        const std::vector<std::byte> stored = random_blocks(random, rows, dim);
        const auto bytes = static_cast<std::size_t>(kPanelRows * row_bytes(DType::kQ6_K, dim));
        std::vector<std::byte> expected(bytes), packed(bytes + 1, std::byte{0x5a});
        pack_panel(DType::kQ6_K, stored.data(), rows, dim, expected.data());
        cpu::micro(isa).panels->pack(stored.data(), rows, dim, packed.data());
        ASSERT_EQ(packed.back(), std::byte{0x5a});
        packed.pop_back();
        ASSERT_TRUE(packed == expected) << cpu::name(isa) << " rows " << rows << " dim " << dim;
      }
}

TEST(Panels, OnlyTypesWithPanelsArePacked) {
  std::byte byte{};
  EXPECT_THROW(pack_panel(DType::kQ8_0, &byte, 0, 0, &byte), std::invalid_argument);
}

}  // namespace
}  // namespace crossover
