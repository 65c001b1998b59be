/// \file
/// Cuts a template into tokens as Jinja 3.1 does with trim_blocks and lstrip_blocks.
/// Source: Jinja's template designer documentation, "Whitespace Control".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/jinja/position.h"

namespace quern::text::jinja {

enum class TokenKind : std::uint8_t {
  kData,
  kPrintBegin,
  kPrintEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  ///< `text` holds it: + - * / // % ** ~ [ ] ( ) { } == != > >= < <= = . : | , ;
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  Position at;
  std::string text;  ///< Data, name, operator, or the unescaped string.
  std::int64_t integer = 0;
  double number = 0;

  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  bool is_operator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
};

/// \return the tokens, ended by one kEnd. Errors: kMalformed with line and column in `field`,
/// kOutOfRange for an integer beyond 64 bits.
Result<std::vector<Token>> tokenize(std::string_view source);

/// Undoes the escapes of a string literal (between its quotes). Errors: kMalformed, kUnsupported
/// for \N{…}.
Result<std::string> unescape(std::string_view literal);

}  // namespace quern::text::jinja
