/// \file
/// Characters that are younger than PCRE2's Unicode tables.
#pragma once

#include <string>
#include <string_view>

namespace quern::text {

/// PCRE2 10.42 (Debian 12) knows Unicode 14; the `tokenizers` library's Oniguruma knows Unicode 16.
/// \return `text` with each character that Oniguruma classes otherwise replaced by an older one of
/// the same general category (for ideographs: of the same script), which takes as many bytes, so
/// that patterns match at the same places. The view is `text` itself where there is none, which is
/// nearly always; otherwise it lies in `buffer`. One pass. \param text valid UTF-8.
std::string_view with_stand_ins(std::string_view text, std::string& buffer);

}  // namespace quern::text
