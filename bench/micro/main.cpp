// Rates of single operations: `crossover_micro --benchmark_filter=gdn`.
//   --out FILE.json    what was measured, with the machine's ceilings and the peers' rows: bench/micro/table.h has the format
//   --peer NAME=PATH   another program's own benchmark of the same kernels, run before; it prints a JSON array of rows on stdout
//   --page FILE.md     a page whose "<!-- table kernels RESULT -->" shows RESULT = the name of FILE.json: its table is made anew
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "bench/machine/machine.h"
#include "bench/machine/usable_cores.h"
#include "bench/micro/table.h"
#include "bench/page_tables.h"
#include "bench/process/process.h"

namespace crossover::micro_bench {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr double kPeerTimeout_s = 1200;

// On the terminal as text, and kept as JSON.
class Recorder : public benchmark::ConsoleReporter {
 public:
  Recorder() { json_.SetOutputStream(&text_), json_.SetErrorStream(&std::cerr); }
  bool ReportContext(const Context& context) override { return json_.ReportContext(context) && ConsoleReporter::ReportContext(context); }
  void ReportRuns(const std::vector<Run>& runs) override { json_.ReportRuns(runs), ConsoleReporter::ReportRuns(runs); }
  void Finalize() override { json_.Finalize(), ConsoleReporter::Finalize(); }
  json recorded() const { return json::parse(text_.str()); }

 private:
  std::ostringstream text_;
  benchmark::JSONReporter json_;
};

struct Options {
  fs::path out, page;
  std::map<std::string, std::string> peers;
};

// Takes its own options out of argv and leaves those of the library.
Options take_options(int& argc, char** argv) {
  Options options;
  int left = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word != "--out" && word != "--page" && word != "--peer") {
      argv[left++] = argv[i];
      continue;
    }
    if (++i == argc) throw std::invalid_argument(word + " needs a value; the head of bench/micro/main.cpp shows them");
    const std::string value = argv[i];
    const std::size_t equals = value.find('=');
    if (word == "--out") options.out = value;
    else if (word == "--page") options.page = value;
    else if (equals == std::string::npos) throw std::invalid_argument(fmt::format("--peer '{}' has no '='; write NAME=PATH", value));
    else options.peers[value.substr(0, equals)] = value.substr(equals + 1);
  }
  argc = left;
  if (!options.page.empty() && options.out.empty()) throw std::invalid_argument("--page shows what is written to --out; give both");
  return options;
}

json ceilings_json(const Ceilings& found) {
  return {{"isa", found.isa}, {"threads", found.threads}, {"read_1_bytes_per_s", found.read_1_bytes_per_s}, {"read_all_bytes_per_s", found.read_all_bytes_per_s},
          {"fma_f32_1_flop_per_s", found.fma_1_flop_per_s}, {"fma_f32_all_flop_per_s", found.fma_all_flop_per_s}, {"dot_int8_1_op_per_s", found.int8_1_op_per_s},
          {"dot_int8_all_op_per_s", found.int8_all_op_per_s}, {"dot_bf16_1_flop_per_s", found.bf16_1_flop_per_s}, {"dot_bf16_all_flop_per_s", found.bf16_all_flop_per_s}};
}

json peer_rows(const std::string& name, const std::string& path) {
  ProcessSpec spec;
  spec.argv = {path};
  for (char** variable = environ; *variable; ++variable) spec.environment.push_back(*variable);
  spec.timeout_s = kPeerTimeout_s;
  const ProcessResult ended = run_process(spec);
  if (ended.exit_code != 0) throw std::runtime_error(fmt::format("--peer {}: {} ended with {}: {}", name, path, ended.exit_code, ended.error));
  try {
    const json rows = json::parse(ended.output);
    for (const json& row : rows)
      if (!row.at("kernel").is_string() || !row.at("shape").is_string() || row.at("threads").get<int>() < 1 || row.at("seconds").get<double>() <= 0)
        throw std::runtime_error("a row is " + row.dump());
    return rows;
  } catch (const std::exception& wrong) {
    throw std::runtime_error(fmt::format(R"(--peer {}: {} must print [{{"kernel": ..., "shape": ..., "threads": 1, "seconds": ...}}, ...]; {})", name, path, wrong.what()));
  }
}

void rewrite_page(const fs::path& page, const fs::path& result, const std::string& run) {
  std::ifstream in(page);
  if (!in) throw std::runtime_error(fmt::format("cannot read the page {}", page.string()));
  const std::string old{std::istreambuf_iterator<char>(in), {}};
  int tables = 0;
  const std::string anew = with_tables(old, [&](const std::string& kind, const std::string& name) {
    if (kind != "kernels" || name != result.stem()) throw std::runtime_error(fmt::format("{} has a table '{} {}', not 'kernels {}'", page.string(), kind, name, result.stem().string()));
    return kernel_table(run);
  }, tables);
  if (tables == 0) throw std::runtime_error(fmt::format("{} has no line <!-- table kernels {} -->", page.string(), result.stem().string()));
  std::ofstream(page) << anew;
}

void run(int argc, char** argv) {
  const Options options = take_options(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) throw std::invalid_argument("unknown option; --help lists those of the library");
  json peers = json::object();
  for (const auto& [name, path] : options.peers) peers[name] = peer_rows(name, path);
  json ceilings = options.out.empty() ? json() : ceilings_json(measure_ceilings(usable_cores()));
  Recorder recorder;
  benchmark::RunSpecifiedBenchmarks(&recorder);
  if (options.out.empty()) return;
  json recorded = recorder.recorded();
  for (const char* private_fact : {"host_name", "executable"}) recorded["context"].erase(private_fact);
  recorded["ceilings"] = std::move(ceilings);
  recorded["peers"] = std::move(peers);
  const std::string text = recorded.dump(1) + "\n";
  std::ofstream file(options.out);
  file << text;
  if (!file.flush()) throw std::runtime_error(fmt::format("cannot write {}", options.out.string()));
  for (const auto& [name, path] : options.peers)
    for (const std::string& row : unmatched_rows(text, name)) fmt::print(stderr, "{}: no kernel {} in this run\n", name, row);
  if (!options.page.empty()) rewrite_page(options.page, options.out, text);
}

}  // namespace
}  // namespace crossover::micro_bench

int main(int argc, char** argv) {
  try {
    crossover::micro_bench::run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "crossover_micro: {}\n", error.what());
    return 4;
  }
}
