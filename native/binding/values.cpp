#include "values.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>

#include "tensor/check.h"
#include "tensor/dtype.h"

namespace seedbed::binding {

namespace {

constexpr int64_t kMostElements = int64_t{1} << 40;
constexpr size_t kCopyBelow = 1 << 20;  // bytes; larger results are handed over without a copy

napi_typedarray_type array_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return napi_float32_array;
    case at::kDouble: return napi_float64_array;
    case at::kHalf:
    case at::kBFloat16: return napi_uint16_array;
    case at::kByte:
    case at::kBool: return napi_uint8_array;
    case at::kChar: return napi_int8_array;
    case at::kShort: return napi_int16_array;
    case at::kInt: return napi_int32_array;
    case at::kLong: return napi_bigint64_array;
    default: fail(ErrorCode::dtype, "Unsupported element type {}", c10::toString(dtype));
  }
}

struct Bytes {
  const uint8_t* data;
  size_t size;
};

Bytes bytes_of(const Napi::Value& value, const std::string& path) {
  expect(value.IsTypedArray(), "Expected a typed array for {}", path);
  const auto array = value.As<Napi::TypedArray>();
  return {static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

// A tensor at the surface: its elements' type, shape and bytes, which fit together.
struct Described {
  at::TensorOptions options;
  std::vector<int64_t> shape;
  Bytes bytes;
};

Described describe_tensor(const Napi::Value& value, const std::string& path) {
  const Fields fields(value, path);
  std::string dtype = "float32";
  Described out;
  fields.read("dtype", dtype).read("shape", out.shape);
  out.options = at::TensorOptions().dtype(dtype_from_name(dtype));
  int64_t count = 1;
  for (const int64_t size : out.shape) {
    check_range(size, path + ".shape", 0, size == 0 ? 0 : kMostElements / std::max<int64_t>(count, 1));
    count *= size;
  }
  out.bytes = bytes_of(fields.required("data"), fields.path_of("data"));
  const size_t wanted = static_cast<size_t>(count) * out.options.dtype().itemsize();
  if (out.bytes.size != wanted) fail(ErrorCode::shape, "Expected {} bytes for {} of {} elements, received {}", wanted, path, count, out.bytes.size);
  return out;
}

// The tensor's bytes as an ArrayBuffer: shared with the tensor when large and where the runtime allows it.
std::pair<Napi::ArrayBuffer, size_t> emit_bytes(Napi::Env env, const at::Tensor& tensor) {
  const size_t size = tensor.nbytes();
  if (size < kCopyBelow) {
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, size);
    if (size > 0) std::memcpy(buffer.Data(), tensor.const_data_ptr(), size);
    return {buffer, 0};
  }
  auto* keep = new at::Tensor(tensor);
  auto shared = Napi::Buffer<uint8_t>::NewOrCopy(
      env, static_cast<uint8_t*>(tensor.data_ptr()), size, [](Napi::Env, uint8_t*, at::Tensor* kept) { delete kept; }, keep);
  return {shared.ArrayBuffer(), shared.ByteOffset()};
}

template <typename Name>
Napi::Value make_typed_array(Napi::Env env, napi_typedarray_type type, size_t length, const Name& buffer, size_t offset) {
  napi_value array = nullptr;
  const napi_status status = napi_create_typedarray(env, type, length, buffer, offset, &array);
  NAPI_THROW_IF_FAILED(env, status, Napi::Value());
  return {env, array};
}

}  // namespace

at::Tensor parse_tensor(const Napi::Value& value, const std::string& path) {
  const Described given = describe_tensor(value, path);
  at::Tensor tensor = at::empty(given.shape, given.options);
  if (given.bytes.size > 0) std::memcpy(tensor.data_ptr(), given.bytes.data, given.bytes.size);
  return tensor;
}

at::Tensor share_tensor(const Napi::Value& value, const std::string& path) {
  const Described given = describe_tensor(value, path);
  const size_t element = given.options.dtype().itemsize();
  expect(reinterpret_cast<uintptr_t>(given.bytes.data) % element == 0, "Expected data at a multiple of {} bytes in its buffer for {}", element, path);
  return at::from_blob(const_cast<uint8_t*>(given.bytes.data), given.shape, given.options);
}

NamedTensors parse_named_tensors(const Napi::Value& value, const std::string& path) {
  expect(value.IsObject(), "Expected an object of tensors for {}", path);
  const auto object = value.As<Napi::Object>();
  NamedTensors out;
  for (const Napi::Value& key : elements(object.GetPropertyNames(), path)) {
    const std::string name = key.ToString();
    out.emplace_back(name, parse_tensor(object.Get(name), path + "." + name));
  }
  return out;
}

