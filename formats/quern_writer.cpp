#include "formats/quern_writer.h"

#include <algorithm>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/quern_tail.h"

namespace quern::formats {
namespace {

Error invalid(const char* message, std::string_view field) {
  return Error(ErrorCode::kInvalidArgument, message).of(quote(field));
}

std::uint64_t aligned(std::uint64_t value, std::uint64_t step) noexcept {
  return round_up(value, step).value_or(value);  // Sizes that exist: far from 2^64.
}

std::uint64_t most_bytes(Section kind) noexcept {
  switch (kind) {
    case Section::kConfig:
      return kQuernMaxConfigBytes;
    case Section::kTemplate:
    case Section::kGeneration:
      return kQuernMaxTextBytes;
    case Section::kCache:
      return kQuernMaxCacheBytes;
    default:
      return ~std::uint64_t{0};
  }
}

void append_section(std::string& to, Section kind, std::uint64_t offset, std::uint64_t size,
                    std::uint64_t checksum) {
  const bool required =
      kind == Section::kConfig || kind == Section::kIndex || kind == Section::kData;
  append_le(to, static_cast<std::uint32_t>(kind));
  append_le(to, required ? kQuernRequiredFlag : 0u);
  append_le(to, offset);
  append_le(to, size);
  append_le(to, checksum);
}

}  // namespace

Result<QuernWriter> QuernWriter::start(std::unique_ptr<AtomicFile> file, ByteSink* sink,
                                       std::string config_json) {
  QuernWriter writer;
  writer.file_ = std::move(file);
  writer.sink_ = sink;
  if (config_json.empty() || config_json.size() > kQuernMaxConfigBytes) {
    return Error(ErrorCode::kLimit, "the configuration is empty or too long").of("config");
  }
  const std::uint64_t checksum = xxh64(as_bytes(config_json));
  writer.parts_.push_back({Section::kConfig, std::move(config_json), checksum, false});
  return writer;
}

Result<QuernWriter> QuernWriter::create(const std::string& path, std::string config_json) {
  QUERN_TRY(file, AtomicFile::create(path));
  auto owned = std::make_unique<AtomicFile>(std::move(file));
  ByteSink* sink = owned.get();
  return start(std::move(owned), sink, std::move(config_json));
}

Result<QuernWriter> QuernWriter::to_sink(ByteSink& sink, std::string config_json) {
  return start(nullptr, &sink, std::move(config_json));
}

Status QuernWriter::set_section(Section kind, std::span<const std::byte> bytes) {
  return set_section(kind, as_text(bytes));
}

Status QuernWriter::set_section(Section kind, std::string_view bytes) {
  if (kind == Section::kConfig || kind == Section::kIndex || kind == Section::kData) {
    return invalid("this section is the writer's own", "section");
  }
  if (bytes.size() > most_bytes(kind)) {
    return Error(ErrorCode::kLimit, "the section is too long")
        .want("at most " + std::to_string(most_bytes(kind)) + " bytes")
        .got(std::to_string(bytes.size()));
  }
  const auto same = std::find_if(parts_.begin(), parts_.end(),
                                 [&](const Part& part) { return part.kind == kind; });
  if (same != parts_.end()) {
    if (begun_) return invalid("the section has been written already", "section");
    same->bytes = bytes;
    same->checksum = xxh64(as_bytes(bytes));
    return {};
  }
  parts_.push_back({kind, std::string(bytes), xxh64(as_bytes(bytes)), begun_});
  return {};
}

Status QuernWriter::declare_tensor(std::string_view name, Encoding encoding, Layout layout,
                                   std::span<const std::uint64_t> dims) {
  if (begun_) return invalid("tensors cannot be declared once writing has begun", name);
  if (!is_tensor_name(name)) return invalid("the name is not 1 to 512 printable characters", name);
  if (tensors_.size() >= kQuernMaxTensors) return invalid("there are too many tensors", name);
  const auto bytes = quern_tensor_bytes(encoding, layout, dims);
  if (!bytes) {
    return Error(ErrorCode::kOutOfRange, "encoding, layout and dimensions do not go together")
        .of(quote(name));
  }
  const auto offset = round_up(data_bytes_, kQuernTensorAlign);
  const auto end = offset ? checked_add(*offset, *bytes) : offset;
  if (!end || *end > (std::uint64_t{1} << 62)) {
    return Error(ErrorCode::kOutOfRange, "the tensors are too large together").of(quote(name));
  }
  if (!by_name_.emplace(std::string(name), tensors_.size()).second) {
    return invalid("a tensor name is given twice", name);
  }
  Tensor tensor{std::string(name), encoding, layout, {}, static_cast<int>(dims.size()),
                *offset,           *bytes,   0};
  std::copy(dims.begin(), dims.end(), tensor.dims.begin());
  tensors_.push_back(std::move(tensor));
  name_bytes_ += name.size();
  data_bytes_ = *end;
  return {};
}

std::uint64_t QuernWriter::index_bytes() const noexcept {
  return kQuernIndexHeadBytes + kQuernRecordBytes * tensors_.size() + name_bytes_;
}

QuernWriter::Places QuernWriter::places() const {
  Places places;
  std::uint64_t at = kQuernFrontBytes;
  const auto place = [&](bool late) {
    for (const Part& part : parts_) {
      if (part.late != late) continue;
      at = aligned(at, kQuernSectionAlign);
      places.parts.push_back(at);
      at += part.bytes.size();
    }
  };
  place(false);
  places.index = aligned(at, kQuernSectionAlign);
  places.data = aligned(places.index + index_bytes(), kQuernDataAlign);
  at = places.data + data_bytes_;
  place(true);
  places.body_bytes = aligned(at, kQuernSectionAlign);
  return places;
}

std::uint64_t QuernWriter::total_bytes() const { return places().body_bytes + kQuernTailHeadBytes; }

Status QuernWriter::begin() {
  if (begun_) return invalid("writing has begun already", sink_->name());
  begun_ = true;
  QUERN_CHECK(sink_->expect_bytes(total_bytes()));
  const Places places = this->places();
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    QUERN_CHECK(sink_->write_at(places.parts[i], as_bytes(parts_[i].bytes)));
  }
  data_offset_ = places.data;
  return {};
}

