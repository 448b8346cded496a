#include "nn/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "nn/kernels/attention_kernel.h"
#include "nn/kernels/scratch.h"
#include "nn/tensors.h"
#include "tensor/vector_code.h"
#include "tensor/check.h"
#include "tensor/error.h"

namespace seedbed::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kChunkKeys = 1024;  // gradients of the keys of a chunk stay in the second cache
constexpr int64_t kMostChunks = 4;    // each holds its own part of q's gradient

const AttentionKernel& kernel_of(VectorCode code, at::ScalarType dtype) {
  switch (code) {
#if defined(__x86_64__)
    case VectorCode::avx512bf16: return dtype == at::kBFloat16 ? kAttentionAvx512Bf16 : kAttentionAvx512;
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

struct Wanted {
  bool q, k_or_v;
};

struct Gradients {
  at::Tensor q, k, v;  // as the inputs; undefined where not wanted
};

// Chunks of keys in parallel; their number depends on that of the keys alone, and their parts are added in order.
Gradients run_backward(const AttentionKernel& kernel, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale, const at::Tensor& out, const at::Tensor& lse,
                       const at::Tensor& grad_out, Wanted wanted) {
  const int64_t batch = q.size(0), queries = q.size(1), heads = q.size(2), d = q.size(3), all_keys = k.size(1);
  const int64_t chunks = std::min(kMostChunks, (all_keys + kChunkKeys - 1) / kChunkKeys), keys = (all_keys + chunks - 1) / chunks;
  const auto part_type = chunks > 1 ? at::kFloat : q.scalar_type();
  const at::Tensor parts = wanted.q ? at::empty({chunks, batch, queries, heads, d}, q.options().dtype(part_type)) : at::Tensor();
  Gradients grads;
  if (wanted.k_or_v) {
    grads.k = at::empty(k.sizes(), k.options());
    grads.v = at::empty(v.sizes(), v.options());
  }
  at::parallel_for(0, batch * heads * chunks, 1, [&](int64_t begin, int64_t end) {
    float* work = scratch(2, kernel.gradient_scratch(keys, d));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i / chunks, chunk = i % chunks, first = chunk * keys;
      AttentionGradient task{};
      task.head = {rows_of(k, h, first), rows_of(v, h, first), std::min(keys, all_keys - first), d};
      task.q = rows_of(q, h);
      task.out = rows_of(out, h);
      task.grad_out = rows_of(grad_out, h);
      task.queries = queries;
      task.scale = static_cast<float>(scale);
      task.lse = lse.data_ptr<float>() + h * queries;
      if (wanted.q) task.grad_q = rows_of(parts[chunk], h);
      if (wanted.k_or_v) {
        task.grad_k = rows_of(grads.k, h, first);
        task.grad_v = rows_of(grads.v, h, first);
      }
      kernel.backward(task, work);
    }
  });
  if (wanted.q) grads.q = (chunks > 1 ? parts.sum(0) : parts[0]).to(q.scalar_type());
  return grads;
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& q, const Variable& k, const Variable& v, double scale, int64_t code) {
    const at::Tensor out = at::empty(q.sizes(), q.options()), lse = at::empty({q.size(0) * q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
    run_forward(kernel_of(static_cast<VectorCode>(code), q.scalar_type()), q, k, v, scale, out, lse);
    ctx->save_for_backward({q, k, v, out, lse});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["code"] = code;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    expect_first_derivative("attention");
    const variable_list saved = ctx->get_saved_variables();
    const Wanted wanted{ctx->needs_input_grad(0), ctx->needs_input_grad(1) || ctx->needs_input_grad(2)};
    const Gradients out = run_backward(kernel_of(static_cast<VectorCode>(ctx->saved_data["code"].toInt()), saved[0].scalar_type()), saved[0], saved[1], saved[2], ctx->saved_data["scale"].toDouble(), saved[3],
                                       saved[4], with_unit_stride(grads[0]), wanted);
    return {out.q, out.k, out.v, {}, {}};
  }
};

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
  const VectorCode code = vector_code(kernel);
  const at::Tensor rows_q = with_unit_stride(q), rows_k = with_unit_stride(k), rows_v = with_unit_stride(v);
  if (q.numel() == 0) return at::empty(q.sizes(), q.options());
  if (c10::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad()))
    return Attention::apply(rows_q, rows_k, rows_v, scale, static_cast<int64_t>(code));
  const at::Tensor out = at::empty(q.sizes(), q.options());
  run_forward(kernel_of(code, q.scalar_type()), rows_q, rows_k, rows_v, scale, out, {});
  return out;
}

}  // namespace seedbed::nn
