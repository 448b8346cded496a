#include "tensor/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "tensor/dtype.h"
#include "tensor/error.h"
#include "tensor/file.h"

namespace seedbed {

namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr const char* kMetadataKey = "__metadata__";

struct Entry {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin;  // bytes, from the end of the header
  uint64_t end;
};

template <typename... Args>
[[noreturn]] void bad_file(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorCode::file_format, "'{}' is not a valid safetensors file: {}", path, fmt::format(format, std::forward<Args>(args)...));
}

uint64_t read_header_length(const std::string& path, std::span<const std::byte> bytes) {
  if (bytes.size() < 8) bad_file(path, "expected at least 8 bytes, found {}", bytes.size());
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  if (length > kMaxHeaderBytes) bad_file(path, "header length {} is over the limit of {}", length, kMaxHeaderBytes);
  if (length > bytes.size() - 8) bad_file(path, "header of {} bytes in a file of {}; the file is cut off", length, bytes.size());
  return length;
}

// Parses the header and refuses a key that stands twice in one object, which a plain parse would silently merge.
Json parse_header(const std::string& path, std::string_view text) {
  if (text.empty() || text.front() != '{') bad_file(path, "the header must begin with '{{'");
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) open_objects.pop_back();
    if (event == Json::parse_event_t::key && !open_objects.back().insert(parsed.get<std::string>()).second)
      bad_file(path, "the header names '{}' twice", parsed.get<std::string>());
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception& error) {
    bad_file(path, "the header is not JSON ({})", error.what());
  }
}

uint64_t byte_size(const std::string& path, const Entry& entry) {
  uint64_t bytes = c10::elementSize(entry.dtype);
  for (int64_t size : entry.shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) bad_file(path, "the shape of '{}' overflows", entry.name);
  return bytes;
}

// Numbers of the header are taken only as non-negative integers that fit.
std::vector<int64_t> read_sizes(const std::string& path, const std::string& name, const Json& list, const char* field) {
  if (!list.is_array()) bad_file(path, "'{}' of '{}' must be a list", field, name);
  std::vector<int64_t> sizes;
  for (const Json& item : list) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > INT64_MAX) bad_file(path, "'{}' of '{}' must hold non-negative integers", field, name);
    sizes.push_back(item.get<int64_t>());
  }
  return sizes;
}

Entry read_entry(const std::string& path, const std::string& name, const Json& fields, uint64_t data_bytes) {
  if (!fields.is_object() || !fields.contains("dtype") || !fields.contains("shape") || !fields.contains("data_offsets") || fields.size() != 3)
    bad_file(path, "'{}' must have exactly dtype, shape and data_offsets", name);
  if (!fields["dtype"].is_string()) bad_file(path, "dtype of '{}' must be a string", name);
  const std::vector<int64_t> offsets = read_sizes(path, name, fields["data_offsets"], "data_offsets");
  if (offsets.size() != 2) bad_file(path, "data_offsets of '{}' must be two numbers", name);
  Entry entry{name, at::kFloat, read_sizes(path, name, fields["shape"], "shape"), static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1])};
  try {
    entry.dtype = dtype_from_safetensors(fields["dtype"].get<std::string>());
  } catch (const Error& error) {
    fail(error.code(), "'{}', tensor '{}': {}", path, name, error.what());
  }
  if (entry.begin > entry.end || entry.end > data_bytes)
    bad_file(path, "'{}' lies at bytes {} to {} of {}; the file is cut off or the header is wrong", name, entry.begin, entry.end, data_bytes);
  const uint64_t expected = byte_size(path, entry);
  if (expected != entry.end - entry.begin) bad_file(path, "'{}' needs {} bytes, its range has {}", name, expected, entry.end - entry.begin);
  return entry;
}

void check_layout(const std::string& path, std::vector<Entry>& entries, uint64_t data_bytes) {
  std::ranges::stable_sort(entries, {}, [](const Entry& e) { return std::pair(e.begin, e.end); });
  uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < expected) bad_file(path, "'{}' overlaps the tensor before it", entry.name);
    if (entry.begin > expected) bad_file(path, "{} unused bytes before '{}'", entry.begin - expected, entry.name);
    expected = entry.end;
  }
  if (expected != data_bytes) bad_file(path, "{} bytes of data, the header describes {}", data_bytes, expected);
}

bool is_aligned(const void* data, at::ScalarType dtype) { return reinterpret_cast<uintptr_t>(data) % c10::elementSize(dtype) == 0; }

}  // namespace

struct SafetensorsFile::State {
  explicit State(const std::string& path) : file(path) {
    const auto bytes = file.bytes();
    const uint64_t header = read_header_length(path, bytes);
    data = bytes.subspan(8 + header);
    const Json json = parse_header(path, {reinterpret_cast<const char*>(bytes.data()) + 8, header});
    for (const auto& [name, fields] : json.items()) {
      if (name == kMetadataKey)
        read_metadata(path, fields);
      else
        entries.push_back(read_entry(path, name, fields, data.size()));
    }
    check_layout(path, entries, data.size());
  }

  void read_metadata(const std::string& path, const Json& fields) {
    if (!fields.is_object()) bad_file(path, "__metadata__ must be an object");
    for (const auto& [key, value] : fields.items()) {
      if (!value.is_string()) bad_file(path, "__metadata__ '{}' must be a string", key);
      metadata[key] = value.get<std::string>();
    }
  }

  const Entry* find(const std::string& name) const {
    const auto found = std::ranges::find(entries, name, &Entry::name);
    return found == entries.end() ? nullptr : &*found;
  }

  MappedFile file;
  std::span<const std::byte> data;
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
};

SafetensorsFile::SafetensorsFile(const std::string& path) : state_(std::make_shared<const State>(path)) {}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : state_->entries) names.push_back(entry.name);
  return names;
}

bool SafetensorsFile::contains(const std::string& name) const { return state_->find(name) != nullptr; }

const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return state_->metadata; }

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const Entry* entry = state_->find(name);
  if (entry == nullptr) fail(ErrorCode::weights, "Expected a tensor named '{}', found none", name);
  const auto options = at::TensorOptions().dtype(entry->dtype);
  auto* data = const_cast<std::byte*>(state_->data.data() + entry->begin);
  if (entry->begin == entry->end) return at::empty(entry->shape, options);
  if (!is_aligned(data, entry->dtype)) {
    at::Tensor copy = at::empty(entry->shape, options);
    std::memcpy(copy.data_ptr(), data, entry->end - entry->begin);
    return copy;
  }
  return at::from_blob(data, entry->shape, [keep = state_](void*) {}, options);
}

void write_safetensors(const std::string& path, const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  NamedTensors sorted;
  for (const auto& [name, tensor] : tensors) {
    expect(name != kMetadataKey, "Expected a tensor name other than '{}'", kMetadataKey);
    sorted.emplace_back(name, tensor.detach().cpu().contiguous());
  }
  std::ranges::sort(sorted, {}, [](const auto& item) { return std::pair(-static_cast<int64_t>(item.second.element_size()), item.first); });
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : sorted) {
    expect(!header.contains(name), "Expected different tensor names, received '{}' twice", name);
    header[name] = {{"dtype", dtype_to_safetensors(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + tensor.nbytes()}}};
    offset += tensor.nbytes();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::array<std::byte, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(text.size() >> (8 * i));

  AtomicFile file(path);
  file.write(length);
  file.write(std::as_bytes(std::span(text)));
  for (const auto& [name, tensor] : sorted) file.write({static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes()});
  file.commit();
}

}  // namespace seedbed
