// tokenizer.json to a compiled image, then text there and back.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/tokenizer_json.h"
#include "text/tokenizer/image_builder.h"
#include "text/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = quern::formats::read_tokenizer_json_text(text, "tokenizer.json");
  if (!spec.ok()) {
    return 0;
  }
  const auto image = quern::text::build_tokenizer_image(*spec);
  if (!image.ok()) {
    return 0;
  }
  const auto tokenizer = quern::text::Tokenizer::open(*image, "tokenizer.json");
  if (tokenizer.ok()) {
    const auto ids = tokenizer->encode("The mill stone turns. 碾 \xF0\x9F\x8C\xBE");
    if (ids.ok()) {
      (void)tokenizer->decode(*ids);
    }
  }
  return 0;
}
