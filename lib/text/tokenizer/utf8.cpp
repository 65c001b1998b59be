#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

struct Lead {
  std::size_t bytes;        // 0: no lead byte.
  unsigned char low, high;  // Range of the second byte.
};

Lead lead_of(unsigned char c) noexcept {
  if (c < 0x80) return {1, 0, 0};
  if (c < 0xC2) return {0, 0, 0};
  if (c < 0xE0) return {2, 0x80, 0xBF};
  if (c == 0xE0) return {3, 0xA0, 0xBF};
  if (c == 0xED) return {3, 0x80, 0x9F};
  if (c < 0xF0) return {3, 0x80, 0xBF};
  if (c == 0xF0) return {4, 0x90, 0xBF};
  if (c < 0xF4) return {4, 0x80, 0xBF};
  if (c == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// \return how many bytes from `at` are well formed as the beginning of a character.
std::size_t well_formed(std::string_view text, std::size_t at, const Lead& lead) noexcept {
  std::size_t n = 1;
  while (n < lead.bytes && at + n < text.size()) {
    const auto c = static_cast<unsigned char>(text[at + n]);
    const unsigned char low = n == 1 ? lead.low : 0x80, high = n == 1 ? lead.high : 0xBF;
    if (c < low || c > high) break;
    ++n;
  }
  return n;
}

}  // namespace

Char decode_char(std::string_view text, std::size_t at) noexcept {
  if (at >= text.size()) return {};
  const auto first = static_cast<unsigned char>(text[at]);
  const Lead lead = lead_of(first);
  if (lead.bytes == 1) return {first, 1, true};
  if (lead.bytes == 0) return {0xFFFD, 1, false};
  const std::size_t n = well_formed(text, at, lead);
  if (n != lead.bytes) return {0xFFFD, n, false};
  char32_t code = first & (0x7Fu >> lead.bytes);
  for (std::size_t i = 1; i < n; ++i) {
    code = (code << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  return {code, n, true};
}

bool is_cut_off(std::string_view text, std::size_t at) noexcept {
  if (at >= text.size()) return false;
  const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  if (lead.bytes < 2) return false;
  const std::size_t n = well_formed(text, at, lead);
  return n < lead.bytes && at + n == text.size();
}

void append_char(std::string& out, char32_t code) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::size_t find_invalid(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Char c = decode_char(text, at);
    if (!c.valid) return at;
    at += c.bytes;
  }
  return std::string_view::npos;
}

void append_lossy(std::string& out, std::string_view text) {
  std::size_t clean = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Char c = decode_char(text, at);
    if (!c.valid) {
      out.append(text.substr(clean, at - clean));
      append_char(out, 0xFFFD);
      clean = at + c.bytes;
    }
    at += c.bytes;
  }
  out.append(text.substr(clean));
}

std::size_t count_chars(std::string_view text) noexcept {
  std::size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

}  // namespace quern::text
