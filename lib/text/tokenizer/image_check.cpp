// Opening an image: everything that is checked once, in time that does not depend on the
// vocabulary.
#include <cmath>
#include <string>

#include "text/tokenizer/image.h"

namespace quern::text {

using formats::StepKind;

class ImageCheck {
 public:
  ImageCheck(std::span<const std::byte> bytes, std::string_view file)
      : bytes_(bytes), file_(file) {}

  Result<ImageView> run() {
    QUERN_CHECK(header());
    QUERN_CHECK(sections());
    QUERN_CHECK(sizes());
    QUERN_CHECK(ids());
    QUERN_CHECK(strings());
    QUERN_CHECK(stage(image::kNormalizers, 1, 63));
    QUERN_CHECK(stage(image::kPreTokenizers, 64, 127));
    QUERN_CHECK(stage(image::kDecoders, 128, 191));
    QUERN_CHECK(post_template());
    return std::move(view_);
  }

 private:
  Error error(ErrorCode code, std::size_t at, const char* field, const char* message) const {
    return Error(code, message).in_file(std::string(file_)).at(at).of(field);
  }
  template <class T>
  T get(std::size_t at) const {
    return load_le<T>(bytes_.data() + at);
  }

  Status header() {
    if (bytes_.size() < image::kHeaderBytes) {
      return error(ErrorCode::kTruncated, bytes_.size(), "tokenizer.header",
                   "the tokenizer image ends within its header")
          .want("512 bytes")
          .got(std::to_string(bytes_.size()));
    }
    if (std::memcmp(bytes_.data(), image::kMagic, sizeof image::kMagic) != 0) {
      return error(ErrorCode::kMalformed, 0, "tokenizer.magic", "this is no tokenizer image");
    }
    if (const auto version = get<std::uint32_t>(image::kAtVersion); version != image::kVersion) {
      return error(ErrorCode::kUnsupported, image::kAtVersion, "tokenizer.version",
                   "another version of the tokenizer image")
          .want(std::to_string(image::kVersion))
          .got(std::to_string(version));
    }
    if (const auto total = get<std::uint64_t>(image::kAtTotal); total != bytes_.size()) {
      return error(total > bytes_.size() ? ErrorCode::kTruncated : ErrorCode::kMalformed,
                   image::kAtTotal, "tokenizer.total_bytes", "the image has another length")
          .want(std::to_string(total))
          .got(std::to_string(bytes_.size()));
    }
    return {};
  }

  Status sections() {
    for (std::uint32_t i = 0; i < image::kSectionCount; ++i) {
      const std::size_t at = image::kAtSections + 16 * i;
      const auto offset = get<std::uint64_t>(at), size = get<std::uint64_t>(at + 8);
      if (offset > bytes_.size() || size > bytes_.size() - offset) {
        return error(ErrorCode::kOutOfRange, at, "tokenizer.sections",
                     "a section lies outside the image")
            .want("at most " + std::to_string(bytes_.size()))
            .got(std::to_string(offset) + " + " + std::to_string(size));
      }
      view_.sections_[i] =
          bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
    }
    view_.token_offsets_ = ImageArray<std::uint32_t>(view_.sections_[image::kTokenOffsets]);
    view_.token_flags_ = ImageArray<std::uint8_t>(view_.sections_[image::kTokenFlags]);
    view_.scores_ = ImageArray<double>(view_.sections_[image::kScores]);
    view_.vocab_slots_ = ImageArray<std::uint32_t>(view_.sections_[image::kVocabSlots]);
    view_.merges_ = ImageArray<std::uint32_t>(view_.sections_[image::kMerges]);
    view_.merge_slots_ = ImageArray<std::uint32_t>(view_.sections_[image::kMergeSlots]);
    view_.added_ids_ = ImageArray<std::uint32_t>(view_.sections_[image::kAddedIds]);
    view_.byte_ids_ = ImageArray<std::int32_t>(view_.sections_[image::kByteIds]);
    return {};
  }

