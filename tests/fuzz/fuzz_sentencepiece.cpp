// SentencePiece models: every piece of what the reader accepts is looked at.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/sentencepiece_model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto model = quern::formats::SentencePieceModel::parse(bytes, "fuzz.model");
  if (!model.ok()) {
    return 0;
  }
  std::size_t seen = model->charsmap.size();
  for (const auto& piece : model->pieces) {
    seen += piece.text.size();
  }
  return seen == SIZE_MAX ? -1 : 0;  // what was read must not be optimised away
}
