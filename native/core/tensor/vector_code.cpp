#include "tensor/vector_code.h"

#include "tensor/error.h"

namespace seedbed {

const std::vector<VectorCode>& vector_codes() {
  static const std::vector<VectorCode> codes = [] {
    std::vector<VectorCode> found;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      found.push_back(VectorCode::avx512);
      if (__builtin_cpu_supports("avx512bf16")) found.insert(__builtin_cpu_is("amd") ? found.begin() : found.end(), VectorCode::avx512bf16);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(VectorCode::avx2);
#endif
    found.push_back(VectorCode::portable);
    return found;
  }();
  return codes;
}

std::string_view vector_code_name(VectorCode code) {
  switch (code) {
    case VectorCode::avx512bf16: return "avx512bf16";
    case VectorCode::avx512: return "avx512";
    case VectorCode::avx2: return "avx2";
    case VectorCode::portable: return "portable";
  }
  return "";
}

VectorCode vector_code(std::string_view name) {
  if (name.empty()) return vector_codes().front();
  for (VectorCode code : vector_codes())
    if (vector_code_name(code) == name) return code;
  fail(ErrorCode::invalid_argument, "This processor has no vector code '{}'", name);
}

}  // namespace seedbed
