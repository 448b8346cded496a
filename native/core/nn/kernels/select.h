#pragma once

#include <string_view>
#include <vector>

namespace seedbed::nn {

// The instruction sets that vector code is compiled for. All of them exist on x86-64, elsewhere only the portable one.
enum class VectorCode { avx512, avx2, portable };

// Those that this processor runs, best first.
const std::vector<VectorCode>& vector_codes();
std::string_view vector_code_name(VectorCode code);

// By name, or the best for an empty one. Throws ERR_INVALID_ARGUMENT for one that this processor cannot run.
VectorCode vector_code(std::string_view name);

}  // namespace seedbed::nn
