#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "diffusion/model.h"
#include "nn/lora.h"

namespace seedbed::diffusion {

// Factors by layer name, of both networks, and textual-inversion embeddings [n, D] by their word.
struct LoraWeights {
  std::map<std::string, nn::LoraFactors> unet, text_encoder;
  NamedTensors embeddings;
};

struct LoraInfo {
  std::string name;
  double scale;
  bool merged;
  int64_t unet_layers, text_encoder_layers;
  int64_t parameters;
  std::vector<std::string> tokens;  // words that prompts may use
};

// The adapters of one model. Calls take what is active when they begin; adapters may come and go meanwhile, on any thread.
class Loras {
 public:
  explicit Loras(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  // Throws ERR_WEIGHTS for factors that fit no layer and embeddings of another width, ERR_NOT_FINITE, ERR_INVALID_ARGUMENT for a
  // name or a word that is taken.
  void add(const std::string& name, const LoraWeights& weights, double scale);
  // The following throw ERR_INVALID_ARGUMENT for a name that is not there.
  void remove(const std::string& name);
  void set_scale(const std::string& name, double scale);
  // Merged adapters cost nothing at inference, after one computation of the weights they change, and memory for those. Embeddings
  // stay beside the model.
  void set_merged(const std::string& name, bool merged);
  std::vector<LoraInfo> list() const;

  // What a call sees that begins now (never null), with other scales for this call by name. Adapters of scale 0 are left out.
  std::shared_ptr<const nn::ActiveLoras> active(const std::map<std::string, double>& scales = {}) const;

 private:
  struct Entry {
    LoraInfo info;
    std::vector<std::pair<nn::LoraLayer, nn::LoraFactors>> factors;  // as given, for merging
    std::vector<nn::LoraFactors> placed;                             // where and as the model computes, and packed
    NamedTensors embeddings;                                         // placed, [n, D]
  };

  Entry& find(const std::string& name);
  std::shared_ptr<nn::ActiveLoras> build(const std::map<std::string, double>& scales) const;

  std::shared_ptr<const Model> model_;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // in order of addition
  std::shared_ptr<const nn::ActiveLoras> current_ = std::make_shared<nn::ActiveLoras>();  // without scales of a call
};

// A network's parameters with what a call's merged adapters change.
NamedTensors merged_parameters(const nn::Module& network, const nn::ActiveLoras& active);

}  // namespace seedbed::diffusion
