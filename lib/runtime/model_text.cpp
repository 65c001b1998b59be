#include <algorithm>
#include <string>
#include <utility>

#include "base/guard.h"
#include "formats/json.h"
#include "quern/model.h"
#include "runtime/model_state.h"
#include "runtime/token_ids.h"

namespace quern {
namespace {

Error no_tokenizer(const Model::State& state) {
  return Error(ErrorCode::kMissing, "the model has no tokenizer").in_file(state.file.path());
}

Result<Prompt> render_parsed(const text::ChatTemplate& chat_template, std::string_view conversation,
                             const text::RenderOptions& options) {
  QUERN_TRY(variables, formats::parse_json(conversation, "conversation", {}, true));
  if (!variables.is_object())
    return Error(ErrorCode::kInvalidArgument, "a conversation is a JSON object").of("conversation");
  QUERN_TRY(rendered, chat_template.render(variables, options));
  Prompt prompt;
  prompt.text = std::move(rendered.text);
  prompt.spans.reserve(rendered.spans.size());
  for (const text::Span& span : rendered.spans)
    prompt.spans.push_back({span.begin, span.end, span.trusted});
  return prompt;
}

text::RenderOptions render_options(const TemplateOptions& options) {
  text::RenderOptions render;
  render.bos_token = options.bos_token;
  render.eos_token = options.eos_token;
  if (!options.now.empty()) render.now_iso8601 = options.now;
  return render;
}

/// Parses the template at the first call; later calls share the result.
Result<std::shared_ptr<const text::ChatTemplate>> shared_template(const Model::State& state) {
  const std::lock_guard lock(state.template_mutex);
  if (!state.parsed_template) {
    if (state.file.chat_template().empty())
      return Error(ErrorCode::kMissing, "the model has no chat template")
          .in_file(state.file.path());
    QUERN_TRY(parsed, text::ChatTemplate::parse(state.file.chat_template(), state.file.path()));
    state.parsed_template = std::make_shared<const text::ChatTemplate>(std::move(parsed));
  }
  return state.parsed_template;
}

}  // namespace

Result<std::vector<TokenId>> Model::encode(std::string_view text,
                                           const EncodeOptions& options) const {
  return base::guarded([&]() -> Result<std::vector<TokenId>> {
    if (!state_->tokenizer) return no_tokenizer(*state_);
    text::EncodeOptions encode;
    encode.add_special = options.add_special;
    encode.parse_special = options.parse_special;
    return state_->tokenizer->encode(text, encode);
  });
}

Result<std::vector<TokenId>> Model::encode(const Prompt& prompt) const {
  return base::guarded([&]() -> Result<std::vector<TokenId>> {
    if (!state_->tokenizer) return no_tokenizer(*state_);
    std::vector<text::Tokenizer::Span> spans;
    spans.reserve(prompt.spans.size());
    for (const Prompt::Span& span : prompt.spans)
      spans.push_back({span.begin, span.end, span.trusted});
    // A template writes its own BOS.
    return state_->tokenizer->encode_spans(prompt.text, spans, false);
  });
}

Result<std::string> Model::decode(std::span<const TokenId> ids, bool skip_special) const {
  return base::guarded([&]() -> Result<std::string> {
    if (!state_->tokenizer) return no_tokenizer(*state_);
    // A model may have more logits than its vocabulary has tokens; those have no text.
    const auto known =
        std::max(static_cast<std::int64_t>(state_->tokenizer->vocab_size()), state_->vocab_size);
    QUERN_CHECK(runtime::check_token_ids(ids, known, "a token lies outside the vocabulary"));
    return state_->tokenizer->decode(ids, skip_special);
  });
}

TokenId Model::bos() const noexcept { return state_->tokenizer ? state_->tokenizer->bos() : -1; }
TokenId Model::eos() const noexcept { return state_->tokenizer ? state_->tokenizer->eos() : -1; }

bool Model::is_end_token(TokenId id) const noexcept {
  return std::binary_search(state_->end_tokens.begin(), state_->end_tokens.end(), id);
}

bool Model::is_special(TokenId id) const noexcept {
  return state_->tokenizer && state_->tokenizer->is_special(id);
}

Result<Prompt> Model::render(std::string_view conversation_json,
                             const TemplateOptions& options) const {
  return base::guarded([&]() -> Result<Prompt> {
    QUERN_TRY(parsed, shared_template(*state_));
    text::RenderOptions render = render_options(options);
    if (state_->tokenizer) {
      const auto text_of = [this](TokenId id) {
        return id < 0 ? std::string() : state_->tokenizer->decode(std::span(&id, 1), false);
      };
      if (render.bos_token.empty()) render.bos_token = text_of(bos());
      if (render.eos_token.empty()) render.eos_token = text_of(eos());
    }
    return render_parsed(*parsed, conversation_json, render);
  });
}

Result<Prompt> render_template(std::string_view source, std::string_view conversation_json,
                               const TemplateOptions& options) {
  return base::guarded([&]() -> Result<Prompt> {
    QUERN_TRY(parsed, text::ChatTemplate::parse(source, "chat_template"));
    return render_parsed(parsed, conversation_json, render_options(options));
  });
}

}  // namespace quern
