// A run of single kernels as a page: what crossover_micro or crossover_gpu_micro wrote.
#pragma once

#include <filesystem>

namespace crossover {

// Whether it is Google Benchmark's JSON. False for what cannot be read: the one who reads results says why.
bool is_kernel_run(const std::filesystem::path& file);

// Writes OUT/NAME.html, NAME being the file's without its end, and returns its path. std::runtime_error: a row that cannot be read, a folder that
// cannot be written.
std::filesystem::path write_kernel_page(const std::filesystem::path& file, const std::filesystem::path& out_dir);

}  // namespace crossover
