/// \file
/// The self-test section of a `.quern` file: what the model answered when it was made, so that
/// `verify` can ask again on another machine. One JSON object:
/// `{"version": 1, "numerics": revision,
///   "texts": [{"text", "add_special", "parse_special", "ids": […], "decoded"}…],
///   "renderings": [{"conversation": JSON text, "now", "text"}…],
///   "logits": [{"prompt": [ids], "kv": KvType's number, "hash": 16 hex digits,
///               "top": [{"id", "bits": float32 bits}…]}…]}`
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/kv_type.h"
#include "quern/result.h"

namespace quern::formats {

/// Value type; each part may be empty (a model without a tokenizer, a template, a graph).
struct SelfTest {
  /// A text, the ids that it becomes, and the text that the ids become.
  struct Text {
    std::string text;  ///< UTF-8.
    bool add_special = true, parse_special = true;
    std::vector<std::int32_t> ids;
    std::string decoded;  ///< Of `ids`, special tokens kept; UTF-8 (else the text is not used).
    bool operator==(const Text&) const = default;
  };
  /// A conversation and the prompt that the model's template makes of it.
  struct Rendering {
    std::string conversation_json;
    std::string now;  ///< ISO 8601, for `strftime_now`.
    std::string text;
    bool operator==(const Rendering&) const = default;
  };
  /// Logits of a prompt given in one step: compared bit for bit (numerics law, DESIGN.md section
  /// 3).
  struct Logits {
    struct Top {
      std::int32_t id = 0;
      std::uint32_t bits = 0;  ///< The logit's float32 bits.
      bool operator==(const Top&) const = default;
    };
    std::vector<std::int32_t> prompt;
    KvType kv = KvType::kF32;  ///< With which the session was made; never kAuto.
    std::uint64_t hash = 0;    ///< XXH64 of `[prompt, vocab]` float32, little-endian.
    std::vector<Top> top;  ///< Largest logits of the last position, the lower id first on a tie.
    bool operator==(const Logits&) const = default;
  };

  /// Revision of the arithmetic that made the logits (lib/kernels: kNumericsRevision); 1 where a
  /// section names none.
  std::uint32_t numerics = 1;
  std::vector<Text> texts;
  std::vector<Rendering> renderings;
  std::vector<Logits> logits;
  bool operator==(const SelfTest&) const = default;

  bool empty() const noexcept { return texts.empty() && renderings.empty() && logits.empty(); }
};

inline constexpr std::uint32_t kSelfTestVersion = 1;
inline constexpr std::size_t kMaxSelfTestBytes = 4u << 20;
inline constexpr std::size_t kSelfTestTop = 8;

/// \return the section's bytes: JSON, the same for the same value.
std::string write_self_test(const SelfTest& test);

/// Reads a section. \param file names the container in errors. An empty section is an empty test.
/// Errors: kMalformed, kMissing, kLimit, kOutOfRange; kUnsupported (a version that is newer).
Result<SelfTest> read_self_test(std::span<const std::byte> section, std::string_view file);

/// \return the hash of logits as `SelfTest::Logits::hash` has it.
std::uint64_t hash_logits(std::span<const float> logits);
/// \return the `kSelfTestTop` largest of one row of logits, NaN last.
std::vector<SelfTest::Logits::Top> top_logits(std::span<const float> row);

}  // namespace quern::formats
