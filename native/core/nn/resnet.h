#pragma once

#include <memory>
#include <vector>

#include "nn/batch_norm.h"
#include "nn/classifier_network.h"
#include "nn/conv.h"
#include "nn/linear.h"

namespace seedbed::nn {

enum class ResnetBlock {
  basic,       // two 3 x 3 convolutions
  bottleneck,  // 1 x 1, 3 x 3 with the stride (v1.5), 1 x 1 four times as wide
};

enum class ResnetStem {
  large,  // 7 x 7 convolution and 3 x 3 pooling, each of stride 2
  small,  // 3 x 3 convolution of stride 1, for pictures of about 32 pixels
};

struct ResnetConfig {
  int64_t image_size = 224;  // pixels, both sides
  int64_t channels = 3;
  ResnetBlock block = ResnetBlock::basic;
  std::vector<int64_t> layers{2, 2, 2, 2};  // blocks of the four stages
  int64_t width = 64;                       // channels of the stem and the first stage; doubles with each stage
  ResnetStem stem = ResnetStem::large;
  int64_t classes = 1000;  // K
  double drop_path = 0;    // stochastic depth of the last block; grows linearly from 0
};

// Channels that a residual block takes, has inside its branch and gives, and the stride of its first 3 x 3 convolution.
struct ResidualSizes {
  int64_t in, inner, out, stride;
  bool changes() const { return stride != 1 || in != out; }
};

// A convolution, then a batch norm.
class Downsample : public Module {
 public:
  explicit Downsample(const ResidualSizes& sizes);
  at::Tensor operator()(const at::Tensor& x, const Forward& forward) const;  // [B, in, H, W] -> [B, out, H / stride, W / stride]

 private:
  Conv2d conv_;
  BatchNorm2d norm_;
};

class ResidualBlock : public Module {
 public:
  explicit ResidualBlock(double drop_path);
  at::Tensor operator()(const at::Tensor& x, const Forward& forward) const;  // [B, in, H, W] -> [B, out, H / stride, W / stride]

 protected:
  // After the children of the branch, as the reference registers it.
  void add_downsample(const ResidualSizes& sizes);
  virtual at::Tensor branch(const at::Tensor& x, const Forward& forward) const = 0;

 private:
  double drop_path_;
  std::unique_ptr<Downsample> downsample_;  // missing where the block keeps its input's shape
};

class BasicBlock : public ResidualBlock {
 public:
  BasicBlock(const ResidualSizes& sizes, double drop_path);

 private:
  at::Tensor branch(const at::Tensor& x, const Forward& forward) const override;

  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
};

class Bottleneck : public ResidualBlock {
 public:
  Bottleneck(const ResidualSizes& sizes, double drop_path);

 private:
  at::Tensor branch(const at::Tensor& x, const Forward& forward) const override;

  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
};

// Residual network (He et al. 2015, arXiv 1512.03385) with the structure and the names of timm's and torchvision's `ResNet`.
class Resnet : public ClassifierNetwork {
 public:
  explicit Resnet(const ResnetConfig& config);

  int64_t image_size() const override { return config_.image_size; }
  int64_t classes() const override { return config_.classes; }
  std::string_view head() const override { return "fc"; }
  std::vector<std::string> stages() const override;  // layer1 to layer4
  std::string identity() const override;
  void initialise(at::Generator& generator) override;

  at::Tensor operator()(const at::Tensor& pixels, const Forward& forward = {}) const override;        // [B, C, H, W] -> [B, K]
  at::Tensor forward_features(const at::Tensor& pixels, const Forward& forward = {}) const override;  // -> [B, D], mean over positions

 private:
  struct Stage : Module {
    void append(std::unique_ptr<ResidualBlock> block);
    std::vector<std::unique_ptr<ResidualBlock>> blocks;
  };

  int64_t add_stage(int64_t stage, int64_t in);  // gives its number of channels
  at::Tensor stem(const at::Tensor& pixels, const Forward& forward) const;  // -> [B, width, H', W']

  ResnetConfig config_;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  std::vector<std::unique_ptr<Stage>> stages_;
  Linear fc_;
};

}  // namespace seedbed::nn
