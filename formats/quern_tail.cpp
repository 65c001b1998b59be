#include "formats/quern_tail.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "formats/byte_reader.h"
#include "formats/checksum.h"
#include "formats/json.h"

namespace quern::formats {
namespace {

constexpr std::uint32_t kSlotMagic = fourcc("TAIL");
constexpr std::uint64_t kMaxAllTails = 64u << 20;  ///< Superseded payloads included.
constexpr JsonLimits kTailLimits{32, kQuernMaxTailBytes, 1u << 16};

/// One slot; its own checksum is checked first, so every flipped bit is seen.
Result<TailSlot> read_slot(ByteReader& in, std::span<const std::byte> raw) {
  const std::uint64_t at = in.offset();
  const auto stored = load_le<std::uint64_t>(raw.data() + kQuernTailSlotBytes - 8);
  if (xxh64(raw.first(kQuernTailSlotBytes - 8)) != stored) {
    return in.error(ErrorCode::kChecksum, "a slot of the metadata tail is damaged", "slot checksum",
                    at);
  }
  QUERN_TRY(magic, in.get<std::uint32_t>("tail magic"));
  QUERN_TRY(state, in.get<std::uint32_t>("tail state"));
  if (magic != kSlotMagic || state > static_cast<std::uint32_t>(TailState::kCommitted)) {
    return in.error(ErrorCode::kMalformed, "a slot of the metadata tail has an unknown form",
                    magic != kSlotMagic ? "tail magic" : "tail state", at);
  }
  TailSlot slot;
  slot.state = static_cast<TailState>(state);
  QUERN_TRY(sequence, in.get<std::uint64_t>("tail sequence"));
  QUERN_TRY(offset, in.get<std::uint64_t>("tail offset"));
  QUERN_TRY(size, in.get<std::uint64_t>("tail size"));
  QUERN_TRY(checksum, in.get<std::uint64_t>("tail checksum"));
  QUERN_TRY(reserved_a, in.get<std::uint64_t>("tail reserved"));
  QUERN_TRY(reserved_b, in.get<std::uint64_t>("tail reserved"));
  if ((reserved_a | reserved_b) != 0) {
    return in.error(ErrorCode::kUnsupported, "reserved bytes of the tail are used", "tail reserved",
                    at + 40);
  }
  QUERN_CHECK(in.skip(8, "slot checksum"));
  if (size > kQuernMaxTailBytes) {
    return in.error(ErrorCode::kLimit, "the metadata tail is too long", "tail size", at + 24)
        .got(std::to_string(size));
  }
  slot.sequence = sequence;
  slot.offset = offset;
  slot.size = size;
  slot.checksum = checksum;
  return slot;
}

/// \return whether slot `other` may stand beside the current one.
bool fits_beside(const TailSlot& other, const TailSlot& current) noexcept {
  const std::uint64_t current_end = current.offset + current.size;  // Inside the file: checked.
  switch (other.state) {
    case TailState::kEmpty:
      return other.sequence == 0 && other.offset == 0 && other.size == 0 && other.checksum == 0;
    case TailState::kPending:
      return other.sequence == current.sequence + 1 && other.offset == current_end;
    case TailState::kCommitted:
      return other.sequence != 0 && other.sequence + 1 == current.sequence &&
             other.offset <= current.offset && other.size <= current.offset - other.offset;
  }
  return false;
}

/// \return success where the current slot's payload and the end of the file are as the slots say.
Status check_extent(const ByteReader& in, const TailView& tail, std::uint64_t first,
                    std::uint64_t file_bytes) {
  const TailSlot& current = tail.slots[tail.current];
  const TailSlot& other = tail.slots[1 - tail.current];
  if (current.offset < first || (current.sequence == 1 && current.offset != first)) {
    return in
        .error(ErrorCode::kMalformed, "the tail's payload lies elsewhere", "tail offset", first)
        .got(std::to_string(current.offset));
  }
  if (current.offset > file_bytes || current.size > file_bytes - current.offset) {
    return in
        .error(ErrorCode::kTruncated, "the file ends inside the metadata tail", "tail size",
               file_bytes)
        .want(std::to_string(current.size) + " bytes at " + std::to_string(current.offset));
  }
  if (!fits_beside(other, current)) {
    return in.error(ErrorCode::kMalformed, "the two slots of the tail contradict each other",
                    "tail sequence", first);
  }
  const std::uint64_t end = current.offset + current.size;
  const std::uint64_t limit = other.state == TailState::kPending ? end + other.size : end;
  if (file_bytes <= limit) return {};
  return in.error(ErrorCode::kMalformed, "bytes follow the metadata tail", "file size", limit)
      .want(std::to_string(limit) + " bytes")
      .got(std::to_string(file_bytes));
}

Status write_all(int fd, std::string_view bytes, std::uint64_t offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      return Error(ErrorCode::kIo, "the metadata tail cannot be written")
          .in_file(path)
          .at(offset)
          .got(std::generic_category().message(done < 0 ? errno : ENOSPC));
    }
    bytes.remove_prefix(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

Status sync(int fd, const std::string& path) {
  while (::fsync(fd) != 0) {
    if (errno == EINTR) continue;
    return Error(ErrorCode::kIo, "the metadata tail cannot be synced")
        .in_file(path)
        .got(std::generic_category().message(errno));
  }
  return {};
}

/// Announce, write, commit; synced in between, so that each prefix of the writes reads as the old
/// tail or the new one.
Status replace_tail(int fd, const std::string& path, const TailView& old, std::uint64_t body_bytes,
                    const std::string& payload) {
  const TailSlot& current = old.slots[old.current];
  TailSlot next{TailState::kPending, current.sequence + 1, current.offset + current.size,
                payload.size(), xxh64(as_bytes(payload))};
  if (next.offset + next.size - body_bytes > kMaxAllTails) {
    return Error(ErrorCode::kLimit, "the tail has been rewritten too often; convert the file again")
        .in_file(path)
        .of("metadata tail");
  }
  const std::uint64_t slot_at =
      body_bytes + kQuernTailSlotBytes * static_cast<std::uint64_t>(1 - old.current);
  // What an interrupted rewrite left behind must not show through.
  if (::ftruncate(fd, static_cast<off_t>(next.offset)) != 0) {
    return Error(ErrorCode::kIo, "the file cannot be truncated").in_file(path);
  }
  QUERN_CHECK(write_all(fd, encode_slot(next), slot_at, path));
  QUERN_CHECK(sync(fd, path));
  QUERN_CHECK(write_all(fd, payload, next.offset, path));
  QUERN_CHECK(sync(fd, path));
  next.state = TailState::kCommitted;
  QUERN_CHECK(write_all(fd, encode_slot(next), slot_at, path));
  return sync(fd, path);
}

}  // namespace

std::string encode_slot(const TailSlot& slot) {
  std::string bytes;
  append_le(bytes, kSlotMagic);
  append_le(bytes, static_cast<std::uint32_t>(slot.state));
  append_le(bytes, slot.sequence);
  append_le(bytes, slot.offset);
  append_le(bytes, slot.size);
  append_le(bytes, slot.checksum);
  bytes.resize(kQuernTailSlotBytes - 8, '\0');
  append_le(bytes, xxh64(as_bytes(bytes)));
  return bytes;
}

std::string fresh_tail(std::uint64_t body_bytes) {
  const TailSlot first{TailState::kCommitted, 1, body_bytes + kQuernTailHeadBytes, 0, xxh64({})};
  return encode_slot(first) + encode_slot(TailSlot{});
}

Result<TailView> read_tail(std::span<const std::byte> file, std::string_view name,
                           std::uint64_t body_bytes) {
  ByteReader in(file, name);
  QUERN_CHECK(in.skip(body_bytes, "body bytes"));
  if (in.remaining() < kQuernTailHeadBytes) {
    return in.error(ErrorCode::kTruncated, "the file ends before its metadata tail",
                    "metadata tail", in.offset());
  }
  TailView tail;
  for (TailSlot& slot : tail.slots) {
    QUERN_TRY(read, read_slot(in, file.subspan(static_cast<std::size_t>(in.offset()),
                                               kQuernTailSlotBytes)));
    slot = read;
  }
  const auto rank = [](const TailSlot& slot) {
    return slot.state == TailState::kCommitted ? slot.sequence : 0;
  };
  tail.current = rank(tail.slots[0]) >= rank(tail.slots[1]) ? 0 : 1;
  const TailSlot& current = tail.slots[tail.current];
  if (rank(current) == 0) {
    return in.error(ErrorCode::kMalformed, "no slot of the tail is committed", "tail state",
                    body_bytes);
  }
  QUERN_CHECK(check_extent(in, tail, body_bytes + kQuernTailHeadBytes, file.size()));
  tail.payload = file.subspan(static_cast<std::size_t>(current.offset),
                              static_cast<std::size_t>(current.size));
  if (xxh64(tail.payload) != current.checksum) {
    return in.error(ErrorCode::kChecksum, "the metadata tail is damaged", "tail checksum",
                    current.offset);
  }
  return tail;
}

Result<QuernTail> parse_tail(std::span<const std::byte> payload, std::string_view name) {
  QuernTail tail;
  if (payload.empty()) return tail;
  QUERN_TRY(json, parse_json(as_text(payload), name, kTailLimits));
  const auto wrong = [&](std::string_view key) {
    return Error(ErrorCode::kMalformed, "the metadata tail has an unexpected member")
        .in_file(std::string(name))
        .of("metadata tail")
        .got(quote(key));
  };
  if (!json.is_object()) return wrong(json.type_name());
  for (const auto& [key, value] : json.items()) {
    if (key == "chat_template" && value.is_string()) {
      tail.chat_template = value.string();
    } else if (key == "generation" && value.is_object()) {
      tail.generation_json = dump_json(value);
    } else if (key == "metadata" && value.is_object()) {
      tail.metadata_json = dump_json(value);
    } else {
      return wrong(key);
    }
  }
  return tail;
}

Result<std::string> dump_tail(const QuernTail& tail) {
  Json json = Json::object();
  if (tail.chat_template) json["chat_template"] = *tail.chat_template;
  const auto add = [&](const char* key, const std::optional<std::string>& text) -> Status {
    if (!text) return {};
    QUERN_TRY(value, parse_json(*text, key, kTailLimits));
    if (!value.is_object()) {
      return Error(ErrorCode::kMalformed, "this part of the tail must be a JSON object").of(key);
    }
    json[key] = std::move(value);
    return {};
  };
  QUERN_CHECK(add("generation", tail.generation_json));
  QUERN_CHECK(add("metadata", tail.metadata_json));
  std::string text = json.empty() ? std::string() : dump_json(json);
  if (text.size() > kQuernMaxTailBytes) {
    return Error(ErrorCode::kLimit, "the metadata tail is too long").of("metadata tail");
  }
  return text;
}

Status rewrite_metadata_tail(const std::string& path, const QuernTail& tail) {
  QUERN_TRY(payload, dump_tail(tail));
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return Error(ErrorCode::kIo, "the file cannot be opened for writing")
        .in_file(path)
        .got(std::generic_category().message(errno));
  }
  const auto replace = [&]() -> Status {
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return Error(ErrorCode::kIo, "another process is rewriting this file").in_file(path);
    }
    QUERN_TRY(file, QuernFile::open(path));  // Under the lock, so that nothing has moved since.
    QUERN_TRY(mapped, MappedFile::open(path));
    QUERN_TRY(old, read_tail(mapped.bytes(), path, file.body_bytes()));
    return replace_tail(fd, path, old, file.body_bytes(), payload);
  };
  Status status = replace();
  ::close(fd);
  return status;
}

}  // namespace quern::formats
