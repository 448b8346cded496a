#pragma once

#include <string_view>
#include <vector>

namespace seedbed {

// The instruction sets that vector code is compiled for. All of them exist on x86-64, elsewhere only the portable one.
enum class VectorCode { avx512bf16, avx512, avx2, portable };  // avx512bf16: products of bfloat16; all else as avx512

// Those that this processor runs, best first. Products of bfloat16 run at twice the rate of float32 on AMD's processors, but
// at half of it on Intel's, where avx512 comes first.
const std::vector<VectorCode>& vector_codes();
std::string_view vector_code_name(VectorCode code);

// By name, or the best for an empty one. Throws ERR_INVALID_ARGUMENT for one that this processor cannot run.
VectorCode vector_code(std::string_view name);

}  // namespace seedbed
