#include "formats/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/checksum.h"

namespace quern::formats {
namespace {

constexpr std::size_t kHashDigits = 16;
constexpr std::size_t kMaxWrite = std::size_t{1} << 30;  // Some systems refuse more in one call.
constexpr std::string_view kCompanionSuffix = ".journal";

Error system_error(const std::string& path, const char* what, int code = errno) {
  const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
  return Error(full ? ErrorCode::kLimit : ErrorCode::kIo, what)
      .in_file(path)
      .got(std::generic_category().message(code));
}

std::string hex(std::uint64_t value) {
  std::string text(kHashDigits, '0');
  for (std::size_t i = kHashDigits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

/// What the names of all temporaries of one target begin with.
std::string temporary_prefix(std::string_view file_name) {
  return ".quern-" + hex(xxh64(as_bytes(file_name))) + "-";
}

/// Opens a new file for writing and locks it, so that other runs see that it is in use.
int open_locked(const std::string& path) noexcept {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd >= 0) ::flock(fd, LOCK_EX | LOCK_NB);  // Nobody else can hold it yet.
  return fd;
}

/// Calls take(name, fd, directory's fd) for every temporary that no living run holds, locked.
template <class Take>
void visit_left_overs(const std::string& directory, const std::string& prefix, const Take& take) {
  DIR* listing = ::opendir(directory.c_str());
  if (listing == nullptr) return;
  const int at = ::dirfd(listing);
  while (const dirent* entry = ::readdir(listing)) {
    const std::string name = entry->d_name;
    if (name.rfind(prefix, 0) != 0 || name.ends_with(kCompanionSuffix)) continue;
    const int fd = ::openat(at, name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      take(name, fd, at);
    } else {
      ::close(fd);
    }
  }
  ::closedir(listing);
}

/// Removes companions without a temporary: of runs killed between the two removals.
void remove_lone_companions(const std::string& directory, const std::string& prefix) {
  DIR* listing = ::opendir(directory.c_str());
  if (listing == nullptr) return;
  const int at = ::dirfd(listing);
  while (const dirent* entry = ::readdir(listing)) {
    std::string name = entry->d_name;
    if (name.rfind(prefix, 0) != 0 || !name.ends_with(kCompanionSuffix)) continue;
    name.resize(name.size() - kCompanionSuffix.size());
    struct stat info {};
    if (::fstatat(at, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) continue;
    ::unlinkat(at, entry->d_name, 0);
  }
  ::closedir(listing);
}

/// Removes what killed runs left for this target. Nothing depends on its success.
void remove_left_overs(const std::string& directory, const std::string& prefix) {
  visit_left_overs(directory, prefix, [](const std::string& name, int fd, int at) {
    ::unlinkat(at, name.c_str(), 0);
    ::close(fd);
  });
  remove_lone_companions(directory, prefix);
}

int sync_file(int fd) noexcept {
  int result = 0;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result;
}

Status sync_directory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return system_error(directory, "the directory cannot be opened to be synced");
  const int result = sync_file(fd);
  const int code = errno;
  ::close(fd);
  // Some file systems have no notion of syncing a directory and say so.
  if (result != 0 && code != EINVAL && code != ENOTSUP) {
    return system_error(directory, "the directory cannot be synced", code);
  }
  return {};
}

}  // namespace

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      directory_(std::move(other.directory_)),
      target_(std::move(other.target_)),
      prefix_(std::move(other.prefix_)),
      fd_(std::exchange(other.fd_, -1)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(target_, other.target_);
  std::swap(temporary_, other.temporary_);
  std::swap(directory_, other.directory_);
  std::swap(prefix_, other.prefix_);
  std::swap(fd_, other.fd_);
  return *this;
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (fd_ < 0) return;
  ::unlink(temporary_.c_str());
  ::unlink(companion_path().c_str());
  keep();
}

void AtomicFile::keep() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::string AtomicFile::companion_path() const {
  return temporary_ + std::string(kCompanionSuffix);
}

Result<AtomicFile> AtomicFile::for_target(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kInvalidArgument, "the output is not a regular file").in_file(path);
  }
  // A link stays one: the file that it names is replaced.
  std::error_code none;
  const std::filesystem::path behind = std::filesystem::canonical(path, none);
  const std::string target = none ? path : behind.string();
  const std::size_t slash = target.rfind('/');
  const std::string name = slash == std::string::npos ? target : target.substr(slash + 1);
  if (name.empty()) {
    return Error(ErrorCode::kInvalidArgument, "the output path names no file").in_file(path);
  }
  AtomicFile file;
  file.path_ = path;
  file.target_ = target;
  file.directory_ = slash == std::string::npos ? "./" : target.substr(0, slash + 1);
  file.prefix_ = temporary_prefix(name);
  return file;
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  QUERN_TRY(file, for_target(path));
  remove_left_overs(file.directory_, file.prefix_);
  const auto seed =
      static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  for (std::uint64_t attempt = 0; attempt < 64 && file.fd_ < 0; ++attempt) {
    const std::uint64_t number = seed ^ (static_cast<std::uint64_t>(::getpid()) << 40);
    file.temporary_ = file.directory_ + file.prefix_ + hex(number + attempt);
    file.fd_ = open_locked(file.temporary_);
    if (file.fd_ < 0 && errno != EEXIST) break;
  }
  if (file.fd_ < 0) return system_error(path, "no file can be created in this directory");
  return file;
}