namespace {

image::ImageView share_image(const Fields& fields, const Napi::Value& data) {
  int64_t width = 0, height = 0, channels = 0;
  fields.read("width", width).read("height", height).read("channels", channels);
  check_range(width, fields.path_of("width"), 1, 65536);
  check_range(height, fields.path_of("height"), 1, 65536);
  expect(channels == 1 || channels == 3, "Expected 1 or 3 channels for {}, received {}", fields.path_of("channels"), channels);
  const Bytes bytes = bytes_of(data, fields.path_of("data"));
  const auto wanted = static_cast<size_t>(width * height * channels);
  expect(bytes.size == wanted, "Expected {} bytes for {} ({} x {} x {}), received {}", wanted, fields.path_of("data"), width, height, channels, bytes.size);
  return {width, height, channels, bytes.data};
}

}  // namespace

image::Image parse_image(const Fields& fields) {
  const image::ImageView shared = share_image(fields, fields.required("data"));
  image::Image image(shared.width, shared.height, shared.channels);
  std::memcpy(image.pixels.data(), shared.pixels, image.pixels.size());
  return image;
}

std::vector<image::Image> parse_images(const Fields& fields, std::string_view name) {
  std::vector<image::Image> images;
  for (const Fields& picture : fields.objects(name)) images.push_back(parse_image(picture));
  return images;
}

SharedImages share_images(const Fields& fields, std::string_view name) {
  SharedImages shared;
  for (const Fields& picture : fields.objects(name)) {
    shared.kept.push_back(picture.required("data"));
    shared.views.push_back(share_image(picture, shared.kept.back()));
  }
  return shared;
}

namespace {

Napi::Object emit_description(Napi::Env env, const at::Tensor& tensor) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("shape", emit_list(env, tensor.sizes(), [&](int64_t size) { return Napi::Number::New(env, static_cast<double>(size)); }));
  out.Set("dtype", std::string(dtype_to_name(tensor.scalar_type())));
  return out;
}

}  // namespace

Napi::Value emit_tensor(Napi::Env env, const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().cpu().contiguous();
  const auto [buffer, offset] = emit_bytes(env, plain);
  Napi::Object out = emit_description(env, plain);
  out.Set("data", make_typed_array(env, array_type(plain.scalar_type()), plain.numel(), buffer, offset));
  return out;
}

at::Tensor ResultMemory::tensor(at::IntArrayRef shape, at::ScalarType dtype) const {
  if (!given) return at::empty(shape, dtype);
  const auto wanted = static_cast<size_t>(c10::multiply_integers(shape)) * at::elementSize(dtype);
  if (bytes != wanted) fail(ErrorCode::shape, "Expected {} bytes for out, received {}", wanted, bytes);
  return at::from_blob(data, shape, dtype);
}

Napi::Value ResultMemory::emit(Napi::Env env, const at::Tensor& result) const { return given ? emit_description(env, result) : emit_tensor(env, result); }

ResultMemory parse_out(const Fields& fields, std::vector<Napi::Value>& kept) {
  const auto given = fields.optional("out");
  if (!given) return {};
  const Bytes bytes = bytes_of(*given, fields.path_of("out"));
  kept.push_back(*given);
  return {true, const_cast<uint8_t*>(bytes.data), bytes.size};
}

Napi::Value emit_named_tensors(Napi::Env env, const NamedTensors& tensors) {
  Napi::Object out = Napi::Object::New(env);
  for (const auto& [name, tensor] : tensors) out.Set(name, emit_tensor(env, tensor));
  return out;
}

Napi::Value emit_image(Napi::Env env, const image::Image& image) {
  auto data = Napi::Uint8Array::New(env, image.pixels.size());
  std::memcpy(data.Data(), image.pixels.data(), image.pixels.size());
  return emit_object(env, {{"data", data}, {"width", image.width}, {"height", image.height}, {"channels", image.channels}});
}

Napi::Object emit_object(Napi::Env env, std::initializer_list<std::pair<const char*, Value>> fields) {
  struct Emit {
    Napi::Env env;
    Napi::Value operator()(bool value) const { return Napi::Boolean::New(env, value); }
    Napi::Value operator()(int64_t value) const { return Napi::Number::New(env, static_cast<double>(value)); }
    Napi::Value operator()(double value) const { return Napi::Number::New(env, value); }
    Napi::Value operator()(uint64_t value) const { return Napi::BigInt::New(env, value); }
    Napi::Value operator()(const std::string& value) const { return Napi::String::New(env, value); }
    Napi::Value operator()(const Napi::Value& value) const { return value; }
  };
  Napi::Object out = Napi::Object::New(env);
  for (const auto& [name, value] : fields) out.Set(name, std::visit(Emit{env}, value));
  return out;
}

}  // namespace seedbed::binding
