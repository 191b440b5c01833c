#include "engine/load/weight_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "engine/load/convert.h"
#include "engine/load/load_knobs.h"

namespace crossover {

WeightSource::WeightSource(const std::filesystem::path& model, std::optional<DType> weights, const Knobs& knobs, const std::filesystem::path& folder,
                           ThreadPool& pool, const std::string& before)
    : checkpoint_(open_checkpoint(model)), weights_(weights) {
  const std::string& where = knobs.get("CROSSOVER_QUANT_CACHE");
  const bool quantizes = weights && std::any_of(checkpoint_.tensors.begin(), checkpoint_.tensors.end(), [&](const SourceTensor& tensor) {
    return needs_quantizing(tensor, target_type(tensor, *weights));
  });
  outcome_.sentence = before;
  if (where != "off" && quantizes) {
    if (where == "folder" && folder.empty())
      throw std::invalid_argument("CROSSOVER_QUANT_CACHE=folder was asked for and no folder was given; name one or use beside");
    look(where == "folder" ? folder : std::filesystem::absolute(model.has_filename() && !checkpoint_.gguf ? model : model.parent_path()), pool);
  } else if (where != "off") {
    outcome_.sentence = "the weights are used as they are stored, so nothing is quantized that could be kept";
  }
}

void WeightSource::open(const Knobs& knobs, const ShardPlan& plan, bool together) {
  read_ = read_choice(knobs, source(), together ? 1 : direct_passes(source(), plan));
  files_.emplace(source(), read_.mode);
}

void WeightSource::look(const std::filesystem::path& folder, ThreadPool& pool) {
  lookup_ = find_quantized(checkpoint_, *weights_, folder, pool);
  outcome_.file = lookup_.file;
  outcome_.sentence += (outcome_.sentence.empty() ? "" : "; ") + lookup_.sentence;
  outcome_.state = "not kept";
  if (lookup_.state == CacheState::kHit) {
    loaded_ = open_quantized(lookup_, checkpoint_);
    check_ = std::make_unique<PieceCheck>(lookup_.header);
    outcome_.state = "hit";
  } else if (!lookup_.key.source.files.empty()) {
    writer_ = std::make_unique<CacheWriter>(checkpoint_, lookup_);
  }
}

void WeightSource::finish(ThreadPool& pool) {
  if (!writer_) return;
  if (writer_->finish(pool)) outcome_.state = "built";
  else outcome_.sentence += "; not kept: " + writer_->trouble();
  writer_.reset();
}

}  // namespace crossover
