#include "bench/profile/counter_sampler.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace crossover::cupti {
namespace {

constexpr std::array<const char*, 3> kMetrics{"dram__bytes_read.sum", "dram__bytes_write.sum", "dram__bytes.sum.peak_sustained_elapsed"};
constexpr std::size_t kHardwareBytes = std::size_t{64} << 20, kMostSamples = 2'000'000;
constexpr std::uint32_t kImageSamples = 1024;  // decoded at a time: an image is cleared after each
constexpr std::uint64_t kSampleClocks = 24'000;  // of SYSCLK, where there is no trigger by time: about kSampleNs
constexpr std::uint64_t kSlackNs = 10'000'000;   // of a sample's place beside the host's clock
constexpr std::chrono::milliseconds kBetweenDecodes{5};
constexpr std::uint32_t kMayDisable = 130000;  // see end_sampler

void must(const Library& library, const char* call, Result result) {
  if (result != kSuccess) throw std::runtime_error("CUPTI: " + describe(library.api(), call, result));
}

const CounterApi& counters_of(const Library& library) {
  if (!library.counters()) throw std::runtime_error(library.why_no_counters());
  return *library.counters();
}

// What evaluates metrics lies in a library of its own, which CUPTI opens by its name alone: once it is open, CUPTI gets it wherever it lies.
bool open_evaluator(const Library& library) {
  constexpr const char* kName = "libnvperf_host.so";
  constexpr int kHow = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(library.api().get_version), &info) != 0 && info.dli_fname)
    if (dlopen((std::filesystem::path(info.dli_fname).parent_path() / kName).c_str(), kHow)) return true;
  return dlopen(kName, kHow) != nullptr;
}

struct Available {
  const char* chip;
  std::vector<std::uint8_t> image;  // which counters this device has
};

Available ask_device(const Library& library, int device) {
  const CounterApi& api = counters_of(library);
  const bool evaluates = open_evaluator(library);
  InitializeParameters initialize;
  if (const Result result = api.initialize(&initialize); result != kSuccess && result != kInvalidOperation)
    throw std::runtime_error("CUPTI: " + describe(library.api(), "cuptiProfilerInitialize", result) +
                             (evaluates ? "" : "; it needs libnvperf_host.so, which is not beside it"));
  ChipNameParameters chip;
  chip.device = static_cast<std::size_t>(device);
  must(library, "cuptiDeviceGetChipName", api.get_chip_name(&chip));
  if (!chip.chip) throw std::runtime_error("CUPTI: cuptiDeviceGetChipName: the chip has no name");
  AvailabilityParameters availability;
  availability.device = static_cast<std::size_t>(device);
  must(library, "cuptiPmSamplingGetCounterAvailability", api.get_availability(&availability));
  std::vector<std::uint8_t> image(availability.bytes);
  availability.image = image.data();
  must(library, "cuptiPmSamplingGetCounterAvailability", api.get_availability(&availability));
  return {chip.chip, std::move(image)};
}

std::uint64_t now_ns(const Library& library) {
  std::uint64_t ns = 0;
  must(library, "cuptiGetTimestamp", library.api().get_timestamp(&ns));
  return ns;
}

}  // namespace

std::vector<std::string> counter_metrics() { return {kMetrics.begin(), kMetrics.end()}; }

