#include "text/tokenizer/image_builder.h"

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>

#include "formats/tokenizer_json.h"
#include "text/tokenizer/image.h"
#include "text/tokenizer/image_tables.h"
#include "text/tokenizer/step.h"

namespace quern::text {
namespace {

using formats::TokenizerSpec;
using formats::TokenType;

/// What the model may produce from some text.
constexpr std::uint8_t kReach = image::kInModel | image::kInTrustedModel;

template <class T>
void put_le(std::byte* at, T value) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  auto* bytes = reinterpret_cast<unsigned char*>(&value);
  std::reverse(bytes, bytes + sizeof value);
#endif
  std::memcpy(at, &value, sizeof value);
}

class Builder {
 public:
  explicit Builder(const TokenizerSpec& spec) : spec_(spec) {}

  Result<std::vector<std::byte>> run() {
    QUERN_CHECK(check_ids());
    QUERN_CHECK(steps(image::kNormalizers, spec_.normalizers));
    QUERN_CHECK(steps(image::kPreTokenizers, spec_.pre_tokenizers));
    QUERN_CHECK(steps(image::kDecoders, spec_.decoders));
    QUERN_CHECK(tokens());
    vocabulary();
    merges();
    QUERN_CHECK(added());
    QUERN_CHECK(pieces());
    for (const std::int32_t item : spec_.post_template) put(image::kTemplate, item);
    return assemble();
  }

 private:
  std::vector<std::byte>& section(image::Section which) { return sections_[which]; }
  template <class T>
  void put(image::Section which, T value) {
    auto& bytes = section(which);
    bytes.resize(bytes.size() + sizeof(T));
    put_le(bytes.data() + bytes.size() - sizeof(T), value);
  }
  template <class T>
  void put_all(image::Section which, const std::vector<T>& values) {
    section(which).reserve(values.size() * sizeof(T));
    for (const T value : values) put(which, value);
  }
  /// \return where the string lies in the pool; equal strings share their place.
  std::uint32_t pool(const std::string& text) {
    const auto [it, is_new] = pooled_.emplace(text, static_cast<std::uint32_t>(pool_.size()));
    if (is_new) pool_ += text;
    return it->second;
  }
  void put_string(image::Section which, const std::string& text) {
    put(which, pool(text));
    put(which, static_cast<std::uint32_t>(text.size()));
  }

  bool is_token(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < spec_.tokens.size();
  }

  Status check_ids() const {
    bool right = spec_.tokens.size() <= formats::kMaxVocabRows &&
                 (spec_.scores.empty() || spec_.scores.size() == spec_.tokens.size()) &&
                 spec_.post_template.size() <= image::kMaxTemplate && spec_.model_unk >= -2 &&
                 (spec_.model_unk < 0 || is_token(spec_.model_unk));
    for (const std::int32_t item : spec_.post_template)
      right = right && (item == -1 || is_token(item));
    for (const auto& token : spec_.added) right = right && is_token(token.id);
    const formats::SpecialIds& ids = spec_.ids;
    for (const std::int32_t id :
         {ids.bos, ids.eos, ids.unk, ids.pad, ids.sep, ids.cls, ids.mask, ids.eot}) {
      right = right && (id == -1 || is_token(id));
    }
    if (right) return {};
    return Error(ErrorCode::kOutOfRange, "the tokenizer names an id that is no token")
        .of("tokenizer");
  }

  Status steps(image::Section which, const std::vector<formats::TokenizerStep>& list) {
    for (const formats::TokenizerStep& step : list) {
      StepView view{step.kind, step.flags, step.number, step.number2, step.text, step.content};
      QUERN_TRY(made, make_step(view, ""));
      if (which == image::kNormalizers) normalizers_.push_back(std::move(made));
      put(which, static_cast<std::uint16_t>(step.kind));
      put(which, std::uint16_t{0});
      put(which, step.flags);
      put(which, step.number);
      put(which, step.number2);
      put_string(which, step.text);
      put_string(which, step.content);
    }
    return {};
  }

