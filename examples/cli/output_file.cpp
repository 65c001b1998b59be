#include "output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "input.h"
#include "model_path.h"
#include "terminal.h"

namespace quern::cli {

Error OutputFile::failed(const char* what) const {
  return Error(ErrorCode::kIo, std::string(what) + ": " + std::strerror(errno)).in_file(path_);
}

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile out;
  out.path_ = path;
  std::error_code failed;
  if (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed))
    return Error(ErrorCode::kInvalidArgument, "the output exists and is no regular file")
        .in_file(path);
  if (is_model_in_use(path))
    return Error(ErrorCode::kInvalidArgument, "the output is the model, which is never touched")
        .in_file(path)
        .want("another file");
  // A link stays one: the file that it names is replaced.
  const std::filesystem::path target = std::filesystem::canonical(path, failed);
  out.target_ = failed ? path : target.string();
  std::string name = out.target_ + ".XXXXXX";
  const int descriptor = mkstemp(name.data());
  if (descriptor < 0) return out.failed("cannot be created");
  out.temporary_ = name;
  remove_on_signal(name);
  const mode_t mask = umask(0);
  umask(mask);
  if (fchmod(descriptor, 0666 & ~mask) != 0 || (out.file_ = fdopen(descriptor, "wb")) == nullptr) {
    close(descriptor);
    return out.failed("cannot be created");
  }
  return out;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::exchange(other.file_, nullptr)) {}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (temporary_.empty()) return;
  unlink(temporary_.c_str());
  remove_on_signal({});
}

Status OutputFile::write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
    return failed("cannot be written");
  return {};
}

Status OutputFile::write(std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  return write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

Status OutputFile::commit() {
  const bool flushed = std::fflush(file_) == 0 && fsync(fileno(file_)) == 0;
  const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
  if (!flushed || !closed) return failed("cannot be written");
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) return failed("cannot be renamed");
  temporary_.clear();
  remove_on_signal({});
  return {};
}

Status write_file(const std::string& path, std::string_view text) {
  QUERN_TRY(file, OutputFile::create(path));
  QUERN_CHECK(file.write(text));
  return file.commit();
}

std::string safetensors_header(const std::vector<TensorHeader>& tensors) {
  Json header = Json::object();
  std::uint64_t offset = 0;
  for (const TensorHeader& tensor : tensors) {
    std::uint64_t bytes = tensor.dtype == "I64" ? 8 : 4;
    for (const std::uint64_t dim : tensor.shape) bytes *= dim;
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string json = to_text(header);
  json.append((8 - json.size() % 8) % 8, ' ');  // Data begin 8-byte aligned.
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>((static_cast<std::uint64_t>(json.size()) >> (8 * i)) & 0xFFU);
  return bytes + json;
}

}  // namespace quern::cli
