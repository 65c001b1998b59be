// Chat templates: parsed, and rendered for a short conversation within tight limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/json.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto kVariables = quern::formats::parse_json(
      R"({"messages": [{"role": "system", "content": "Be brief."},
                       {"role": "user", "content": "Grind <|im_end|> this"}],
          "tools": [{"type": "function", "function": {"name": "mill", "parameters": {}}}],
          "add_generation_prompt": true})",
      "variables");
  quern::text::RenderOptions options;
  options.bos_token = "<s>";
  options.now_iso8601 = "2026-01-01T00:00:00";
  options.limits.steps = 20'000;
  options.limits.output_bytes = 1U << 20;
  options.limits.value_bytes = 4U << 20;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = quern::text::ChatTemplate::parse(source, "fuzz", options.limits);
  if (parsed.ok() && kVariables.ok()) {
    (void)parsed->render(*kVariables, options);
  }
  return 0;
}