  Status tokens() {
    std::vector<std::uint8_t> flags(spec_.tokens.size());
    std::string bytes;
    for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
      const formats::TokenRow& row = spec_.tokens[i];
      if (row.text.size() > image::kMaxTokenBytes) {
        return Error(ErrorCode::kLimit, "a token is too long")
            .of("token " + std::to_string(i))
            .want("at most 65536 bytes")
            .got(std::to_string(row.text.size()));
      }
      max_token_bytes_ = std::max(max_token_bytes_, static_cast<std::uint32_t>(row.text.size()));
      put(image::kTokenOffsets, static_cast<std::uint32_t>(bytes.size()));
      bytes += row.text;
      flags[i] = static_cast<std::uint8_t>(row.type);
      if (row.type == TokenType::kNone) continue;
      if (row.in_model) flags[i] |= image::kInModel;
      if (row.in_trusted_model) flags[i] |= image::kInTrustedModel;
    }
    put(image::kTokenOffsets, static_cast<std::uint32_t>(bytes.size()));
    if (bytes.size() > 0xffffffffu) return Error(ErrorCode::kLimit, "the vocabulary is too large");
    for (const formats::AddedToken& token : spec_.added) {
      auto& flag = flags[static_cast<std::size_t>(token.id)];
      flag |= image::kIsAdded;
      if (token.special) flag |= image::kSpecial;
    }
    put_text(image::kTokenBytes, bytes);
    flags_ = std::move(flags);
    put_all(image::kScores, spec_.scores);
    return {};
  }

  void put_text(image::Section which, std::string_view text) {
    const auto* begin = reinterpret_cast<const std::byte*>(text.data());
    section(which).assign(begin, begin + text.size());
  }