  Status exactly(image::Section section, std::uint64_t bytes, const char* field) const {
    if (view_.sections_[section].size() == bytes) return {};
    return error(ErrorCode::kMismatch, image::kAtSections + 16 * section, field,
                 "a section has another size than the header's counts say")
        .want(std::to_string(bytes))
        .got(std::to_string(view_.sections_[section].size()));
  }

  /// A hash table: empty, or a power of two of slots.
  Status table(image::Section section, std::size_t slot_bytes, const char* field) const {
    const std::size_t bytes = view_.sections_[section].size(), slots = bytes / slot_bytes;
    if (bytes % slot_bytes == 0 && (slots & (slots - 1)) == 0) return {};
    return error(ErrorCode::kMalformed, image::kAtSections + 16 * section, field,
                 "a hash table's size is no power of two")
        .got(std::to_string(bytes));
  }

  Status multiple(image::Section section, std::size_t record, std::size_t most,
                  const char* field) const {
    const std::size_t bytes = view_.sections_[section].size();
    if (bytes % record == 0 && bytes / record <= most) return {};
    return error(ErrorCode::kMalformed, image::kAtSections + 16 * section, field,
                 "a section is no list of records, or too long a one")
        .got(std::to_string(bytes));
  }

  Status sizes() {
    view_.n_tokens_ = get<std::uint32_t>(image::kAtTokens);
    view_.n_merges_ = get<std::uint32_t>(image::kAtMerges);
    view_.max_probe_ = get<std::uint32_t>(image::kAtMaxProbe);
    view_.max_token_bytes_ = get<std::uint32_t>(image::kAtMaxTokenBytes);
    if (view_.n_tokens_ > 0x7fffffffu || view_.max_probe_ > image::kMaxProbe ||
        view_.max_token_bytes_ > image::kMaxTokenBytes) {
      return error(ErrorCode::kOutOfRange, image::kAtTokens, "tokenizer.counts",
                   "a count of the header is out of range");
    }
    const std::uint64_t n = view_.n_tokens_, m = view_.n_merges_;
    QUERN_CHECK(exactly(image::kTokenOffsets, 4 * (n + 1), "tokenizer.token_offsets"));
    QUERN_CHECK(exactly(image::kTokenFlags, n, "tokenizer.token_flags"));
    QUERN_CHECK(exactly(image::kMerges, 12 * m, "tokenizer.merges"));
    QUERN_CHECK(exactly(image::kByteIds, 1024, "tokenizer.byte_ids"));
    if (!view_.sections_[image::kScores].empty()) {
      QUERN_CHECK(exactly(image::kScores, 8 * n, "tokenizer.scores"));
    }
    QUERN_CHECK(table(image::kVocabSlots, 4, "tokenizer.vocab_slots"));
    QUERN_CHECK(table(image::kMergeSlots, 4, "tokenizer.merge_slots"));
    QUERN_CHECK(table(image::kRawTrieEdges, 8, "tokenizer.raw_trie"));
    QUERN_CHECK(table(image::kNormalTrieEdges, 8, "tokenizer.normal_trie"));
    QUERN_CHECK(table(image::kPieceTrieEdges, 8, "tokenizer.piece_trie"));
    QUERN_CHECK(multiple(image::kUnresolved, 12, m, "tokenizer.unresolved"));
    QUERN_CHECK(multiple(image::kAdded, image::kAddedBytes, n + 1, "tokenizer.added"));
    QUERN_CHECK(exactly(image::kAddedIds, 4 * view_.added_count(), "tokenizer.added_ids"));
    return multiple(image::kTemplate, 4, image::kMaxTemplate, "tokenizer.template");
  }

  Status id_at(std::size_t at, std::int32_t lowest, std::int32_t& out) const {
    out = get<std::int32_t>(at);
    if (out >= lowest && (out < 0 || static_cast<std::uint32_t>(out) < view_.n_tokens_)) return {};
    return error(ErrorCode::kOutOfRange, at, "tokenizer.ids", "an id is no token")
        .got(std::to_string(out));
  }

