// GGUF: every entry and every array of what the reader accepts is walked.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/gguf_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = quern::formats::GgufFile::from_bytes(bytes, "fuzz.gguf");
  if (!file.ok()) {
    return 0;
  }
  std::size_t seen = 0;
  for (const auto& entry : file->entries()) {
    const auto strings = entry.array.strings();
    if (strings.ok()) {
      for (const auto text : *strings) {
        seen += text.size();
      }
    }
    const auto integers = entry.array.integers();
    seen += integers.ok() ? integers->size() : 0;
    const auto floats = entry.array.floats();
    seen += floats.ok() ? floats->size() : 0;
  }
  for (const auto& tensor : file->tensors()) {
    seen += tensor.data.empty() ? 0 : static_cast<std::size_t>(tensor.data.back());
  }
  return seen == SIZE_MAX ? -1 : 0;  // what was read must not be optimised away
}
