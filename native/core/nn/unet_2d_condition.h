#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/resnet_block_2d.h"
#include "nn/transformer_2d.h"

namespace seedbed::nn {

// Sizes of diffusers' UNet2DConditionModel, as its config.json states them.
struct UnetConfig {
  int64_t sample_size = 64;                                   // latent side it was trained at
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  std::vector<int64_t> block_out_channels{320, 640, 1280, 1280};
  std::vector<bool> down_attention{true, true, true, false};  // CrossAttnDownBlock2D or DownBlock2D
  std::vector<bool> up_attention{false, true, true, true};    // UpBlock2D or CrossAttnUpBlock2D
  std::vector<int64_t> attention_heads{8, 8, 8, 8};           // per level
  std::vector<int64_t> layers_per_block{2, 2, 2, 2};          // per level; one more on the way up
  int64_t cross_attention_dim = 768;
  bool use_linear_projection = false;                         // SD 2.x stores proj_in and proj_out as linear layers
  int64_t norm_groups = 32;
  double norm_eps = 1e-5;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
};

// FreeU (Si et al. 2023, arXiv 2309.11497): scales the backbone's features and damps the skip connections' low
// frequencies in the first two up blocks.
struct FreeU {
  double s1 = 0.9, s2 = 0.2;  // of the skip connections
  double b1 = 1.2, b2 = 1.4;  // of the backbone
};

struct FeatureCacheOptions {
  int64_t interval = 3;  // every how many calls the whole network runs
  int64_t branch = 0;    // in the other calls: layers of the way down that run, and one more on the way up
};

// DeepCache (Ma et al. 2023, arXiv 2312.00858): what the deep layers gave is kept over a few calls of a run, in which only
// the shallow ones run. Changes results. One object a run.
class FeatureCache {
 public:
  explicit FeatureCache(const FeatureCacheOptions& options) : options_(options) {}

  int64_t branch() const { return options_.branch; }
  // Whether this call is to run whole; counts the calls.
  bool next_is_whole() { return calls_++ % options_.interval == 0; }
  // The input of the way up's layer where the branch begins: keeps x of a whole call, else gives back what was kept.
  at::Tensor exchange(const at::Tensor& x, bool whole) { return whole ? features_ = x : features_; }

 private:
  FeatureCacheOptions options_;
  int64_t calls_ = 0;
  at::Tensor features_;
};

struct UnetOptions {
  std::optional<FreeU> free_u;
  AttentionControl* control = nullptr;      // not owned
  PromptCache* cache = nullptr;             // not owned
  FeatureCache* features = nullptr;         // not owned
  std::optional<TokenMerging> merging;      // not together with `control`
  std::function<void()> poll;           // called between blocks; throws to cancel
  bool recompute = false;               // keep little for the backward pass, and compute blocks again in it
};

// Sinusoids of the timestep: [B] -> [B, width], on the timesteps' device (Ho et al. 2020; Vaswani et al. 2017).
at::Tensor timestep_features(const at::Tensor& timesteps, int64_t width, bool flip_sin_to_cos, double freq_shift);

class TimestepEmbedding : public Module {
 public:
  TimestepEmbedding(int64_t in, int64_t width);
  at::Tensor operator()(const at::Tensor& features) const;  // [B, in] -> [B, width]

 private:
  Linear linear_1_, linear_2_;
};

// One level of the UNet, on its way down, in the middle or up.
class UnetBlock : public Module {
 public:
  struct Layer {
    std::unique_ptr<ResnetBlock2d> resnet;
    std::unique_ptr<Transformer2d> attention;  // may be missing
  };

 protected:
  void add_resnet(const UnetConfig& config, int64_t in, int64_t out);
  void add_attention(const UnetConfig& config, const std::string& name, int64_t channels, int64_t heads);
  at::Tensor run(const Layer& layer, at::Tensor x, const UnetContext& context) const;

  std::vector<Layer> layers_;
};

class DownBlock : public UnetBlock {
 public:
  DownBlock(const UnetConfig& config, size_t level);
  // Appends the skip connections, and stops when there are `most`.
  at::Tensor operator()(at::Tensor x, const UnetContext& context, std::vector<at::Tensor>& skips, size_t most) const;

 private:
  std::unique_ptr<Downsample2d> downsampler_;
};

class MidBlock : public UnetBlock {
 public:
  explicit MidBlock(const UnetConfig& config);
  at::Tensor operator()(const at::Tensor& x, const UnetContext& context) const;
};

class UpBlock : public UnetBlock {
 public:
  UpBlock(const UnetConfig& config, size_t index);
  // Runs the layers [first, last), which take their skip connections off the end. After the block's last layer the result
  // gets the size of the next one.
  at::Tensor operator()(at::Tensor x, const UnetContext& context, std::vector<at::Tensor>& skips, const std::optional<FreeU>& free_u, size_t first, size_t last) const;
  size_t size() const { return layers_.size(); }

 private:
  size_t index_;
  std::unique_ptr<Upsample2d> upsampler_;
};

// The denoising network of Stable Diffusion 1.x and 2.x with diffusers' structure and parameter names.
class Unet2dCondition : public Module {
 public:
  explicit Unet2dCondition(const UnetConfig& config);

  const UnetConfig& config() const { return config_; }

  // latents [B, in, h, w], timesteps [B], prompt [B, L, D] -> [B, out, h, w], float32; h and w of any size. The inputs may
  // lie on any device, the result lies where the latents do. Timesteps are read here: best on the CPU.
  at::Tensor operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& prompt, const UnetOptions& options = {}) const;

  // Layers of the way down, and as many on the way up, but for one.
  int64_t branches() const;

 private:
  at::Tensor way_up(at::Tensor x, const UnetContext& context, std::vector<at::Tensor>& skips, const std::optional<FreeU>& free_u, size_t first, size_t last) const;

  UnetConfig config_;
  Conv2d conv_in_;
  TimestepEmbedding time_embedding_;
  std::vector<std::unique_ptr<DownBlock>> down_blocks_;
  MidBlock mid_block_;
  std::vector<std::unique_ptr<UpBlock>> up_blocks_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

}  // namespace seedbed::nn
