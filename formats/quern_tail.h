/// \file
/// The mutable metadata tail of a `.quern` file: two slots that point at JSON payloads, replaced so
/// that a crash leaves the old tail or the new one (formats/FORMAT.md, "Tail").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "formats/quern_file.h"
#include "quern/result.h"

namespace quern::formats {

enum class TailState : std::uint32_t { kEmpty = 0, kPending = 1, kCommitted = 2 };

/// One slot, without magic and checksum.
struct TailSlot {
  TailState state = TailState::kEmpty;
  std::uint64_t sequence = 0, offset = 0, size = 0, checksum = 0;
};

/// The tail as it stands in a file.
struct TailView {
  TailSlot slots[2];
  int current = 0;                     ///< Index of the slot that counts.
  std::span<const std::byte> payload;  ///< JSON; empty: nothing is overridden.
};

/// Validates the tail that begins at `body_bytes` and ends the file. Errors: kTruncated, kChecksum,
/// kMalformed, kLimit, naming the field.
Result<TailView> read_tail(std::span<const std::byte> file, std::string_view name,
                           std::uint64_t body_bytes);

/// Parses a payload; an empty one overrides nothing.
Result<QuernTail> parse_tail(std::span<const std::byte> payload, std::string_view name);
/// The reverse; empty where nothing is overridden. Errors: kMalformed, where a member is no JSON
/// object.
Result<std::string> dump_tail(const QuernTail& tail);

/// \return the 64 bytes of a slot.
std::string encode_slot(const TailSlot& slot);
/// \return the 128 bytes of a fresh tail (no payload) that begins at `body_bytes`.
std::string fresh_tail(std::uint64_t body_bytes);

}  // namespace quern::formats