Result<std::optional<AtomicFile>> AtomicFile::reopen(const std::string& path) {
  QUERN_TRY(file, for_target(path));
  struct timespec newest {};
  visit_left_overs(file.directory_, file.prefix_, [&](const std::string& name, int fd, int at) {
    const std::string companion = name + std::string(kCompanionSuffix);
    struct stat info {
    }, beside{};
    const bool whole = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                       ::fstatat(at, companion.c_str(), &beside, AT_SYMLINK_NOFOLLOW) == 0;
    const bool newer = file.fd_ < 0 || std::pair(info.st_mtim.tv_sec, info.st_mtim.tv_nsec) >
                                           std::pair(newest.tv_sec, newest.tv_nsec);
    if (!whole || !newer) {
      ::close(fd);
      return;
    }
    if (file.fd_ >= 0) ::close(file.fd_);
    file.fd_ = fd;
    file.temporary_ = file.directory_ + name;
    newest = info.st_mtim;
  });
  if (file.fd_ < 0) return std::optional<AtomicFile>();
  return std::optional<AtomicFile>(std::move(file));
}

Status AtomicFile::expect_bytes(std::uint64_t total) {
  struct statvfs info {};
  if (::fstatvfs(fd_, &info) != 0) return {};  // Not known: the writes will tell.
  const auto free_bytes = checked_mul<std::uint64_t>(info.f_bavail, info.f_frsize);
  struct stat own {};
  constexpr std::uint64_t kBlock = 512;  // The unit of st_blocks.
  const std::uint64_t held =
      ::fstat(fd_, &own) == 0 ? static_cast<std::uint64_t>(own.st_blocks) * kBlock : 0;
  if (!free_bytes || *free_bytes >= total - std::min(total, held)) return {};
  return Error(ErrorCode::kLimit, "the file system has too little free space")
      .in_file(path_)
      .want(std::to_string(total) + " bytes needed")
      .got(std::to_string(*free_bytes) + " bytes free");
}

Status AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (fd_ < 0) return Error(ErrorCode::kInvalidArgument, "the file is not open").in_file(path_);
  const auto end = checked_add<std::uint64_t>(offset, bytes.size());
  if (!end || *end > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    return Error(ErrorCode::kOutOfRange, "the file would be too large").in_file(path_).at(offset);
  }
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), kMaxWrite);
    const ssize_t done = ::pwrite(fd_, bytes.data(), part, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      return system_error(path_, "the file cannot be written", done < 0 ? errno : ENOSPC);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

Result<bool> AtomicFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
  if (fd_ < 0) return Error(ErrorCode::kInvalidArgument, "the file is not open").in_file(path_);
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), kMaxWrite);
    const ssize_t done = ::pread(fd_, bytes.data(), part, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return system_error(temporary_, "the file cannot be read");
    if (done == 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return true;
}

Status AtomicFile::resize(std::uint64_t bytes) {
  if (fd_ < 0) return Error(ErrorCode::kInvalidArgument, "the file is not open").in_file(path_);
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) == 0) return {};
  return system_error(temporary_, "the file cannot be cut to size");
}

Status AtomicFile::commit() {
  if (fd_ < 0) return Error(ErrorCode::kInvalidArgument, "the file is not open").in_file(path_);
  if (sync_file(fd_) != 0) return system_error(path_, "the file cannot be synced");
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return system_error(path_, "the finished file cannot be renamed");
  }
  ::unlink(companion_path().c_str());
  ::close(fd_);  // Synced already, so its result says nothing new.
  fd_ = -1;
  return sync_directory(directory_);
}

Status MemorySink::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  const auto end = checked_add<std::uint64_t>(offset, bytes.size());
  if (!end) return Error(ErrorCode::kOutOfRange, "the image would be too large").in_file(name_);
  if (*end > image_.bytes().size()) QUERN_CHECK(image_.resize(*end));
  if (!bytes.empty()) {
    std::memcpy(image_.bytes().data() + offset, bytes.data(), bytes.size());
  }
  return {};
}

Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  QUERN_TRY(file, AtomicFile::create(path));
  QUERN_CHECK(file.expect_bytes(bytes.size()));
  QUERN_CHECK(file.write_at(0, bytes));
  return file.commit();
}

}  // namespace quern::formats
