// The history as a page: one small plot for each series of a headline metric, changes marked.
#pragma once

#include <filesystem>

namespace crossover {

// Writes OUT/trend.html and its plots below OUT/plots. Metrics of single phases are left to `crossover history trend`; beyond 60 series the
// page says how many it leaves out. std::runtime_error: no such history, one without runs, a folder that cannot be written.
void write_trend_page(const std::filesystem::path& history_file, const std::filesystem::path& out_dir);

}  // namespace crossover
