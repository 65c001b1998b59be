#include "formats/quern_file.h"

#include <algorithm>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/checksum.h"
#include "formats/quern_parser.h"

namespace quern::formats {
namespace {

constexpr std::size_t kVerifyStep = std::size_t{4} << 20;

/// Hashes in steps, so that progress is told and cancelling works.
class Verifier {
 public:
  Verifier(const QuernFile& file, const Progress& progress)
      : file_(file), progress_(progress), total_(file.file_bytes()) {}

  Status check(std::span<const std::byte> bytes, std::uint64_t stored, std::string_view field,
               std::uint64_t offset) {
    Xxh64 hash;
    for (std::size_t at = 0; at < bytes.size(); at += kVerifyStep) {
      const auto part = bytes.subspan(at, std::min(kVerifyStep, bytes.size() - at));
      hash.add(part);
      done_ += part.size();
      if (progress_ && !progress_(std::min(done_, total_), total_)) {
        return Error(ErrorCode::kCancelled, "verification was stopped").in_file(file_.path());
      }
    }
    if (hash.digest() == stored) return {};
    return Error(ErrorCode::kChecksum, "stored and computed checksum differ")
        .in_file(file_.path())
        .at(offset)
        .of(std::string(field));
  }

 private:
  const QuernFile& file_;
  const Progress& progress_;
  std::uint64_t total_, done_ = 0;
};

}  // namespace

std::uint64_t TensorEntry::cols() const noexcept {
  return n_dims == 0 ? 1 : dims[static_cast<std::size_t>(n_dims - 1)];
}

std::uint64_t TensorEntry::rows() const noexcept {
  std::uint64_t product = 1;  // Cannot wrap: the byte size has been checked.
  for (int i = 0; i + 1 < n_dims; ++i) product *= dims[static_cast<std::size_t>(i)];
  return product;
}

Result<QuernFile> QuernFile::parse(QuernFile file) {
  QUERN_CHECK(QuernParser(file).parse());
  return file;
}

Result<QuernFile> QuernFile::open(const std::string& path) {
  QuernFile file;
  QUERN_TRY(mapped, MappedFile::open(path));
  file.mapped_ = std::move(mapped);
  file.bytes_ = file.mapped_.bytes();
  file.path_ = path;
  return parse(std::move(file));
}

Result<QuernFile> QuernFile::from_image(MemoryImage image, std::string name) {
  QuernFile file;
  file.image_ = std::move(image);
  file.bytes_ = std::as_const(file.image_).bytes();
  file.path_ = std::move(name);
  return parse(std::move(file));
}

Result<QuernFile> QuernFile::from_bytes(std::span<const std::byte> bytes, std::string name) {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kQuernTensorAlign != 0) {
    return Error(ErrorCode::kInvalidArgument, "the bytes must be 64-byte aligned").in_file(name);
  }
  QuernFile file;
  file.bytes_ = bytes;
  file.path_ = std::move(name);
  return parse(std::move(file));
}

std::span<const std::byte> QuernFile::section(Section kind) const noexcept {
  for (const SectionEntry& entry : sections_) {
    if (entry.kind == static_cast<std::uint32_t>(kind)) return entry.bytes;
  }
  return {};
}

std::string_view QuernFile::config_json() const noexcept {
  return as_text(section(Section::kConfig));
}

std::string_view QuernFile::chat_template() const noexcept {
  return tail_.chat_template ? std::string_view(*tail_.chat_template)
                             : as_text(section(Section::kTemplate));
}

std::string_view QuernFile::generation_json() const noexcept {
  return tail_.generation_json ? std::string_view(*tail_.generation_json)
                               : as_text(section(Section::kGeneration));
}

std::string_view QuernFile::report_json() const noexcept {
  return as_text(section(Section::kReport));
}

std::string_view QuernFile::metadata_json() const noexcept {
  return tail_.metadata_json ? std::string_view(*tail_.metadata_json) : std::string_view();
}

const TensorEntry* QuernFile::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorEntry& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at == tensors_.end() || at->name != name ? nullptr : &*at;
}

Status QuernFile::verify_checksums(const Progress& progress) const {
  Verifier verifier(*this, progress);
  for (const SectionEntry& entry : sections_) {
    if (entry.kind == static_cast<std::uint32_t>(Section::kData)) continue;  // Tensor by tensor.
    std::string name(4, ' ');
    for (std::size_t i = 0; i < 4; ++i) name[i] = static_cast<char>(entry.kind >> (8 * i) & 0xff);
    QUERN_CHECK(verifier.check(entry.bytes, entry.checksum, quote(name), entry.offset));
  }
  for (const TensorEntry& tensor : tensors_) {
    QUERN_CHECK(verifier.check(tensor.data, tensor.checksum, tensor.name, tensor.offset));
    // The section ends with its last tensor, so padding that follows a tensor lies inside it, or
    // behind the section, where opening has checked it.
    const std::uint64_t end = tensor.offset + tensor.data.size();
    const std::uint64_t next = round_up(end, kQuernTensorAlign).value_or(end);
    for (std::uint64_t at = end; at < std::min<std::uint64_t>(next, body_bytes_); ++at) {
      if (bytes_[static_cast<std::size_t>(at)] == std::byte{0}) continue;
      return Error(ErrorCode::kMalformed, "padding is not zero")
          .in_file(path_)
          .at(at)
          .of(std::string(tensor.name));
    }
  }
  return {};
}

}  // namespace quern::formats