  Status ids() {
    const auto model = get<std::uint32_t>(image::kAtModel);
    if (model < 1 || model > 5) {
      return error(ErrorCode::kUnsupported, image::kAtModel, "tokenizer.model", "an unknown model")
          .got(std::to_string(model));
    }
    view_.model_ = static_cast<formats::TokenizerModel>(model);
    view_.model_flags_ = get<std::uint32_t>(image::kAtModelFlags);
    view_.max_word_chars_ = get<std::uint32_t>(image::kAtMaxWordChars);
    view_.unk_score_ = get<double>(image::kAtUnkScore);
    view_.gguf_has_types_ = (get<std::uint32_t>(image::kAtHas) & 1) != 0;
    view_.gguf_has_scores_ = (get<std::uint32_t>(image::kAtHas) & 2) != 0;
    QUERN_CHECK(id_at(image::kAtModelUnk, -2, view_.model_unk_));
    formats::SpecialIds& ids = view_.ids_;
    std::size_t at = image::kAtIds;
    for (std::int32_t* id :
         {&ids.bos, &ids.eos, &ids.unk, &ids.pad, &ids.sep, &ids.cls, &ids.mask, &ids.eot}) {
      QUERN_CHECK(id_at(at, -1, *id));
      at += 4;
    }
    formats::GgufFlags& flags = view_.gguf_flags_;
    at = image::kAtGgufFlags;
    for (std::int32_t* flag : {&flags.add_bos, &flags.add_eos, &flags.add_sep,
                               &flags.add_space_prefix, &flags.remove_extra_whitespaces}) {
      *flag = get<std::int32_t>(at);
      at += 4;
    }
    return {};
  }

  Status string_at(std::size_t at, std::uint32_t offset, std::uint32_t size) const {
    const std::size_t pool = view_.sections_[image::kPool].size();
    if (offset <= pool && size <= pool - offset) return {};
    return error(ErrorCode::kOutOfRange, at, "tokenizer.strings", "a string lies outside the pool")
        .got(std::to_string(offset) + " + " + std::to_string(size));
  }

  Status strings() {
    for (std::uint32_t i = 0; i < image::kStringCount; ++i) {
      const std::size_t at = image::kAtStrings + 8 * i;
      const auto offset = get<std::uint32_t>(at), size = get<std::uint32_t>(at + 4);
      QUERN_CHECK(string_at(at, offset, size));
      view_.strings_[i] = view_.pool(offset, size);
    }
    return {};
  }

  /// Steps belong to their stage and their strings lie in the pool.
  Status stage(image::Section section, std::uint16_t first, std::uint16_t last) const {
    QUERN_CHECK(multiple(section, image::kStepBytes, image::kMaxSteps, "tokenizer.steps"));
    const std::byte* base = view_.sections_[section].data();
    for (std::size_t i = 0; i < view_.step_count(section); ++i) {
      const std::byte* record = base + i * image::kStepBytes;
      const auto at = static_cast<std::size_t>(record - bytes_.data());
      const auto kind = load_le<std::uint16_t>(record);
      if (kind < first || kind > last) {
        return error(ErrorCode::kUnsupported, at, "tokenizer.steps",
                     "a step does not belong to its stage")
            .got(std::to_string(kind));
      }
      for (const std::size_t s : {std::size_t{16}, std::size_t{24}}) {
        QUERN_CHECK(string_at(at + s, load_le<std::uint32_t>(record + s),
                              load_le<std::uint32_t>(record + s + 4)));
      }
    }
    return {};
  }

  Status post_template() const {
    const auto items = view_.post_template();
    for (std::size_t i = 0; i < items.size(); ++i) {
      const std::int32_t id = items.at(i, -1);
      if (id < -1 || (id >= 0 && static_cast<std::uint32_t>(id) >= view_.n_tokens_)) {
        return error(ErrorCode::kOutOfRange, 0, "tokenizer.template", "an id is no token")
            .got(std::to_string(id));
      }
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  std::string_view file_;
  ImageView view_;
};

Result<ImageView> ImageView::open(std::span<const std::byte> bytes, std::string_view file) {
  return ImageCheck(bytes, file).run();
}

}  // namespace quern::text
