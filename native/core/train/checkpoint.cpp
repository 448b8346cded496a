#include "train/checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "tensor/error.h"

namespace seedbed::train {

namespace {

using Json = nlohmann::json;

constexpr const char* kModel = "model.";
constexpr const char* kOptimizer = "optimizer.";
constexpr const char* kBest = "best.";
constexpr const char* kAverage = "average.";

void append(NamedTensors& out, const char* prefix, const NamedTensors& tensors) {
  for (const auto& [name, value] : tensors) out.emplace_back(prefix + name, value);
}

NamedTensors with_prefix(const SafetensorsFile& file, const std::string& prefix) {
  NamedTensors out;
  for (const std::string& name : file.names())
    if (name.starts_with(prefix)) out.emplace_back(name.substr(prefix.size()), file.tensor(name).clone());
  return out;
}

void restore(const NamedTensors& weights, const SafetensorsFile& file) {
  const c10::NoGradGuard no_grad;
  for (const auto& [name, value] : weights) {
    const at::Tensor saved = file.tensor(kModel + name);
    if (saved.sizes() != value.sizes()) fail(ErrorCode::weights, "Expected {} of the same shape in the checkpoint", name);
    value.copy_(saved);
  }
}

// Step reports as [n, 3] doubles: exact, and small beside the weights.
template <typename Report, typename Row>
at::Tensor pack(const std::vector<Report>& reports, Row row) {
  at::Tensor out = at::empty({static_cast<int64_t>(reports.size()), 3}, at::kDouble);
  double* values = out.mutable_data_ptr<double>();
  for (const Report& report : reports)
    for (double value : row(report)) *values++ = value;
  return out;
}

template <typename Report>
std::vector<Report> unpack(const at::Tensor& rows) {
  std::vector<Report> reports;
  const double* values = rows.const_data_ptr<double>();
  for (int64_t i = 0; i < rows.size(0); ++i) reports.push_back({static_cast<int64_t>(values[3 * i]), values[3 * i + 1], values[3 * i + 2]});
  return reports;
}

std::array<double, 3> row_of(const StepReport& r) { return {static_cast<double>(r.step), r.loss, r.lr}; }
std::array<double, 3> row_of(const EvaluationReport& r) { return {static_cast<double>(r.step), r.loss, r.accuracy}; }

}  // namespace

void write_checkpoint(const std::string& path, const std::string& identity, const NamedTensors& weights, const Optimizer& optimizer, const Progress& progress) {
  const TrainResult& result = progress.result;
  const auto to_row = [](const auto& report) { return row_of(report); };
  NamedTensors tensors;
  append(tensors, kModel, weights);
  append(tensors, kOptimizer, optimizer.state());
  append(tensors, kBest, progress.best_weights);
  append(tensors, kAverage, progress.averages);
  tensors.emplace_back("history", pack(result.history, to_row));
  tensors.emplace_back("evaluations", pack(result.evaluations, to_row));
  write_safetensors(path, tensors, {{"format", "seedbed-checkpoint-1"}, {"identity", identity}, {"progress", Json{{"steps", result.steps}, {"samples", result.samples}}.dump()}});
}

Progress read_checkpoint(const std::string& path, const std::string& identity, const NamedTensors& weights, Optimizer& optimizer) {
  const SafetensorsFile file(path);
  const auto& metadata = file.metadata();
  if (!metadata.contains("format") || metadata.at("format") != "seedbed-checkpoint-1") fail(ErrorCode::file_format, "'{}' is not a checkpoint of a training run", path);
  expect(metadata.at("identity") == identity, "The checkpoint '{}' belongs to a run with other options or data; remove it or choose another file", path);
  const Json saved = Json::parse(metadata.at("progress"));
  Progress progress;
  progress.result.steps = saved.at("steps");
  progress.result.samples = saved.at("samples");
  progress.result.history = unpack<StepReport>(file.tensor("history"));
  progress.result.evaluations = unpack<EvaluationReport>(file.tensor("evaluations"));
  for (const EvaluationReport& report : progress.result.evaluations)
    if (!progress.result.best || report.accuracy > progress.result.best->accuracy) progress.result.best = report;
  progress.best_weights = with_prefix(file, kBest);
  for (const auto& [name, value] : weights)  // in their order
    if (const std::string kept = kAverage + name; file.contains(kept)) progress.averages.emplace_back(name, file.tensor(kept).clone());
  restore(weights, file);
  optimizer.load_state(file, kOptimizer, progress.result.steps);
  return progress;
}

}  // namespace seedbed::train
