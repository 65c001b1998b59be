// safetensors: the header and the extent of every tensor.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/safetensors_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = quern::formats::SafetensorsFile::from_bytes(bytes, "fuzz.safetensors");
  std::size_t seen = 0;
  if (file.ok()) {
    for (const auto& tensor : file->tensors()) {
      seen += tensor.data.empty() ? 0 : static_cast<std::size_t>(tensor.data.back());
    }
  }
  return seen == SIZE_MAX ? -1 : 0;  // what was read must not be optimised away
}
