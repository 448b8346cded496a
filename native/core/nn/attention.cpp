#include "nn/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include "nn/kernels/attention_kernel.h"
#include "nn/kernels/scratch.h"
#include "nn/kernels/select.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

const AttentionKernel& kernel_of(std::string_view name) {
  switch (vector_code(name)) {
#if defined(__x86_64__)
    case VectorCode::avx512: return kAttentionAvx512;
    case VectorCode::avx2: return kAttentionAvx2;
#endif
    default: return kAttentionPortable;
  }
}

void check_inputs(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  check_shape(q, "attention: q", {-1, -1, -1, -1});
  const int64_t batch = q.size(0), heads = q.size(2), d = q.size(3);
  check_shape(k, "attention: k", {batch, -1, heads, d});
  check_shape(v, "attention: v", {batch, k.size(1), heads, d});
  check_dtype(k, "attention: k", q.scalar_type());
  check_dtype(v, "attention: v", q.scalar_type());
  expect(k.size(1) > 0 && d > 0, "attention: expected at least one key and a head size of at least 1, received {} and {}", k.size(1), d);
}

bool has_kernel(const at::Tensor& q) { return q.is_cpu() && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16); }

at::Tensor with_unit_stride(const at::Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); }

// The rows of one head from row `first` on; x [B, L, heads, d].
Rows rows_of(const at::Tensor& x, int64_t head, int64_t first = 0) {
  const int64_t heads = x.size(2), offset = head / heads * x.stride(0) + head % heads * x.stride(2) + first * x.stride(1);
  const bool wide = x.scalar_type() == at::kFloat;
  return {static_cast<char*>(x.data_ptr()) + offset * x.element_size(), x.stride(1), wide ? Element::float32 : Element::bfloat16};
}

// lse [B * heads, Lq] may be undefined.
void run_forward(const AttentionKernel& kernel, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale, const at::Tensor& out, const at::Tensor& lse) {
  const int64_t queries = q.size(1), keys = k.size(1), d = q.size(3);
  const int64_t blocks = (queries + kernel.queries - 1) / kernel.queries;
  const AttentionScratch sizes = kernel.scratch(keys, d);
  at::parallel_for(0, q.size(0) * q.size(2) * blocks, 1, [&](int64_t begin, int64_t end) {
    float* packed = scratch(0, sizes.packed);
    float* work = scratch(1, sizes.block);
    AttentionHead head{};
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i / blocks, first = i % blocks * kernel.queries;
      if (i == begin || first == 0) {
        head = {rows_of(k, h), rows_of(v, h), keys, d};
        kernel.pack(head, packed);
      }
      float* block_lse = lse.defined() ? lse.data_ptr<float>() + h * queries + first : nullptr;
      kernel.forward(head, {rows_of(q, h, first), rows_of(out, h, first), std::min(kernel.queries, queries - first), static_cast<float>(scale), block_lse}, packed, work);
    }
  });
}

}  // namespace

std::vector<std::string_view> attention_kernels() {
  std::vector<std::string_view> names;
  for (VectorCode code : vector_codes()) names.push_back(vector_code_name(code));
  return names;
}

at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  check_inputs(q, k, v);
  const at::Tensor scores = at::matmul(q.transpose(1, 2), k.permute({0, 2, 3, 1})) * scale;  // [B, heads, Lq, Lk]
  return at::matmul(at::softmax(scores, -1), v.transpose(1, 2)).transpose(1, 2).contiguous();
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale, std::string_view kernel) {
  check_inputs(q, k, v);
  if (!has_kernel(q)) return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), {}, 0.0, false, scale).transpose(1, 2).contiguous();
  const AttentionKernel& chosen = kernel_of(kernel);
  if (c10::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad())) return attention_reference(q, k, v, scale);
  const at::Tensor out = at::empty(q.sizes(), q.options());
  if (out.numel() > 0) run_forward(chosen, with_unit_stride(q), with_unit_stride(k), with_unit_stride(v), scale, out, {});
  return out;
}

}  // namespace seedbed::nn
