#include "formats/safetensors_writer.h"

#include <algorithm>

#include "formats/byte_reader.h"
#include "formats/json.h"

namespace quern::formats {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";

Error invalid(const char* message, std::string_view field) {
  return Error(ErrorCode::kInvalidArgument, message).of(quote(field));
}

/// \return whether `text` is UTF-8: the parser refuses what the serialiser would have to replace.
bool is_utf8(const std::string& text) {
  const auto back = parse_json(dump_json(Json(text)), "");
  return back.ok() && *back == Json(text);
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path) {
  QUERN_TRY(file, AtomicFile::create(path));
  auto owned = std::make_unique<AtomicFile>(std::move(file));
  QUERN_TRY(writer, to_sink(*owned));
  writer.file_ = std::move(owned);
  return writer;
}

Result<SafetensorsWriter> SafetensorsWriter::to_sink(ByteSink& sink) {
  SafetensorsWriter writer;
  writer.sink_ = &sink;
  return writer;
}

Status SafetensorsWriter::add_metadata(std::string key, std::string value) {
  if (begun_ || !is_utf8(key) || !is_utf8(value)) {
    return invalid("metadata are UTF-8 and come before the data", key);
  }
  const auto same = [&](const auto& other) { return other.first == key; };
  if (std::any_of(metadata_.begin(), metadata_.end(), same)) {
    return invalid("a metadata key is given twice", key);
  }
  metadata_.emplace_back(std::move(key), std::move(value));
  return {};
}

Status SafetensorsWriter::declare_tensor(std::string name, const SafeDtype& dtype,
                                         std::vector<std::uint64_t> shape) {
  const auto same = [&](const Tensor& other) { return other.name == name; };
  if (begun_ || name == kMetadataKey || !is_utf8(name) ||
      std::any_of(tensors_.begin(), tensors_.end(), same)) {
    return invalid("a tensor's name is used, reserved or not UTF-8, or comes too late", name);
  }
  std::uint64_t bits = dtype.bits;
  for (const std::uint64_t extent : shape) {
    const auto product = checked_mul(bits, extent);
    if (!product) return Error(ErrorCode::kOutOfRange, "a tensor is too large").of(quote(name));
    bits = *product;
  }
  const auto end = checked_add(data_bytes_, bits / 8);
  if (!end || bits % 8 != 0) {
    return Error(ErrorCode::kOutOfRange, "a tensor is too large or no whole bytes").of(quote(name));
  }
  tensors_.push_back({std::move(name), dtype.name, std::move(shape), data_bytes_, bits / 8});
  data_bytes_ = *end;
  return {};
}

Status SafetensorsWriter::begin() {
  if (begun_) return invalid("writing has begun already", sink_->name());
  begun_ = true;
  Json header = Json::object();
  if (!metadata_.empty()) {
    Json& metadata = header[std::string(kMetadataKey)] = Json::object();
    for (const auto& [key, value] : metadata_) metadata[key] = value;
  }
  for (const Tensor& tensor : tensors_) {
    Json& entry = header[tensor.name] = Json::object();
    entry["dtype"] = std::string(tensor.dtype);
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {tensor.offset, tensor.offset + tensor.bytes};
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // So that the data are aligned to 8.
  std::string front;
  append_le<std::uint64_t>(front, text.size());
  front += text;
  data_start_ = front.size();
  QUERN_CHECK(sink_->expect_bytes(data_start_ + data_bytes_));
  return sink_->write_at(0, as_bytes(front));
}

Status SafetensorsWriter::write(std::span<const std::byte> bytes) {
  if (!begun_ || bytes.size() > data_bytes_ - written_) {
    return invalid("more bytes than the declared tensors have", sink_->name());
  }
  QUERN_CHECK(sink_->write_at(data_start_ + written_, bytes));
  written_ += bytes.size();
  return {};
}

Status SafetensorsWriter::finish() {
  if (!begun_ || written_ != data_bytes_) {
    return invalid("the declared tensors are incomplete", sink_->name());
  }
  return sink_->commit();
}

}  // namespace quern::formats
