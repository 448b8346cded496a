#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace seedbed {

// A whole file mapped read-only. Throws ERR_FILE_NOT_FOUND, or ERR_FILE_READ for a folder or an unreadable file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Tells the system that these bytes will not be read soon, if they lie in a mapped file: they leave the process's memory and
// are read from the file again when they are needed. Does nothing for other memory.
void release_mapped_pages(const void* data, size_t bytes);

// Writes a file whole or not at all: a temporary name in the same folder, fsync, rename. An interrupted or failed write
// leaves the old file as it was. Throws ERR_DISK_FULL or ERR_FILE_WRITE.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();  // removes the temporary file unless `commit` was reached
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  [[noreturn]] void fail_with_errno(const char* action) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace seedbed
