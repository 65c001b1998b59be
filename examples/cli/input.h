/// \file
/// Reading what the command line names: files, stdin, JSON, lists of ids.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "quern/sampling.h"

namespace quern::cli {

using Json = nlohmann::ordered_json;

/// What the command line calls an input: "stdin" for "-", any other as it is.
std::string input_name(const std::string& path);

/// Reads a file, or stdin for "-". Errors: kIo; kLimit beyond `max_bytes`.
Result<std::string> read_input(const std::string& path, std::uint64_t max_bytes = 1ULL << 30);

/// The same, but only the first `max_bytes` (less where that would cut a UTF-8 character).
Result<std::string> read_beginning(const std::string& path, std::uint64_t max_bytes);

/// Parses JSON of at most 64 levels. \param name where it comes from, for errors.
Result<Json> parse_json(std::string_view text, const std::string& name);

/// One line of JSON; bytes that are no UTF-8 become U+FFFD.
std::string to_text(const Json& value, int indent = -1);

/// "1,2,3" or "1 2 3" (any white space, commas, brackets) → ids. Errors: kInvalidArgument.
Result<std::vector<TokenId>> parse_ids(std::string_view text);

/// Splits on '\n' alone; a last line without one counts, an empty rest does not.
std::vector<std::string_view> split_lines(std::string_view text);

/// An unsigned number as 16 hexadecimal digits.
std::string hex(std::uint64_t value);

}  // namespace quern::cli