  void vocabulary() {
    // Of rows with equal texts the last one is the model's.
    std::unordered_map<std::string_view, std::size_t> last;
    last.reserve(spec_.tokens.size());
    for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
      if ((flags_[i] & kReach) == 0) continue;
      const auto [it, is_new] = last.emplace(spec_.tokens[i].text, i);
      if (is_new) continue;
      flags_[it->second] &= static_cast<std::uint8_t>(~kReach);
      it->second = i;
    }
    std::size_t entries = 0;
    for (const auto& row : spec_.tokens) entries += row.type != TokenType::kNone;
    SlotTable table(entries);
    std::array<std::int32_t, 256> bytes;
    bytes.fill(-1);
    std::unordered_map<std::string_view, std::size_t> repeats;
    for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
      const formats::TokenRow& row = spec_.tokens[i];
      if (row.type == TokenType::kNone) continue;
      // Many equal texts (rows that fill a matrix) would make one long probe.
      const bool wanted = (flags_[i] & (kReach | image::kIsAdded)) != 0;
      if (wanted || ++repeats[row.text] == 1) {
        table.add(image::hash_bytes(row.text), static_cast<std::uint32_t>(i + 1));
      }
      const int byte = formats::byte_of_token(row.text);
      if (byte >= 0) bytes[static_cast<std::size_t>(byte)] = static_cast<std::int32_t>(i);
    }
    max_probe_ = std::max(max_probe_, table.longest_probe());
    put_all(image::kVocabSlots, table.slots());
    put_all(image::kTokenFlags, flags_);
    for (const std::int32_t id : bytes) put(image::kByteIds, id);
  }

  void merges() {
    SlotTable table(spec_.merges.size());
    // Of equal pairs the last one counts.
    std::unordered_map<std::uint64_t, std::uint32_t> ranks;
    ranks.reserve(spec_.merges.size());
    for (std::size_t i = 0; i < spec_.merges.size(); ++i) {
      const formats::Merge& merge = spec_.merges[i];
      const bool resolved = is_token(merge.left) && is_token(merge.right) && is_token(merge.result);
      const auto left = resolved ? static_cast<std::uint32_t>(merge.left) : image::kNoId;
      const auto right = resolved ? static_cast<std::uint32_t>(merge.right) : image::kNoId;
      put(image::kMerges, left);
      put(image::kMerges, right);
      put(image::kMerges, resolved ? static_cast<std::uint32_t>(merge.result) : image::kNoId);
      if (!resolved) {
        put(image::kUnresolved, static_cast<std::uint32_t>(i));
        put_string(image::kUnresolved, merge.unresolved);
      } else if ((flags_[static_cast<std::size_t>(merge.result)] & kReach) != 0) {
        ranks[(std::uint64_t{left} << 32) | right] = static_cast<std::uint32_t>(i);
      }
    }
    for (std::size_t i = 0; i < spec_.merges.size(); ++i) {
      const formats::Merge& merge = spec_.merges[i];
      const auto left = static_cast<std::uint32_t>(merge.left);
      const auto right = static_cast<std::uint32_t>(merge.right);
      const auto it = ranks.find((std::uint64_t{left} << 32) | right);
      if (it == ranks.end() || it->second != i) continue;
      table.add(image::hash_pair(left, right), static_cast<std::uint32_t>(i + 1));
    }
    max_probe_ = std::max(max_probe_, table.longest_probe());
    put_all(image::kMergeSlots, table.slots());
  }

  Status added() {
    TrieBuilder raw, normal;
    for (std::size_t i = 0; i < spec_.added.size(); ++i) {
      const formats::AddedToken& token = spec_.added[i];
      std::string normalized = token.content;
      if (token.normalized) {
        bool at_origin = true;
        QUERN_CHECK(run_normalizers(normalizers_, normalized, at_origin));
      }
      const std::uint32_t flags =
          (token.single_word ? image::kSingleWord : 0) | (token.lstrip ? image::kLstrip : 0) |
          (token.rstrip ? image::kRstrip : 0) | (token.normalized ? image::kNormalized : 0) |
          (token.special ? image::kAddedSpecial : 0);
      put(image::kAdded, token.id);
      put(image::kAdded, flags);
      put_string(image::kAdded, token.content);
      put_string(image::kAdded, normalized);
      const std::string& key = token.normalized ? normalized : token.content;
      if (key.empty()) {
        return Error(ErrorCode::kUnsupported, "an added token is nothing after normalization")
            .of("added_tokens[" + std::to_string(i) + "]")
            .got(token.content);
      }
      if (key.size() > image::kMaxTokenBytes)
        return Error(ErrorCode::kLimit, "a token is too long");
      QUERN_CHECK((token.normalized ? normal : raw).add(key, static_cast<std::int32_t>(i)));
    }
    put_trie(image::kRawTrieEdges, image::kRawTrieValues, raw);
    put_trie(image::kNormalTrieEdges, image::kNormalTrieValues, normal);
    std::vector<std::uint32_t> order(spec_.added.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    std::stable_sort(order.begin(), order.end(), [this](std::uint32_t a, std::uint32_t b) {
      return spec_.added[a].id < spec_.added[b].id;
    });
    put_all(image::kAddedIds, order);
    return {};
  }

  void put_trie(image::Section edges, image::Section values, const TrieBuilder& trie) {
    std::vector<std::uint64_t> edge_slots;
    std::vector<std::int32_t> node_values;
    max_probe_ = std::max(max_probe_, trie.finish(edge_slots, node_values));
    put_all(edges, edge_slots);
    put_all(values, node_values);
  }

  /// Unigram's pieces and its score of an unknown character.
  Status pieces() {
    if (spec_.model != formats::TokenizerModel::kUnigram) return {};
    constexpr double kUnknownPenalty = 10.0;
    double lowest = std::numeric_limits<double>::infinity();
    TrieBuilder trie;
    for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
      const formats::TokenRow& row = spec_.tokens[i];
      if (row.type == TokenType::kNone || i >= spec_.scores.size()) continue;
      lowest = std::min(lowest, spec_.scores[i]);
      const bool in_model = (flags_[i] & kReach) != 0;
      if (in_model && !row.text.empty())
        QUERN_CHECK(trie.add(row.text, static_cast<std::int32_t>(i)));
    }
    unk_score_ = lowest - kUnknownPenalty;
    put_trie(image::kPieceTrieEdges, image::kPieceTrieValues, trie);
    return {};
  }

  void put_header(std::byte* out, std::size_t total) {
    std::memcpy(out, image::kMagic, sizeof image::kMagic);
    put_le(out + image::kAtVersion, image::kVersion);
    put_le(out + image::kAtTotal, static_cast<std::uint64_t>(total));
    put_le(out + image::kAtModel, static_cast<std::uint32_t>(spec_.model));
    put_le(out + image::kAtModelFlags, spec_.model_flags);
    put_le(out + image::kAtModelUnk, spec_.model_unk);
    put_le(out + image::kAtMaxWordChars, spec_.max_word_chars);
    put_le(out + image::kAtTokens, static_cast<std::uint32_t>(spec_.tokens.size()));
    put_le(out + image::kAtMerges, static_cast<std::uint32_t>(spec_.merges.size()));
    put_le(out + image::kAtMaxTokenBytes, max_token_bytes_);
    put_le(out + image::kAtMaxProbe, max_probe_);
    put_le(out + image::kAtUnkScore, unk_score_);
    const formats::SpecialIds& ids = spec_.ids;
    std::size_t at = image::kAtIds;
    for (const std::int32_t id :
         {ids.bos, ids.eos, ids.unk, ids.pad, ids.sep, ids.cls, ids.mask, ids.eot}) {
      put_le(out + at, id);
      at += 4;
    }
    const formats::GgufFlags& flags = spec_.gguf_flags;
    at = image::kAtGgufFlags;
    for (const std::int32_t flag : {flags.add_bos, flags.add_eos, flags.add_sep,
                                    flags.add_space_prefix, flags.remove_extra_whitespaces}) {
      put_le(out + at, flag);
      at += 4;
    }
    put_le(out + image::kAtHas,
           std::uint32_t{(spec_.gguf_has_types ? 1u : 0u) | (spec_.gguf_has_scores ? 2u : 0u)});
  }

  Result<std::vector<std::byte>> assemble() {
    const std::string* strings[] = {&spec_.continuing_prefix, &spec_.word_suffix, &spec_.gguf_model,
                                    &spec_.gguf_pre};
    std::uint32_t places[image::kStringCount];
    for (std::uint32_t i = 0; i < image::kStringCount; ++i) places[i] = pool(*strings[i]);
    put_text(image::kPool, pool_);
    std::size_t total = image::kHeaderBytes;
    std::size_t offsets[image::kSectionCount];
    for (std::uint32_t i = 0; i < image::kSectionCount; ++i) {
      total = (total + 7) / 8 * 8;
      offsets[i] = total;
      total += sections_[i].size();
    }
    if (total > 0xffffffffu || max_probe_ > image::kMaxProbe) {
      return Error(ErrorCode::kLimit, "the tokenizer's tables are too large")
          .got(std::to_string(total));
    }
    std::vector<std::byte> out(total);
    put_header(out.data(), total);
    for (std::uint32_t i = 0; i < image::kStringCount; ++i) {
      put_le(out.data() + image::kAtStrings + 8 * i, places[i]);
      put_le(out.data() + image::kAtStrings + 8 * i + 4,
             static_cast<std::uint32_t>(strings[i]->size()));
    }
    for (std::uint32_t i = 0; i < image::kSectionCount; ++i) {
      put_le(out.data() + image::kAtSections + 16 * i, static_cast<std::uint64_t>(offsets[i]));
      put_le(out.data() + image::kAtSections + 16 * i + 8,
             static_cast<std::uint64_t>(sections_[i].size()));
      std::copy(sections_[i].begin(), sections_[i].end(),
                out.begin() + static_cast<std::ptrdiff_t>(offsets[i]));
    }
    return out;
  }

  const TokenizerSpec& spec_;
  std::vector<std::byte> sections_[image::kSectionCount];
  std::vector<Step> normalizers_;
  std::vector<std::uint8_t> flags_;
  std::string pool_;
  std::unordered_map<std::string, std::uint32_t> pooled_;
  std::uint32_t max_token_bytes_ = 0, max_probe_ = 0;
  double unk_score_ = 0;
};

}  // namespace

Result<std::vector<std::byte>> build_tokenizer_image(const TokenizerSpec& spec) {
  return Builder(spec).run();
}

}  // namespace quern::text
