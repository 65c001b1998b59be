// Order of the checks: whatever is used for arithmetic has been covered by a checksum before.
// Source: formats/FORMAT.md.

#include "formats/quern_parser.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "formats/checksum.h"
#include "formats/quern_tail.h"

namespace quern::formats {
namespace {

const SectionEntry* find_section(std::span<const SectionEntry> sections, Section kind) noexcept {
  for (const SectionEntry& entry : sections) {
    if (entry.kind == static_cast<std::uint32_t>(kind)) return &entry;
  }
  return nullptr;
}

bool is_known(std::uint32_t kind) noexcept {
  switch (static_cast<Section>(kind)) {
    case Section::kConfig:
    case Section::kIndex:
    case Section::kTokenizer:
    case Section::kTemplate:
    case Section::kGeneration:
    case Section::kReport:
    case Section::kSelfTest:
    case Section::kCache:
    case Section::kData:
      return true;
  }
  return false;
}

std::string kind_name(std::uint32_t kind) {
  std::string text;
  for (int shift = 0; shift < 32; shift += 8) text += static_cast<char>(kind >> shift & 0xff);
  return quote(text);
}

}  // namespace

std::span<const std::byte> QuernParser::slice(std::uint64_t offset, std::uint64_t size) const {
  return out_.bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
}

Status QuernParser::check_zeros(std::uint64_t begin, std::uint64_t end,
                                std::string_view field) const {
  const auto part = slice(begin, end - begin);
  const auto other =
      std::find_if(part.begin(), part.end(), [](std::byte b) { return b != std::byte{0}; });
  if (other == part.end()) return {};
  return error(ErrorCode::kMalformed, "padding is not zero", field,
               begin + static_cast<std::uint64_t>(other - part.begin()));
}

Status QuernParser::check_sum(std::span<const std::byte> bytes, std::uint64_t stored,
                              std::string_view field, std::uint64_t at) const {
  if (xxh64(bytes) == stored) return {};
  return error(ErrorCode::kChecksum, "stored and computed checksum differ", field, at);
}

Status QuernParser::parse() {
  QUERN_TRY(header, read_header());
  QUERN_CHECK(read_table(header));
  QUERN_CHECK(check_known_sections());
  QUERN_CHECK(read_index());
  QUERN_CHECK(place_tensors());
  QUERN_CHECK(check_weights_hash());
  out_.body_bytes_ = header.body_bytes;
  QUERN_TRY(tail, read_tail(out_.bytes_, out_.path_, header.body_bytes));
  QUERN_TRY(overrides, parse_tail(tail.payload, out_.path_));
  out_.tail_ = std::move(overrides);
  return {};
}

Result<QuernParser::Header> QuernParser::read_header() {
  QUERN_TRY(magic, in_.text(kQuernMagic.size(), "magic"));
  if (magic != kQuernMagic) {
    const bool gguf = magic.substr(0, 4) == "GGUF";
    return error(ErrorCode::kMalformed, "this is not a .quern file", "magic", 0)
        .want("QUERN")
        .got(gguf ? "a GGUF file, which must be converted first" : quote(magic));
  }
  QUERN_TRY(version, in_.get<std::uint32_t>("version"));
  if (version != kQuernVersion) {
    return error(ErrorCode::kUnsupported, "this version of the format is not read", "version", 8)
        .want(std::to_string(kQuernVersion))
        .got(std::to_string(version));
  }
  Header header;
  QUERN_TRY(sections, in_.get<std::uint32_t>("section count"));
  QUERN_TRY(body_bytes, in_.get<std::uint64_t>("body bytes"));
  QUERN_TRY(features, in_.get<std::uint64_t>("features"));
  QUERN_TRY(table_checksum, in_.get<std::uint64_t>("table checksum"));
  QUERN_TRY(reserved_a, in_.get<std::uint64_t>("reserved"));
  QUERN_TRY(reserved_b, in_.get<std::uint64_t>("reserved"));
  QUERN_TRY(checksum, in_.get<std::uint64_t>("header checksum"));
  QUERN_CHECK(check_sum(slice(0, kQuernHeaderBytes - 8), checksum, "header checksum",
                        kQuernHeaderBytes - 8));
  if (features != 0 || (reserved_a | reserved_b) != 0) {
    return error(ErrorCode::kUnsupported, "the file needs a feature that is not known",
                 features != 0 ? "features" : "reserved", features != 0 ? 24 : 40)
        .got(std::to_string(features));
  }
  if (sections > kQuernMaxSections) {
    return error(ErrorCode::kOutOfRange, "the section table is too long", "section count", 12)
        .want("at most " + std::to_string(kQuernMaxSections))
        .got(std::to_string(sections));
  }
  if (body_bytes < kQuernFrontBytes || body_bytes % kQuernSectionAlign != 0) {
    return error(ErrorCode::kOutOfRange, "the size of the body is impossible", "body bytes", 16)
        .got(std::to_string(body_bytes));
  }
  const auto whole = checked_add(body_bytes, kQuernTailHeadBytes);
  if (!whole || *whole > out_.bytes_.size()) {
    return error(ErrorCode::kTruncated, "the file is shorter than its header says", "body bytes",
                 16)
        .want(whole ? "at least " + std::to_string(*whole) + " bytes" : "a size below 2^64")
        .got(std::to_string(out_.bytes_.size()));
  }
  header.sections = sections;
  header.body_bytes = body_bytes;
  header.table_checksum = table_checksum;
  return header;
}

Status QuernParser::read_table(const Header& header) {
  QUERN_CHECK(check_sum(slice(kQuernHeaderBytes, kQuernFrontBytes - kQuernHeaderBytes),
                        header.table_checksum, "table checksum", 32));
  std::uint64_t end = kQuernFrontBytes;
  out_.sections_.reserve(header.sections);  // At most 126.
  for (std::uint32_t i = 0; i < header.sections; ++i) {
    QUERN_TRY(entry, read_section(end, header.body_bytes));
    QUERN_CHECK(check_zeros(end, entry.offset, "section padding"));
    end = entry.offset + entry.bytes.size();
    out_.sections_.push_back(entry);
  }
  QUERN_CHECK(check_zeros(in_.offset(), kQuernFrontBytes, "front padding"));
  if (round_up(end, kQuernSectionAlign) != header.body_bytes) {
    return error(ErrorCode::kMalformed, "the sections do not cover the body", "body bytes", 16)
        .want(std::to_string(end))
        .got(std::to_string(header.body_bytes));
  }
  return check_zeros(end, header.body_bytes, "body padding");
}

Result<SectionEntry> QuernParser::read_section(std::uint64_t previous_end,
                                               std::uint64_t body_bytes) {
  const std::uint64_t at = in_.offset();
  SectionEntry entry;
  QUERN_TRY(kind, in_.get<std::uint32_t>("section kind"));
  QUERN_TRY(flags, in_.get<std::uint32_t>("section flags"));
  QUERN_TRY(offset, in_.get<std::uint64_t>("section offset"));
  QUERN_TRY(size, in_.get<std::uint64_t>("section size"));
  QUERN_TRY(checksum, in_.get<std::uint64_t>("section checksum"));
  if ((flags & ~kQuernRequiredFlag) != 0) {
    return error(ErrorCode::kUnsupported, "a section has unknown flags", "section flags", at + 4)
        .got(std::to_string(flags));
  }
  if (!is_known(kind) && (flags & kQuernRequiredFlag) != 0) {
    return error(ErrorCode::kUnsupported, "a required section is not known", "section kind", at)
        .got(kind_name(kind));
  }
  if (find_section(out_.sections_, static_cast<Section>(kind)) != nullptr) {
    return error(ErrorCode::kMalformed, "a section stands twice", "section kind", at)
        .got(kind_name(kind));
  }
  const bool data = kind == static_cast<std::uint32_t>(Section::kData);
  const auto wanted = round_up(previous_end, data ? kQuernDataAlign : kQuernSectionAlign);
  if (offset != wanted || offset > body_bytes || size > body_bytes - offset) {
    const bool outside = offset == wanted;
    return error(outside ? ErrorCode::kTruncated : ErrorCode::kMalformed,
                 outside ? "a section ends outside the body" : "sections overlap or leave a hole",
                 outside ? "section size" : "section offset", at + (outside ? 16 : 8))
        .want(outside ? "at most " + std::to_string(body_bytes)
                      : std::to_string(wanted.value_or(0)))
        .got(std::to_string(outside ? size : offset));
  }
  entry.kind = kind;
  entry.offset = offset;
  entry.checksum = checksum;
  entry.bytes = slice(offset, size);
  return entry;
}

Status QuernParser::check_known_sections() const {
  struct Rule {
    Section kind;
    bool required;
    std::uint64_t most;
    bool check_now;
  };
  static constexpr Rule kRules[] = {{Section::kConfig, true, kQuernMaxConfigBytes, true},
                                    {Section::kIndex, true, ~std::uint64_t{0}, true},
                                    {Section::kData, true, ~std::uint64_t{0}, false},
                                    {Section::kTemplate, false, kQuernMaxTextBytes, true},
                                    {Section::kGeneration, false, kQuernMaxTextBytes, true},
                                    {Section::kCache, false, kQuernMaxCacheBytes, true}};
  for (const Rule& rule : kRules) {
    const SectionEntry* entry = find_section(out_.sections_, rule.kind);
    const std::string name = kind_name(static_cast<std::uint32_t>(rule.kind));
    if (entry == nullptr) {
      if (!rule.required) continue;
      return error(ErrorCode::kMissing, "a required section is missing", name, kQuernHeaderBytes);
    }
    if (entry->bytes.size() > rule.most) {
      return error(ErrorCode::kLimit, "a section is too long", name, entry->offset)
          .want("at most " + std::to_string(rule.most) + " bytes")
          .got(std::to_string(entry->bytes.size()));
    }
    if (rule.check_now) QUERN_CHECK(check_sum(entry->bytes, entry->checksum, name, entry->offset));
  }
  return {};
}

Status QuernParser::read_index() {
  const SectionEntry& section = *find_section(out_.sections_, Section::kIndex);
  ByteReader in(section.bytes, out_.path_, section.offset);
  QUERN_TRY(count, in.get<std::uint64_t>("tensor count"));
  QUERN_TRY(names_bytes, in.get<std::uint64_t>("names bytes"));
  if (count > kQuernMaxTensors) {
    return error(ErrorCode::kOutOfRange, "there are too many tensors", "tensor count",
                 section.offset)
        .want("at most " + std::to_string(kQuernMaxTensors))
        .got(std::to_string(count));
  }
  QUERN_CHECK(in.expect_items(count, kQuernRecordBytes, "tensor count"));
  if (names_bytes != in.remaining() - count * kQuernRecordBytes) {
    return error(ErrorCode::kMalformed, "records and names do not fill the index", "names bytes",
                 section.offset + 8)
        .want(std::to_string(in.remaining() - count * kQuernRecordBytes))
        .got(std::to_string(names_bytes));
  }
  const auto names =
      as_text(section.bytes).substr(section.bytes.size() - static_cast<std::size_t>(names_bytes));
  std::uint64_t name_at = 0;
  out_.tensors_.reserve(static_cast<std::size_t>(count));  // Compared with the bytes above.
  for (std::uint64_t i = 0; i < count; ++i) {
    QUERN_TRY(tensor, read_record(in, names, name_at));
    out_.tensors_.push_back(tensor);
  }
  if (name_at == names_bytes) return {};
  return error(ErrorCode::kMalformed, "bytes follow the last name", "names bytes", in.offset());
}

Result<TensorEntry> QuernParser::read_record(ByteReader& in, std::string_view names,
                                             std::uint64_t& name_at) {
  const std::uint64_t at = in.offset();
  TensorEntry tensor;
  QUERN_TRY(name_offset, in.get<std::uint32_t>("name offset"));
  QUERN_TRY(name_bytes, in.get<std::uint32_t>("name bytes"));
  if (name_offset != name_at || name_bytes > names.size() - name_at) {
    return error(ErrorCode::kMalformed, "a name lies elsewhere in the names",
                 name_offset != name_at ? "name offset" : "name bytes", at)
        .want("offset " + std::to_string(name_at))
        .got(std::to_string(name_offset) + ", " + std::to_string(name_bytes) + " bytes");
  }
  tensor.name = names.substr(static_cast<std::size_t>(name_at), name_bytes);
  name_at += name_bytes;
  QUERN_CHECK(check_name(tensor, "name bytes", at + 4));
  const std::string field(tensor.name);  // Printable ASCII: checked.
  QUERN_TRY(encoding, in.get<std::uint16_t>(field));
  QUERN_TRY(layout, in.get<std::uint16_t>(field));
  QUERN_TRY(n_dims, in.get<std::uint32_t>(field));
  tensor.encoding = static_cast<Encoding>(encoding);
  tensor.layout = static_cast<Layout>(layout);
  if (find_encoding(tensor.encoding) == nullptr || layout > static_cast<int>(Layout::kPanel16)) {
    const bool known = find_encoding(tensor.encoding) != nullptr;
    return error(ErrorCode::kUnsupported,
                 known ? "a tensor has an unknown layout" : "a tensor has an unknown encoding",
                 field, at + (known ? 10 : 8))
        .got(std::to_string(known ? layout : encoding));
  }
  if (n_dims > tensor.dims.size()) {
    return error(ErrorCode::kOutOfRange, "a tensor has too many dimensions", field, at + 12)
        .want("at most 4")
        .got(std::to_string(n_dims));
  }
  tensor.n_dims = static_cast<int>(n_dims);
  for (std::uint64_t& extent : tensor.dims) {
    QUERN_TRY(value, in.get<std::uint64_t>(field));
    extent = value;
  }
  QUERN_TRY(offset, in.get<std::uint64_t>(field));
  QUERN_TRY(size, in.get<std::uint64_t>(field));
  QUERN_TRY(checksum, in.get<std::uint64_t>(field));
  QUERN_CHECK(check_shape(tensor, size, at));
  const SectionEntry& data = *find_section(out_.sections_, Section::kData);
  if (offset > data.bytes.size() || size > data.bytes.size() - offset) {
    return error(ErrorCode::kTruncated, "a tensor ends outside the tensor data", field, at + 48)
        .want("at most " + std::to_string(data.bytes.size()) + " bytes of data")
        .got(std::to_string(offset) + " + " + std::to_string(size));
  }
  tensor.offset = data.offset + offset;
  tensor.checksum = checksum;
  tensor.data = slice(tensor.offset, size);
  return tensor;
}

Status QuernParser::check_name(const TensorEntry& tensor, std::string_view field,
                               std::uint64_t at) const {
  if (!is_tensor_name(tensor.name)) {
    return error(ErrorCode::kMalformed, "a tensor's name is not 1 to 512 printable characters",
                 field, at)
        .got(quote(tensor.name));
  }
  if (!out_.tensors_.empty() && tensor.name <= out_.tensors_.back().name) {
    return error(ErrorCode::kMalformed, "the tensors are not sorted by unique names", field, at)
        .want("after " + quote(out_.tensors_.back().name))
        .got(quote(tensor.name));
  }
  return {};
}

Status QuernParser::check_shape(const TensorEntry& tensor, std::uint64_t size,
                                std::uint64_t at) const {
  const auto n_dims = static_cast<std::size_t>(tensor.n_dims);
  const auto unused = std::span(tensor.dims).subspan(n_dims);
  const auto wanted =
      quern_tensor_bytes(tensor.encoding, tensor.layout, std::span(tensor.dims).first(n_dims));
  const bool clean = std::all_of(unused.begin(), unused.end(), [](auto d) { return d == 0; });
  if (!wanted || !clean) {
    return error(ErrorCode::kOutOfRange, "a tensor's dimensions are impossible", tensor.name,
                 at + 16);
  }
  if (*wanted == size) return {};
  return error(ErrorCode::kMismatch, "a tensor's shape and its bytes disagree", tensor.name,
               at + 56)
      .want(std::to_string(*wanted) + " bytes")
      .got(std::to_string(size));
}

Status QuernParser::place_tensors() {
  const SectionEntry& data = *find_section(out_.sections_, Section::kData);
  std::vector<std::uint32_t> order(out_.tensors_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return out_.tensors_[a].offset < out_.tensors_[b].offset;
  });
  std::uint64_t end = data.offset;
  for (const std::uint32_t i : order) {
    const TensorEntry& tensor = out_.tensors_[i];
    const auto wanted = round_up(end, kQuernTensorAlign);
    if (tensor.offset != wanted) {
      return error(ErrorCode::kMalformed, "tensor data overlap or leave a hole", tensor.name,
                   tensor.offset)
          .want("offset " + std::to_string(wanted.value_or(0)))
          .got(std::to_string(tensor.offset));
    }
    end = tensor.offset + tensor.data.size();
  }
  if (end == data.offset + data.bytes.size()) return {};
  return error(ErrorCode::kMalformed, "bytes follow the last tensor", "DATA", end);
}

Status QuernParser::check_weights_hash() const {
  const SectionEntry& data = *find_section(out_.sections_, Section::kData);
  Xxh64 hash;
  for (const TensorEntry& tensor : out_.tensors_) {
    hash_tensor(hash, tensor.name, tensor.encoding, tensor.layout,
                static_cast<std::uint32_t>(tensor.n_dims), tensor.dims, tensor.checksum);
  }
  out_.weights_hash_ = hash.digest();
  if (out_.weights_hash_ == data.checksum) return {};
  return error(ErrorCode::kChecksum, "the hash of the weights does not match the index",
               "section checksum", data.offset);
}

}  // namespace quern::formats
