#include "kernels/tensor.h"

#include <stdexcept>

namespace crossover {

const DTypeInfo& info(DType dtype) {
  static constexpr std::array<DTypeInfo, kDTypeCount> kInfos{{{"f32", 1, 4},
                                                              {"f16", 1, 2},
                                                              {"bf16", 1, 2},
                                                              {"q8_0", 32, 34},
                                                              {"q6_k", 256, 210},
                                                              {"q4_0", 32, 18},
                                                              {"q4_1", 32, 20},
                                                              {"q5_0", 32, 22},
                                                              {"q5_1", 32, 24}}};
  return kInfos[static_cast<std::size_t>(dtype)];
}

std::optional<DType> parse_dtype(std::string_view text) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (text == info(static_cast<DType>(i)).name) return static_cast<DType>(i);
  return std::nullopt;
}

std::int64_t row_bytes(DType dtype, std::int64_t values) {
  const DTypeInfo& format = info(dtype);
  if (values < 0 || values % format.block_values != 0)
    throw std::invalid_argument("a row of " + std::to_string(values) + " values is not whole blocks of " + std::to_string(format.block_values) +
                                " (" + format.name + ")");
  return values / format.block_values * format.block_bytes;
}

std::string describe(const Tensor& tensor) {
  const std::string experts = tensor.experts() == 1 ? "" : std::to_string(tensor.experts()) + ", ";
  return std::string(name(tensor.dtype)) + " [" + experts + std::to_string(tensor.rows()) + ", " + std::to_string(tensor.cols()) + "]";
}

}  // namespace crossover
