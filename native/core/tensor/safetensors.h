#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace seedbed {

// A safetensors file, memory-mapped and validated as a whole when it is opened: header length, JSON, duplicate keys,
// element types, shapes against byte ranges, overlaps, holes and bounds. Format:
// https://github.com/huggingface/safetensors#format. Throws ERR_FILE_FORMAT naming the file and the tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;

  // Names in the order of their data.
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  // The file's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const;
  // A read-only view of the mapping (a copy when its data is not aligned for its type). Keeps the mapping alive.
  at::Tensor tensor(const std::string& name) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes whole or not at all. Tensors are laid out by falling element size, then name, so that all are aligned.
void write_safetensors(const std::string& path, const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {});

}  // namespace seedbed
