#include "tensor/error.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace seedbed {

namespace {

constexpr size_t kNamesShown = 5;

constexpr std::array<std::pair<ErrorCode, std::string_view>, 16> kTable{{
    {ErrorCode::invalid_argument, "ERR_INVALID_ARGUMENT"},
    {ErrorCode::shape, "ERR_SHAPE"},
    {ErrorCode::dtype, "ERR_DTYPE"},
    {ErrorCode::disposed, "ERR_DISPOSED"},
    {ErrorCode::cancelled, "ERR_CANCELLED"},
    {ErrorCode::out_of_memory, "ERR_OUT_OF_MEMORY"},
    {ErrorCode::file_not_found, "ERR_FILE_NOT_FOUND"},
    {ErrorCode::file_read, "ERR_FILE_READ"},
    {ErrorCode::file_write, "ERR_FILE_WRITE"},
    {ErrorCode::file_format, "ERR_FILE_FORMAT"},
    {ErrorCode::disk_full, "ERR_DISK_FULL"},
    {ErrorCode::weights, "ERR_WEIGHTS"},
    {ErrorCode::not_finite, "ERR_NOT_FINITE"},
    {ErrorCode::degenerate_fractal, "ERR_DEGENERATE_FRACTAL"},
    {ErrorCode::no_cuda, "ERR_NO_CUDA"},
    {ErrorCode::internal, "ERR_INTERNAL"},
}};

}  // namespace

std::string_view error_code_name(ErrorCode code) { return kTable[static_cast<size_t>(code)].second; }

std::span<const std::pair<ErrorCode, std::string_view>> error_code_table() { return kTable; }

std::string list_names(std::string_view title, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const std::span<const std::string> shown(names.data(), std::min(names.size(), kNamesShown));
  return fmt::format("; {} {}: {}{}", names.size(), title, fmt::join(shown, ", "), names.size() > kNamesShown ? ", ..." : "");
}

}  // namespace seedbed
