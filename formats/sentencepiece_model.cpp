#include "formats/sentencepiece_model.h"

#include <bit>
#include <limits>

#include "formats/byte_reader.h"
#include "formats/mapped_file.h"
#include "formats/tokenizer_json.h"

namespace quern::formats {
namespace {

constexpr std::uint64_t kMaxFileBytes = 64u << 20;
enum Wire : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// One field of a message: a number, or bytes with the place where they lie.
struct Field {
  std::uint32_t number = 0, wire = 0;
  std::uint64_t value = 0;
  std::span<const std::byte> bytes;
  std::uint64_t at = 0;  ///< Of the field, absolute.
  std::uint64_t bytes_at = 0;
};

Result<std::uint64_t> varint(ByteReader& reader, std::string_view name) {
  const std::uint64_t at = reader.offset();
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    QUERN_TRY(byte, reader.get<std::uint8_t>(name));
    // The tenth byte has room for one bit.
    if (shift == 63 && byte > 1) break;
    value |= static_cast<std::uint64_t>(byte & 0x7fu) << shift;
    if ((byte & 0x80u) == 0) return value;
  }
  return reader.error(ErrorCode::kMalformed, "a number is longer than 64 bits", name, at);
}

Result<Field> next_field(ByteReader& reader, std::string_view name) {
  Field field;
  field.at = reader.offset();
  QUERN_TRY(tag, varint(reader, name));
  field.wire = static_cast<std::uint32_t>(tag & 7);
  if (tag >> 3 == 0 || tag >> 32 != 0) {
    return reader.error(ErrorCode::kMalformed, "a field has no valid number", name, field.at)
        .got(std::to_string(tag >> 3));
  }
  field.number = static_cast<std::uint32_t>(tag >> 3);
  if (field.wire == kVarint) {
    QUERN_TRY(value, varint(reader, name));
    field.value = value;
  } else if (field.wire == kFixed32) {
    QUERN_TRY(value, reader.get<std::uint32_t>(name));
    field.value = value;
  } else if (field.wire == kFixed64) {
    QUERN_TRY(value, reader.get<std::uint64_t>(name));
    field.value = value;
  } else if (field.wire == kBytes) {
    QUERN_TRY(size, varint(reader, name));
    field.bytes_at = reader.offset();
    QUERN_TRY(bytes, reader.take(size, name));
    field.bytes = bytes;
  } else {
    return reader.error(ErrorCode::kMalformed, "a field has an unknown wire type", name, field.at)
        .want("0, 1, 2 or 5")
        .got(std::to_string(field.wire));
  }
  return field;
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  Result<SentencePieceModel> run() {
    QUERN_CHECK(each(bytes_, 0, "ModelProto", [this](const ByteReader& reader, const Field& field) {
      return top(reader, field);
    }));
    const ByteReader end(bytes_, file_);
    if (model_.pieces.empty()) {
      return end.error(ErrorCode::kMissing, "the model has no pieces", "pieces", 0);
    }
    const auto unk = static_cast<std::size_t>(model_.unk_id);
    if (model_.unk_id < 0 || unk >= model_.pieces.size()) {
      return end
          .error(ErrorCode::kOutOfRange, "the unknown piece is none", "trainer_spec.unk_id", 0)
          .want("below " + std::to_string(model_.pieces.size()))
          .got(std::to_string(model_.unk_id));
    }
    return std::move(model_);
  }

 private:
  template <class Take>
  Status each(std::span<const std::byte> bytes, std::uint64_t base, std::string_view name,
              Take take) {
    ByteReader reader(bytes, file_, base);
    while (reader.remaining() > 0) {
      QUERN_TRY(field, next_field(reader, name));
      QUERN_CHECK(take(reader, field));
    }
    return {};
  }

  static Status expect(const ByteReader& reader, const Field& field, Wire wire,
                       std::string_view name) {
    if (field.wire == wire) return {};
    return reader.error(ErrorCode::kMalformed, "a field has another wire type", name, field.at)
        .want(std::to_string(wire))
        .got(std::to_string(field.wire));
  }

  /// pieces = 1, trainer_spec = 2, normalizer_spec = 3; others say nothing that is needed.
  Status top(const ByteReader& reader, const Field& field) {
    if (field.number == 1) return piece(reader, field);
    if (field.number == 2) {
      QUERN_CHECK(expect(reader, field, kBytes, "trainer_spec"));
      return each(field.bytes, field.bytes_at, "trainer_spec",
                  [this](const ByteReader& in, const Field& f) { return trainer(in, f); });
    }
    if (field.number == 3) {
      QUERN_CHECK(expect(reader, field, kBytes, "normalizer_spec"));
      return each(field.bytes, field.bytes_at, "normalizer_spec",
                  [this](const ByteReader& in, const Field& f) { return normalizer(in, f); });
    }
    return {};
  }

  /// piece = 1, score = 2, type = 3.
  Status piece(const ByteReader& reader, const Field& whole) {
    QUERN_CHECK(expect(reader, whole, kBytes, "pieces"));
    if (model_.pieces.size() >= kMaxVocabRows) {
      return reader.error(ErrorCode::kLimit, "the vocabulary is too large", "pieces", whole.at);
    }
    SentencePieceModel::Piece out;
    QUERN_CHECK(each(whole.bytes, whole.bytes_at, "pieces",
                     [&out](const ByteReader& in, const Field& field) {
                       return part_of_piece(in, field, out);
                     }));
    model_.pieces.push_back(std::move(out));
    return {};
  }

  static Status part_of_piece(const ByteReader& in, const Field& field,
                              SentencePieceModel::Piece& out) {
    if (field.number == 1) {
      QUERN_CHECK(expect(in, field, kBytes, "pieces.piece"));
      if (field.bytes.size() > kMaxPieceBytes) {
        return in.error(ErrorCode::kLimit, "a piece is too long", "pieces.piece", field.at)
            .want("at most " + std::to_string(kMaxPieceBytes) + " bytes")
            .got(std::to_string(field.bytes.size()));
      }
      out.text = as_text(field.bytes);
    } else if (field.number == 2) {
      QUERN_CHECK(expect(in, field, kFixed32, "pieces.score"));
      out.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
      if (out.score != out.score) {
        return in.error(ErrorCode::kMalformed, "a score is no number", "pieces.score", field.at);
      }
    } else if (field.number == 3) {
      QUERN_CHECK(expect(in, field, kVarint, "pieces.type"));
      if (field.value < 1 || field.value > 6) {
        return in.error(ErrorCode::kOutOfRange, "an unknown type of piece", "pieces.type", field.at)
            .want("1 to 6")
            .got(std::to_string(field.value));
      }
      out.type = static_cast<TokenType>(field.value);
    }
    return {};
  }

  static Status flag(const ByteReader& in, const Field& field, std::string_view name, bool& out) {
    QUERN_CHECK(expect(in, field, kVarint, name));
    out = field.value != 0;
    return {};
  }

  Status trainer(const ByteReader& in, const Field& field) {
    if (field.number == 3) {
      QUERN_CHECK(expect(in, field, kVarint, "trainer_spec.model_type"));
      if (field.value < 1 || field.value > 4) {
        return in
            .error(ErrorCode::kOutOfRange, "an unknown type of model", "trainer_spec.model_type",
                   field.at)
            .want("1 to 4")
            .got(std::to_string(field.value));
      }
      model_.kind = static_cast<SentencePieceModel::Kind>(field.value);
    } else if (field.number == 24) {
      return flag(in, field, "trainer_spec.treat_whitespace_as_suffix",
                  model_.whitespace_as_suffix);
    } else if (field.number == 35) {
      return flag(in, field, "trainer_spec.byte_fallback", model_.byte_fallback);
    } else if (field.number == 40) {
      QUERN_CHECK(expect(in, field, kVarint, "trainer_spec.unk_id"));
      // An int32; a negative one has 64 bits on the wire.
      const auto value = static_cast<std::int64_t>(field.value);
      const bool fits = value >= 0 && value <= std::numeric_limits<std::int32_t>::max();
      model_.unk_id = fits ? static_cast<std::int32_t>(value) : -1;
    }
    return {};
  }

  Status normalizer(const ByteReader& in, const Field& field) {
    if (field.number == 2) {
      QUERN_CHECK(expect(in, field, kBytes, "normalizer_spec.precompiled_charsmap"));
      return charsmap(in, field);
    }
    if (field.number == 3) {
      return flag(in, field, "normalizer_spec.add_dummy_prefix", model_.add_dummy_prefix);
    }
    if (field.number == 4) {
      return flag(in, field, "normalizer_spec.remove_extra_whitespaces",
                  model_.remove_extra_whitespaces);
    }
    if (field.number == 5) {
      return flag(in, field, "normalizer_spec.escape_whitespaces", model_.escape_whitespaces);
    }
    return {};
  }

  /// u32 size of the trie in bytes, the trie, replacements.
  Status charsmap(const ByteReader& in, const Field& field) {
    model_.charsmap = as_text(field.bytes);
    if (field.bytes.empty()) return {};
    const std::size_t size = field.bytes.size();
    const std::uint64_t trie = size < 4 ? 0 : load_le<std::uint32_t>(field.bytes.data());
    if (size >= 4 && trie % 4 == 0 && trie <= size - 4) return {};
    return in
        .error(ErrorCode::kMalformed, "the character map is shorter than it says",
               "normalizer_spec.precompiled_charsmap", field.bytes_at)
        .want(std::to_string(trie + 4) + " bytes")
        .got(std::to_string(size));
  }

  std::span<const std::byte> bytes_;
  std::string_view file_;
  SentencePieceModel model_;
};

}  // namespace

Result<SentencePieceModel> SentencePieceModel::parse(std::span<const std::byte> bytes,
                                                     std::string_view file) {
  return Parser(bytes, file).run();
}

Result<SentencePieceModel> SentencePieceModel::open(const std::string& path) {
  QUERN_TRY(text, read_file(path, kMaxFileBytes));
  return parse(as_bytes(text), path);
}

const char* name_of(SentencePieceModel::Kind kind) noexcept {
  constexpr const char* kNames[] = {"", "unigram", "bpe", "word", "char"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace quern::formats
