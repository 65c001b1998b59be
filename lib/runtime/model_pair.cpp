// Texts and pairs of texts as encoders read them.
#include <algorithm>
#include <string>
#include <utility>

#include "base/guard.h"
#include "quern/model.h"
#include "runtime/model_state.h"

namespace quern {
namespace {

// Places of the texts in a pair's template; the other items are ids.
constexpr std::int64_t kFirstText = -1;
constexpr std::int64_t kSecondText = -2;

struct PairTemplate {
  std::vector<std::int64_t> items;
  std::vector<std::int32_t> types;  ///< One per item.

  std::size_t added() const noexcept { return items.size() - 2; }
};

/// The tokenizer's own template, as the converter keeps it; without one BERT's: [CLS] a [SEP] b
/// [SEP], the second text and what follows of type 1 where the model has types.
Result<PairTemplate> pair_template(const Model::State& state) {
  PairTemplate pair;
  const ConfigList types = state.config.list("pair_types");
  for (const ConfigValue& value : state.config.list("pair_template")) {
    const auto* item = std::get_if<std::int64_t>(&value);
    const auto* type = pair.items.size() < types.size()
                           ? std::get_if<std::int64_t>(&types[pair.items.size()])
                           : nullptr;
    if (item == nullptr || *item < kSecondText || *item >= state.vocab_size || type == nullptr ||
        *type < 0 || *type > 127)
      return Error(ErrorCode::kMalformed, "the template of a pair is wrong")
          .in_file(state.file.path())
          .of("pair_template");
    pair.items.push_back(*item);
    pair.types.push_back(static_cast<std::int32_t>(*type));
  }
  if (pair.items.empty() && state.tokenizer) {
    const std::int64_t cls = state.tokenizer->cls(), sep = state.tokenizer->sep();
    if (cls >= 0 && sep >= 0) pair = {{cls, kFirstText, sep, kSecondText, sep}, {0, 0, 0, 1, 1}};
  }
  const auto count = [&](std::int64_t item) {
    return std::count(pair.items.begin(), pair.items.end(), item);
  };
  if (count(kFirstText) != 1 || count(kSecondText) != 1)
    return Error(ErrorCode::kMissing, state.tokenizer
                                          ? "the tokenizer has no template for a pair of texts"
                                          : "the model has no tokenizer")
        .in_file(state.file.path());
  return pair;
}

void cut(std::vector<TokenId>& ids, std::size_t length) {
  if (ids.size() > length) ids.resize(length);
}

}  // namespace

Result<EncoderInput> Model::encode_text(std::string_view text, std::int64_t max_tokens) const {
  return base::guarded([&]() -> Result<EncoderInput> {
    QUERN_TRY(prompt, state_->config.string_or("embedding.prompt", ""));
    const std::string prompted = prompt + std::string(text);
    if (!prompt.empty()) text = prompted;
    QUERN_TRY(ids, encode(text));
    const auto most = static_cast<std::size_t>(std::max<std::int64_t>(max_tokens, 0));
    if (most == 0 || ids.size() <= most) return EncoderInput{std::move(ids), {}};
    QUERN_TRY(plain, encode(text, {.add_special = false}));
    // The special tokens stand around the text; what is cut is the end of the text between them.
    const std::size_t added = ids.size() - std::min(plain.size(), ids.size());
    std::size_t before = 0;
    while (before < added && !std::equal(plain.begin(), plain.end(),
                                         ids.begin() + static_cast<std::ptrdiff_t>(before)))
      ++before;
    const std::size_t keep = most > added ? most - added : 0;
    const auto at = [&](std::size_t i) { return ids.begin() + static_cast<std::ptrdiff_t>(i); };
    ids.erase(at(before + keep), at(before + plain.size()));
    return EncoderInput{std::move(ids), {}};
  });
}

Result<EncoderInput> Model::encode_pair(std::string_view a, std::string_view b,
                                        std::int64_t max_tokens) const {
  return base::guarded([&]() -> Result<EncoderInput> {
    QUERN_TRY(pair, pair_template(*state_));
    QUERN_TRY(first, encode(a, {.add_special = false}));
    QUERN_TRY(second, encode(b, {.add_special = false}));
    const auto most = static_cast<std::size_t>(std::max<std::int64_t>(max_tokens, 0));
    if (most > 0) {
      const std::size_t room = most > pair.added() ? most - pair.added() : 0;
      // The longer one gives way until both fit; then they share.
      const std::size_t half = room / 2;
      const std::size_t for_second =
          std::max(room - std::min(first.size(), room), std::min(second.size(), half));
      cut(second, for_second);
      cut(first, room - second.size());
    }
    EncoderInput input;
    for (std::size_t i = 0; i < pair.items.size(); ++i) {
      if (pair.items[i] >= 0) input.ids.push_back(static_cast<TokenId>(pair.items[i]));
      const std::vector<TokenId>& text = pair.items[i] == kFirstText ? first : second;
      if (pair.items[i] < 0) input.ids.insert(input.ids.end(), text.begin(), text.end());
      input.types.resize(input.ids.size(), state_->n_types > 1 ? pair.types[i] : 0);
    }
    return input;
  });
}

}  // namespace quern
