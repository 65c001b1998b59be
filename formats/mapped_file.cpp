#include "formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>
#include <utility>

#include "quern/checked.h"

namespace quern::formats {
namespace {

Error system_error(const std::string& path, const char* what) {
  const int code = errno;
  return Error(ErrorCode::kIo, what).in_file(path).got(std::generic_category().message(code));
}

/// Closes a descriptor at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

int open_read_only(const std::string& path) noexcept {
  int fd = -1;
  // O_NONBLOCK: opening a named pipe must not wait for its writer; it means nothing to files.
  do {
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

/// The size of an open regular file.
Result<std::size_t> regular_size(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return system_error(path, "the file's status cannot be read");
  if (!S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kUnsupported, "only regular files are read")
        .in_file(path)
        .want("a regular file")
        .got(S_ISDIR(info.st_mode) ? "a directory" : "a device, pipe or socket");
  }
  if (static_cast<std::uint64_t>(info.st_size) > std::numeric_limits<std::size_t>::max() / 2) {
    return Error(ErrorCode::kLimit, "the file is larger than the address space").in_file(path);
  }
  return static_cast<std::size_t>(info.st_size);
}

std::size_t page_bytes() noexcept {
  static const auto size = static_cast<std::size_t>(std::max(::sysconf(_SC_PAGESIZE), 4096L));
  return size;
}

}  // namespace

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor fd(open_read_only(path));
  if (fd.get() < 0) return system_error(path, "the file cannot be opened");
  QUERN_TRY(size, regular_size(fd.get(), path));
  if (size == 0) {
    return Error(ErrorCode::kTruncated, "the file is empty").in_file(path).at(0).of("file");
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return system_error(path, "the file cannot be mapped");
  MappedFile file;
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  file.path_ = path;
  return file;
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  if (data_ == nullptr || part.empty()) return;
  // Whole pages inside the part only: neighbours may still be in use.
  const auto begin = static_cast<std::size_t>(part.data() - data_);
  const std::size_t first = (begin + page_bytes() - 1) / page_bytes() * page_bytes();
  const std::size_t last = (begin + part.size()) / page_bytes() * page_bytes();
  if (first >= last || last > size_) return;
  ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

MemoryImage::MemoryImage(MemoryImage&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

MemoryImage& MemoryImage::operator=(MemoryImage&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

MemoryImage::~MemoryImage() {
  if (data_ != nullptr) ::munmap(data_, capacity_);
}

Status MemoryImage::reserve(std::uint64_t capacity) {
  if (capacity <= capacity_) return {};
  const auto wanted = round_up<std::uint64_t>(capacity, page_bytes());
  if (!wanted || *wanted > std::numeric_limits<std::size_t>::max() / 2) {
    return Error(ErrorCode::kOutOfMemory, "the image is larger than the address space")
        .got(std::to_string(capacity) + " bytes");
  }
  const auto length = static_cast<std::size_t>(*wanted);
  void* data = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return Error(ErrorCode::kOutOfMemory, "the system has no memory for the image")
        .want(std::to_string(length) + " bytes");
  }
  if (size_ != 0) std::memcpy(data, data_, size_);
  if (data_ != nullptr) ::munmap(data_, capacity_);
  data_ = static_cast<std::byte*>(data);
  capacity_ = length;
  return {};
}

Status MemoryImage::resize(std::uint64_t size) {
  if (size > capacity_)
    QUERN_CHECK(reserve(std::max<std::uint64_t>(size, capacity_ + capacity_ / 4)));
  const auto length = static_cast<std::size_t>(size);
  if (length < size_) std::memset(data_ + length, 0, size_ - length);  // Growing again shows zeros.
  size_ = length;
  return {};
}

Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes) {
  const Descriptor fd(open_read_only(path));
  if (fd.get() < 0) return system_error(path, "the file cannot be opened");
  QUERN_TRY(size, regular_size(fd.get(), path));
  if (size > max_bytes) {
    return Error(ErrorCode::kLimit, "the file is larger than this kind of file may be")
        .in_file(path)
        .want("at most " + std::to_string(max_bytes) + " bytes")
        .got(std::to_string(size));
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(fd.get(), text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(path, "the file cannot be read");
    if (got == 0) break;  // Truncated by someone else meanwhile: what is there is the file.
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

bool is_regular_file(const std::string& path) noexcept {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool same_file(const std::string& a, const std::string& b) noexcept {
  struct stat first {
  }, second{};
  if (::stat(a.c_str(), &first) != 0 || ::stat(b.c_str(), &second) != 0) return false;
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace quern::formats
