#include "text/tokenizer/image_spec.h"

namespace quern::text {
namespace {

using formats::TokenizerSpec;

std::vector<formats::TokenizerStep> steps_of(const ImageView& image, image::Section stage) {
  std::vector<formats::TokenizerStep> out;
  for (std::size_t i = 0; i < image.step_count(stage); ++i) {
    const StepView view = image.step(stage, i);
    out.push_back({view.kind, view.flags, view.number, view.number2, std::string(view.text),
                   std::string(view.content)});
  }
  return out;
}

void read_tokens(const ImageView& image, TokenizerSpec& spec) {
  spec.tokens.resize(image.n_tokens());
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::uint8_t flags = image.token_flags(id);
    const auto type = static_cast<std::uint8_t>(flags & image::kTypeMask);
    formats::TokenRow& row = spec.tokens[i];
    row.text = image.token(id);
    row.type = type <= 6 ? static_cast<formats::TokenType>(type) : formats::TokenType::kNone;
    row.in_model = (flags & image::kInModel) != 0;
    row.in_trusted_model = (flags & image::kInTrustedModel) != 0;
    if (image.has_scores()) spec.scores.push_back(image.score(id));
  }
}

void read_merges(const ImageView& image, TokenizerSpec& spec) {
  const auto known = [&image](std::uint32_t id) {
    return id < image.n_tokens() ? static_cast<std::int32_t>(id) : -1;
  };
  spec.merges.reserve(image.n_merges());
  for (std::uint32_t rank = 0; rank < image.n_merges(); ++rank) {
    const ImageView::MergeView merge = image.merge(rank);
    formats::Merge out;
    out.left = known(merge.left);
    out.right = known(merge.right);
    out.result = known(merge.result);
    if (out.left < 0 || out.right < 0 || out.result < 0) {
      out.unresolved = image.unresolved_merge(rank);
    }
    spec.merges.push_back(std::move(out));
  }
}

void read_added(const ImageView& image, TokenizerSpec& spec) {
  for (std::size_t i = 0; i < image.added_count(); ++i) {
    const AddedView view = image.added(i);
    if (view.id < 0) continue;
    formats::AddedToken token;
    token.id = view.id;
    token.content = view.content;
    token.single_word = (view.flags & image::kSingleWord) != 0;
    token.lstrip = (view.flags & image::kLstrip) != 0;
    token.rstrip = (view.flags & image::kRstrip) != 0;
    token.normalized = (view.flags & image::kNormalized) != 0;
    token.special = (view.flags & image::kAddedSpecial) != 0;
    spec.added.push_back(std::move(token));
  }
}

}  // namespace

TokenizerSpec spec_of_image(const ImageView& image) {
  TokenizerSpec spec;
  spec.normalizers = steps_of(image, image::kNormalizers);
  spec.pre_tokenizers = steps_of(image, image::kPreTokenizers);
  spec.decoders = steps_of(image, image::kDecoders);
  spec.model = image.model();
  spec.model_flags = image.model_flags();
  spec.continuing_prefix = image.header_string(image::kContinuingPrefix);
  spec.word_suffix = image.header_string(image::kWordSuffix);
  spec.max_word_chars = image.max_word_chars();
  spec.model_unk = image.model_unk();
  read_tokens(image, spec);
  read_merges(image, spec);
  read_added(image, spec);
  spec.post_template.clear();
  const auto items = image.post_template();
  for (std::size_t i = 0; i < items.size(); ++i) spec.post_template.push_back(items.at(i, -1));
  spec.ids = image.ids();
  spec.gguf_flags = image.gguf_flags();
  spec.gguf_model = image.header_string(image::kGgufModel);
  spec.gguf_pre = image.header_string(image::kGgufPre);
  spec.gguf_has_types = image.gguf_has_types();
  spec.gguf_has_scores = image.gguf_has_scores();
  return spec;
}

Result<TokenizerSpec> spec_of_image(std::span<const std::byte> bytes) {
  QUERN_TRY(view, ImageView::open(bytes, ""));
  return spec_of_image(view);
}

}  // namespace quern::text
