// SHA-256 as lower-case hexadecimal.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace crossover {

std::string sha256_text(std::string_view text);
std::string sha256_file(const std::filesystem::path& path);  // std::runtime_error when it cannot be read

}  // namespace crossover