std::string why_no_counters(const Library& library, int device) {
  try {
    (void)ask_device(library, device);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

CounterSampler::CounterSampler(const Library& library, int device) : library_(library), api_(counters_of(library)) {
  const Available available = ask_device(library, device);
  samples_.device = device, samples_.chip = available.chip;
  configure(available.chip, available.image);
  begin_sampling();
  drains_ = std::jthread([this](const std::stop_token& ended) { drain(ended); });
}

CounterSampler::~CounterSampler() {
  drains_ = {};
  if (SamplerParameters end; sampling_) end.sampler = sampler_.get(), (void)api_.stop(&end);
}

// All metrics where the chip counts them in one pass, else without the peak: sampling replays nothing.
void CounterSampler::configure(const char* chip, const std::vector<std::uint8_t>& availability) {
  std::string first;
  for (std::size_t count = kMetrics.size(); count >= 2; --count) try {
      HostParameters host;
      host.chip = chip, host.availability = availability.data();
      must(library_, "cuptiProfilerHostInitialize", api_.begin_host(&host));
      host_ = Handle(host.host, [this](void* ended) {
        EndHostParameters end;
        end.host = ended;
        (void)api_.end_host(&end);
      });
      metrics_.assign(kMetrics.begin(), kMetrics.begin() + static_cast<std::ptrdiff_t>(count));
      AddMetricsParameters add;
      add.host = host_.get(), add.metrics = metrics_.data(), add.count = count;
      must(library_, "cuptiProfilerHostConfigAddMetrics", api_.add_metrics(&add));
      ConfigBytesParameters bytes;
      bytes.host = host_.get();
      must(library_, "cuptiProfilerHostGetConfigImageSize", api_.get_config_bytes(&bytes));
      config_.assign(bytes.bytes, 0);
      ConfigParameters config;
      config.host = host_.get(), config.bytes = config_.size(), config.config = config_.data();
      must(library_, "cuptiProfilerHostGetConfigImage", api_.get_config(&config));
      PassesParameters passes;
      passes.bytes = config_.size(), passes.config = config_.data();
      must(library_, "cuptiProfilerHostGetNumOfPasses", api_.get_passes(&passes));
      if (passes.passes == 1) return;
      throw std::runtime_error(fmt::format("CUPTI: {} counts bytes of its memory in {} passes; sampling has one", chip, passes.passes));
    } catch (const std::runtime_error& error) {
      if (first.empty()) first = error.what();
    }
  throw std::runtime_error(first);
}

void CounterSampler::begin_sampling() {
  EnableParameters enable;
  enable.device = static_cast<std::size_t>(samples_.device);
  must(library_, "cuptiPmSamplingEnable", api_.enable(&enable));
  // Before CUDA 13 this ends all of CUPTI with it (XLA's sampler says so) or fails as the process ends: there the sampler stays to that end.
  sampler_ = Handle(enable.sampler, [this](void* ended) {
    SamplerParameters end;
    end.sampler = ended;
    if (library_.version() >= kMayDisable) (void)api_.disable(&end);
  });
  SetConfigParameters set;
  set.sampler = sampler_.get(), set.config_bytes = config_.size(), set.config = config_.data(), set.hardware_bytes = kHardwareBytes;
  set.interval = kSampleNs;
  if (samples_.chip == "GA100") set.trigger = kEveryClocks, set.interval = kSampleClocks;  // A100, which has no trigger by time
  must(library_, "cuptiPmSamplingSetConfig", api_.set_config(&set));
  ImageBytesParameters bytes;
  bytes.sampler = sampler_.get(), bytes.metrics = metrics_.data(), bytes.count = metrics_.size(), bytes.most_samples = kImageSamples;
  must(library_, "cuptiPmSamplingGetCounterDataSize", api_.get_image_bytes(&bytes));
  image_.assign(bytes.bytes, 0);
  clear_image();
  begin_ns_ = now_ns(library_);
  SamplerParameters start;
  start.sampler = sampler_.get();
  must(library_, "cuptiPmSamplingStart", api_.start(&start));
  sampling_ = true;
}

void CounterSampler::clear_image() {
  ClearImageParameters clear;
  clear.sampler = sampler_.get(), clear.bytes = image_.size(), clear.image = image_.data();
  must(library_, "cuptiPmSamplingCounterDataImageInitialize", api_.clear_image(&clear));
}

void CounterSampler::drain(const std::stop_token& ended) {
  std::unique_lock lock(mutex_);
  while (!ended.stop_requested() && samples_.trouble.empty()) {
    while (decode() != kEndOfRecords && !ended.stop_requested()) {
    }
    (void)wake_.wait_for(lock, ended, kBetweenDecodes, [] { return false; });
  }
}

std::int32_t CounterSampler::decode() try {
  DecodeParameters decode;
  decode.sampler = sampler_.get(), decode.image = image_.data(), decode.bytes = image_.size();
  const Result result = api_.decode(&decode);
  samples_.overflow = samples_.overflow || decode.overflow != 0 || result == kOutOfMemory;
  must(library_, "cuptiPmSamplingDecodeData", result);
  ImageInfoParameters info;
  info.image = image_.data(), info.bytes = image_.size();
  must(library_, "cuptiPmSamplingGetCounterDataInfo", api_.get_image_info(&info));
  for (std::size_t i = 0; i < std::min<std::size_t>(info.completed, kImageSamples); ++i) take(i);
  clear_image();
  return info.completed > 0 ? decode.stopped : kEndOfRecords;
} catch (const std::exception& error) {  // nothing may leave the thread
  samples_.trouble = error.what();
  return kEndOfRecords;
}

void CounterSampler::take(std::size_t sample) {
  SampleInfoParameters info;
  info.sampler = sampler_.get(), info.image = image_.data(), info.bytes = image_.size(), info.sample = sample;
  must(library_, "cuptiPmSamplingCounterDataGetSampleInfo", api_.get_sample_info(&info));
  std::array<double, kMetrics.size()> values{};
  EvaluateParameters evaluate;
  evaluate.host = host_.get(), evaluate.image = image_.data(), evaluate.bytes = image_.size(), evaluate.sample = sample;
  evaluate.metrics = metrics_.data(), evaluate.count = metrics_.size(), evaluate.values = values.data();
  must(library_, "cuptiProfilerHostEvaluateToGpuValues", api_.evaluate(&evaluate));
  const auto counted = [](double value) { return std::isfinite(value) && value >= 0; };
  std::vector<CounterSample>& all = samples_.samples;
  const bool fits = info.start < info.end && (all.empty() || info.start >= all.back().end_ns) && counted(values[0]) && counted(values[1]);
  if (!fits || all.size() == kMostSamples) ++samples_.malformed;
  else all.push_back({info.start, info.end, values[0], values[1], counted(values[2]) ? values[2] : 0});
}

// The first sample may begin before sampling did. Samples of another clock than the host's view of CUPTI's can be added up but not placed.
void CounterSampler::place() {
  std::vector<CounterSample>& all = samples_.samples;
  const std::uint64_t from_ns = begin_ns_ - std::min(begin_ns_, kSlackNs), to_ns = now_ns(library_) + kSlackNs;
  const auto elsewhere = [&](const CounterSample& sample) { return sample.start_ns < from_ns || sample.end_ns > to_ns; };
  const auto outside = std::count_if(all.begin(), all.end(), elsewhere);
  if (2 * outside > std::ssize(all)) {
    if (samples_.trouble.empty()) samples_.trouble = "the times of counters are not of the clock that kernels have; they cannot be told by phase";
    all.clear();
  }
  samples_.malformed += static_cast<std::int64_t>(std::erase_if(all, elsewhere));
}

CounterSamples CounterSampler::stop() {
  drains_ = {};
  SamplerParameters end;
  end.sampler = sampler_.get();
  sampling_ = false;
  if (const Result result = api_.stop(&end); result != kSuccess && samples_.trouble.empty())
    samples_.trouble = "CUPTI: " + describe(library_.api(), "cuptiPmSamplingStop", result);
  while (samples_.trouble.empty() && decode() != kEndOfRecords) {
  }
  try {
    place();
  } catch (const std::runtime_error& error) {
    samples_.trouble = error.what(), samples_.samples.clear();
  }
  return std::move(samples_);
}

CounterSamplers sample_counters(const Library& library, const std::vector<int>& devices) {
  CounterSamplers samplers;
  for (const int device : devices) try {
      samplers.of_devices.push_back(std::make_unique<CounterSampler>(library, device));
    } catch (const std::runtime_error& error) {
      if (samplers.why.empty()) samplers.why = devices.size() > 1 ? fmt::format("GPU {}: {}", device, error.what()) : error.what();
    }
  return samplers;
}

}  // namespace crossover::cupti
