#include "bench/micro/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

#include "kernels/cpu/isa.h"

namespace crossover::micro_bench {
namespace {

using nlohmann::json;

struct Name {
  std::string kernel, isa, shape;
  int threads = 1;
};

struct Measured {
  std::string bound;
  std::vector<double> rates, seconds, reads;
};

struct Kernel {
  std::string name, shape;
  int threads = 1;
  std::map<std::string, Measured> by_isa;
};

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('/', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// Nothing where the name has no instruction set.
std::optional<Name> parse_name(const std::string& text) {
  Name name;
  for (const std::string& part : parts_of(text)) {
    const std::size_t colon = part.find(':');
    if (cpu::parse_isa(part)) {
      name.isa = part;
    } else if (name.isa.empty()) {
      name.kernel += (name.kernel.empty() ? "" : "/") + part;
    } else if (part.starts_with("threads:")) {
      name.threads = std::stoi(part.substr(colon + 1));
    } else if (colon != std::string::npos && !part.starts_with("min_") && !part.starts_with("iterations:") && !part.starts_with("repeats:")) {
      name.shape += (name.shape.empty() ? "" : " ") + part;
    }
  }
  if (name.isa.empty()) return std::nullopt;
  return name;
}

// Google Benchmark's own settings are at the end of its names.
std::string without_settings(const std::string& name) {
  std::string text;
  for (const std::string& part : parts_of(name))
    if (part != "manual_time" && part != "real_time" && !part.starts_with("min_") && !part.starts_with("iterations:") && !part.starts_with("repeats:"))
      text += (text.empty() ? "" : "/") + part;
  return text;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

double number(const json& row, const char* field) {
  if (!row.contains(field) || !row[field].is_number())
    throw std::runtime_error(fmt::format("benchmark {} has no number {}", row.value("name", "without a name"), field));
  return row[field];
}

// In the order of the file.
std::vector<Kernel> kernels_of(const json& run) {
  std::vector<Kernel> kernels;
  for (const json& row : run.at("benchmarks")) {
    const std::optional<Name> name = parse_name(row.at("name"));
    const std::string bound = row.value("label", "");
    if (!name || bound.empty() || row.value("run_type", "iteration") != "iteration") continue;
    const auto same = [&](const Kernel& k) { return k.name == name->kernel && k.shape == name->shape && k.threads == name->threads; };
    auto kernel = std::find_if(kernels.begin(), kernels.end(), same);
    if (kernel == kernels.end()) kernel = kernels.insert(kernels.end(), {name->kernel, name->shape, name->threads, {}});
    Measured& measured = kernel->by_isa[name->isa];
    measured.bound = bound;
    measured.rates.push_back(number(row, bound == "memory" ? "bytes/s" : "flop/s"));
    measured.seconds.push_back(number(row, "s/call"));
    if (row.contains("read_bytes/s")) measured.reads.push_back(row["read_bytes/s"]);
  }
  return kernels;
}

// Operations or bytes per second that `threads` threads of the machine reach at most; 0 where it was not measured.
double ceiling(const json& run, const Kernel& kernel, const Measured& measured) {
  if (measured.bound == "memory" && !measured.reads.empty()) return median(measured.reads);
  const json& all = run.at("ceilings");
  const int cores = all.at("threads");
  const auto of = [&](const char* one, const char* every) {
    if (kernel.threads == 1) return all.value(one, 0.0);
    return all.value(every, 0.0) * std::min(1.0, static_cast<double>(kernel.threads) / cores);
  };
  if (measured.bound == "memory") return of("read_1_bytes_per_s", "read_all_bytes_per_s");
  if (measured.bound == "int8") return of("dot_int8_1_op_per_s", "dot_int8_all_op_per_s");
  if (measured.bound == "bf16") return of("dot_bf16_1_flop_per_s", "dot_bf16_all_flop_per_s");
  if (measured.bound == "f32") return of("fma_f32_1_flop_per_s", "fma_f32_all_flop_per_s");
  throw std::runtime_error(fmt::format("{} stands beside the ceiling '{}'; there are int8, bf16, f32 and memory", kernel.name, measured.bound));
}

std::optional<double> peer_seconds(const json& run, const std::string& peer, const Kernel& kernel) {
  std::vector<double> seconds;
  for (const json& row : run.at("peers").at(peer))
    if (row.at("kernel") == kernel.name && row.at("shape") == kernel.shape && row.at("threads") == kernel.threads) seconds.push_back(row.at("seconds"));
  if (seconds.empty()) return std::nullopt;
  return median(seconds);
}

std::string line(const std::vector<std::string>& cells) { return fmt::format("| {} |\n", fmt::join(cells, " | ")); }

// Instruction sets that the run has, in ascending order.
std::vector<std::string> isas_of(const std::vector<Kernel>& kernels) {
  std::vector<std::string> isas;
  for (const cpu::Isa isa : {cpu::Isa::kPortable, cpu::Isa::kAvx2, cpu::Isa::kAvx512, cpu::Isa::kAvx512Bf16, cpu::Isa::kAmx})
    if (std::any_of(kernels.begin(), kernels.end(), [&](const Kernel& k) { return k.by_isa.contains(cpu::name(isa)); })) isas.push_back(cpu::name(isa));
  return isas;
}

// "f32", or "f32, bf16" where a higher instruction set computes otherwise.
std::string bounds_of(const Kernel& kernel, const std::vector<std::string>& isas) {
  std::vector<std::string> bounds;
  for (const std::string& isa : isas) {
    const auto found = kernel.by_isa.find(isa);
    if (found != kernel.by_isa.end() && std::find(bounds.begin(), bounds.end(), found->second.bound) == bounds.end()) bounds.push_back(found->second.bound);
  }
  return fmt::format("{}", fmt::join(bounds, ", "));
}

}  // namespace

Cells kernel_cells(const std::string& text_of_run) {
  const json run = json::parse(text_of_run);
  const std::vector<Kernel> kernels = kernels_of(run);
  const std::vector<std::string> isas = isas_of(kernels);
  std::vector<std::string> head{"kernel", "shape", "threads", "bound by"};
  head.insert(head.end(), isas.begin(), isas.end());
  for (const auto& [peer, rows] : run.at("peers").items()) head.insert(head.end(), {peer, "fastest / " + peer});
  Cells table{std::move(head), {}};
  for (const Kernel& kernel : kernels) {
    std::vector<std::string> cells{kernel.name, kernel.shape, std::to_string(kernel.threads), bounds_of(kernel, isas)};
    double fastest_s = 0, work = 0;  // of one call; operations or bytes, as the fastest counts
    for (const std::string& isa : isas) {
      const auto found = kernel.by_isa.find(isa);
      if (found == kernel.by_isa.end()) {
        cells.push_back("");
        continue;
      }
      const double rate = median(found->second.rates), seconds = median(found->second.seconds), limit = ceiling(run, kernel, found->second);
      cells.push_back(fmt::format("{:.3g}", rate * 1e-9) + (limit > 0 ? fmt::format(" ({:.0f} %)", 100 * rate / limit) : ""));
      if (fastest_s == 0 || seconds < fastest_s) fastest_s = seconds, work = rate * seconds;
    }
    for (const auto& [peer, rows] : run.at("peers").items()) {
      const std::optional<double> seconds = peer_seconds(run, peer, kernel);
      cells.push_back(seconds ? fmt::format("{:.3g}", work / *seconds * 1e-9) : "");
      cells.push_back(seconds ? fmt::format("{:.2f}", *seconds / fastest_s) : "");
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string kernel_table(const std::string& run) {
  const Cells table = kernel_cells(run);
  std::string text = line(table.head) + line(std::vector<std::string>(table.head.size(), "---"));
  for (std::vector<std::string> row : table.rows) row.front() = "`" + row.front() + "`", text += line(row);
  return text;
}

Cells gpu_kernel_cells(const std::string& text_of_run) {
  const json run = json::parse(text_of_run);
  std::map<std::string, double> ceilings;
  const auto rate = [](const json& row) { return number(row, row.value("label", "") == "memory" ? "bytes/s" : "flop/s"); };
  const auto failed = [](const json& row) { return row.value("error_occurred", false); };
  Cells table{{"kernel", "time", "TFLOP/s", "GB/s", "bound by", "of it"}, {}};
  for (const json& row : run.at("benchmarks"))
    if (row.value("run_type", "iteration") == "iteration" && row.at("name").get<std::string>().starts_with("ceiling/") && !failed(row))
      ceilings[row.value("label", "")] = rate(row);
  for (const json& row : run.at("benchmarks")) {
    if (row.value("run_type", "iteration") != "iteration") continue;
    const std::string name = without_settings(row.at("name")), label = row.value("label", "");
    if (failed(row)) {
      table.rows.push_back({name, "not run: " + row.value("error_message", ""), "", "", "", ""});
      continue;
    }
    const auto limit = ceilings.find(label);
    table.rows.push_back({name, fmt::format("{:.4g} {}", number(row, "real_time"), row.value("time_unit", "ns")),
                          fmt::format("{:.1f}", number(row, "flop/s") / 1e12), fmt::format("{:.0f}", number(row, "bytes/s") / 1e9), label,
                          limit != ceilings.end() && limit->second > 0 ? fmt::format("{:.0f} %", 100 * rate(row) / limit->second) : ""});
  }
  return table;
}

std::vector<std::string> unmatched_rows(const std::string& text_of_run, const std::string& peer) {
  const json run = json::parse(text_of_run);
  const std::vector<Kernel> kernels = kernels_of(run);
  std::vector<std::string> unmatched;
  for (const json& row : run.at("peers").at(peer)) {
    const auto same = [&](const Kernel& k) { return row.at("kernel") == k.name && row.at("shape") == k.shape && row.at("threads") == k.threads; };
    if (std::none_of(kernels.begin(), kernels.end(), same))
      unmatched.push_back(fmt::format("{} {} threads:{}", row["kernel"].get<std::string>(), row["shape"].get<std::string>(), row["threads"].get<int>()));
  }
  return unmatched;
}

}  // namespace crossover::micro_bench
