#include "tensor/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <filesystem>

#include "tensor/error.h"

namespace seedbed {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string temporary_name(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return fmt::format("{}.{}-{}.tmp", path, ::getpid(), counter++);
}

void sync_folder_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  const Descriptor folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
}

// Where files are mapped: other memory must never be released, its content would be lost.
class Mappings {
 public:
  static Mappings& all() {
    static Mappings mappings;
    return mappings;
  }

  void add(const std::byte* begin, size_t size) {
    const std::lock_guard lock(mutex_);
    sizes_[begin] = size;
  }

  void remove(const std::byte* begin) {
    const std::lock_guard lock(mutex_);
    sizes_.erase(begin);
  }

  // Whole pages inside [data, data + bytes).
  void release(const std::byte* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto found = sizes_.upper_bound(data);
    if (found == sizes_.begin()) return;
    --found;
    if (data + bytes > found->first + found->second) return;
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page, end = reinterpret_cast<uintptr_t>(data + bytes) / page * page;
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  std::mutex mutex_;
  std::map<const std::byte*, size_t> sizes_;
};

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) fail(ErrorCode::file_not_found, "Expected a file at '{}', found nothing", path);
    fail(ErrorCode::file_read, "Cannot open '{}': {}", path, std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(ErrorCode::file_read, "Cannot read '{}': {}", path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) fail(ErrorCode::file_read, "Expected a file at '{}', found a folder", path);
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (mapped == MAP_FAILED) fail(ErrorCode::file_read, "Cannot map '{}': {}", path, std::strerror(errno));
  data_ = static_cast<const std::byte*>(mapped);
  Mappings::all().add(data_, size_);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  Mappings::all().remove(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void release_mapped_pages(const void* data, size_t bytes) { Mappings::all().release(static_cast<const std::byte*>(data), bytes); }

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_with_errno("create");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail_with_errno(const char* action) const {
  const int reason = errno;
  const bool full = reason == ENOSPC || reason == EDQUOT;
  fail(full ? ErrorCode::disk_full : ErrorCode::file_write, "Cannot {} '{}': {}", action, path_, std::strerror(reason));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_with_errno("write");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_with_errno("write");
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) fail_with_errno("write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with_errno("rename to");
  temporary_.clear();
  sync_folder_of(path_);
}

}  // namespace seedbed