std::uint64_t QuernWriter::wanted_bytes() const noexcept {
  return current_ < tensors_.size() ? tensors_[current_].bytes - written_ : 0;
}

Status QuernWriter::write(std::span<const std::byte> bytes) {
  if (!begun_ || current_ >= tensors_.size()) {
    return invalid("no tensor is waiting for data", sink_->name());
  }
  Tensor& tensor = tensors_[current_];
  if (bytes.size() > wanted_bytes()) {
    return invalid("more bytes than the tensor has", tensor.name);
  }
  QUERN_CHECK(sink_->write_at(data_offset_ + tensor.offset + written_, bytes));
  hash_.add(bytes);
  written_ += bytes.size();
  if (written_ == tensor.bytes) {
    tensor.checksum = hash_.digest();
    hash_ = {};
    ++current_;
    written_ = 0;
  }
  return {};
}

std::uint64_t QuernWriter::next_offset() const noexcept {
  return current_ < tensors_.size() ? data_offset_ + tensors_[current_].offset + written_ : 0;
}

Status QuernWriter::skip_tensor(std::uint64_t checksum) {
  if (!begun_ || current_ >= tensors_.size() || written_ != 0) {
    return invalid("no whole tensor is waiting for data", sink_->name());
  }
  tensors_[current_++].checksum = checksum;
  return {};
}

std::string QuernWriter::build_index() const {
  std::string records, names;
  append_le<std::uint64_t>(records, tensors_.size());
  append_le<std::uint64_t>(records, name_bytes_);
  for (const auto& [name, i] : by_name_) {
    const Tensor& tensor = tensors_[i];
    append_le(records, static_cast<std::uint32_t>(names.size()));
    append_le(records, static_cast<std::uint32_t>(name.size()));
    append_le(records, static_cast<std::uint16_t>(tensor.encoding));
    append_le(records, static_cast<std::uint16_t>(tensor.layout));
    append_le(records, static_cast<std::uint32_t>(tensor.n_dims));
    for (const std::uint64_t extent : tensor.dims) append_le(records, extent);
    append_le(records, tensor.offset);
    append_le(records, tensor.bytes);
    append_le(records, tensor.checksum);
    names += name;
  }
  return records + names;
}

std::string QuernWriter::build_front(const Places& places, std::uint64_t index_checksum) const {
  std::string table;
  const auto add_parts = [&](bool late) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const Part& part = parts_[i];
      if (part.late != late) continue;
      append_section(table, part.kind, places.parts[i], part.bytes.size(), part.checksum);
    }
  };
  add_parts(false);
  append_section(table, Section::kIndex, places.index, index_bytes(), index_checksum);
  append_section(table, Section::kData, places.data, data_bytes_, weights_hash_);
  add_parts(true);
  table.resize(kQuernFrontBytes - kQuernHeaderBytes, '\0');
  std::string front(kQuernMagic);
  append_le(front, kQuernVersion);
  append_le(front, static_cast<std::uint32_t>(parts_.size() + 2));
  append_le(front, places.body_bytes);
  append_le(front, std::uint64_t{0});  // Features.
  append_le(front, xxh64(as_bytes(table)));
  front.append(16, '\0');
  append_le(front, xxh64(as_bytes(front)));
  return front + table;
}

Status QuernWriter::seal() {
  if (!begun_ || current_ != tensors_.size()) {
    return invalid("a tensor is incomplete",
                   current_ < tensors_.size() ? tensors_[current_].name : sink_->name());
  }
  Xxh64 weights;
  for (const auto& [name, i] : by_name_) {
    const Tensor& tensor = tensors_[i];
    hash_tensor(weights, name, tensor.encoding, tensor.layout,
                static_cast<std::uint32_t>(tensor.n_dims), tensor.dims, tensor.checksum);
  }
  weights_hash_ = weights.digest();
  const Places places = this->places();
  const std::string index = build_index();
  QUERN_CHECK(sink_->write_at(places.index, as_bytes(index)));
  // Late parts with the zeros before them: an earlier seal may have left its tail there.
  std::string late;
  const std::uint64_t data_end = places.data + data_bytes_;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (!parts_[i].late) continue;
    late.resize(static_cast<std::size_t>(places.parts[i] - data_end), '\0');
    late += parts_[i].bytes;
  }
  late.resize(static_cast<std::size_t>(places.body_bytes - data_end), '\0');
  late += fresh_tail(places.body_bytes);
  QUERN_CHECK(sink_->write_at(data_end, as_bytes(late)));
  return sink_->write_at(0, as_bytes(build_front(places, xxh64(as_bytes(index)))));
}

std::string QuernWriter::temporary_path() const {
  return file_ ? file_->temporary_path() : std::string();
}

Result<std::uint64_t> QuernWriter::finish() {
  QUERN_CHECK(seal());
  QUERN_CHECK(sink_->commit());
  return weights_hash_;
}

}  // namespace quern::formats
