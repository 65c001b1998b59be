/// \file
/// Chat templates: the Jinja of published checkpoints, interpreted within hard limits.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "quern/result.h"

namespace quern::text {

/// What one template may use up; beyond it, parsing or rendering ends with kLimit.
struct TemplateLimits {
  std::size_t source_bytes = 1u << 20;   ///< Length of the template.
  int parse_depth = 100;                 ///< Nesting of statements and of expressions.
  int call_depth = 64;                   ///< Macros and recursive loops within one another.
  int eval_depth = 400;                  ///< Statements and expressions under evaluation at once.
  std::size_t steps = 1'000'000;         ///< Nodes evaluated, elements, 256 bytes of text touched.
  std::size_t output_bytes = 16u << 20;  ///< Length of the rendered text.
  std::size_t value_bytes = 64u << 20;   ///< All values alive at one time.
};

struct RenderOptions {
  std::string bos_token;  ///< Trusted: may become control tokens.
  std::string eos_token;  ///< Trusted.
  /// Further trusted variables, e.g. pad_token, unk_token.
  std::map<std::string, std::string> special_tokens;
  /// The clock of strftime_now, `YYYY-MM-DDTHH:MM:SS`; absent: the system's, local time.
  std::optional<std::string> now_iso8601;
  TemplateLimits limits;
};

/// Bytes [begin, end) of a rendered text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool trusted = false;  ///< From the template or a special token, not from the caller's variables.
};

/// A rendered conversation. The spans cover the text without gap, neighbours differ in `trusted`.
/// Only what lies in one trusted span may be read as control tokens.
struct Rendered {
  std::string text;
  std::vector<Span> spans;
};

/// A parsed chat template. Language: Jinja as the Hugging Face library sets it up (sandboxed,
/// immutable values, trim_blocks, lstrip_blocks, loopcontrols, `generation`, its own tojson,
/// raise_exception, strftime_now). What is outside is kUnsupported, never ignored.
///
/// Immutable after parsing: may be shared between threads. Errors name the template in `file` and
/// line and column in `field`. Codes: kMalformed (syntax), kUnsupported, kLimit, kInvalidArgument
/// (the template misuses a value: wrong type, undefined variable), kOutOfRange (integers have 64
/// bits here), kTemplateRaised (raise_exception; `message` is the template's text exactly).
class ChatTemplate {
 public:
  static Result<ChatTemplate> parse(std::string_view source,
                                    std::string_view name = "chat_template",
                                    const TemplateLimits& limits = {});

  /// Renders with `variables`, an object: messages, tools, add_generation_prompt, … `tools` and
  /// `documents` are none where absent. Every string in it is untrusted. It overrides the names in
  /// `options`.
  Result<Rendered> render(const formats::Json& variables, const RenderOptions& options = {}) const;

 private:
  struct Program;
  explicit ChatTemplate(std::shared_ptr<const Program> program);
  std::shared_ptr<const Program> program_;
};

}  // namespace quern::text
