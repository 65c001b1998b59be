#include "convert/self_test_maker.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "convert/self_test_texts.h"
#include "formats/json.h"
#include "kernels/kernel_table.h"
#include "runtime/prompt_values.h"

namespace quern::convert {
namespace {

using formats::SelfTest;

constexpr std::int64_t kPromptTokens = 16;
constexpr const char* kNow = "2026-01-02T03:04:05";

/// Conversations to try in order: some templates refuse a system message.
constexpr std::array<std::string_view, 2> kConversations{
    R"({"messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"Hello, wörld!"},{"role":"assistant","content":"Hi."},{"role":"user","content":"What is 2+2?"}],"add_generation_prompt":true})",
    R"({"messages":[{"role":"user","content":"Hello, wörld!"},{"role":"assistant","content":"Hi."},{"role":"user","content":"What is 2+2?"}],"add_generation_prompt":true})"};

/// Whether JSON can hold the text unchanged.
bool is_utf8(const std::string& text) {
  const auto back = formats::parse_json(formats::dump_json(formats::Json(text)), "");
  return back.ok() && back->is_string() && back->string() == text;
}

Status add_text(const Model& model, std::string_view text, const EncodeOptions& options,
                SelfTest& test) {
  QUERN_TRY(ids, model.encode(text, options));
  QUERN_TRY(decoded, model.decode(ids, false));
  if (!is_utf8(decoded)) return {};
  test.texts.push_back({std::string(text), options.add_special, options.parse_special,
                        std::move(ids), std::move(decoded)});
  return {};
}

Status add_texts(const Model& model, SelfTest& test) {
  if (!model.has_tokenizer()) return {};
  for (const std::string_view text : self_test_texts()) {
    QUERN_CHECK(add_text(model, text, {}, test));
  }
  // The model's own control tokens, once as such and once as the letters that a user typed.
  for (const TokenId id : {model.bos(), model.eos()}) {
    if (id < 0) continue;
    QUERN_TRY(token, model.decode(std::array{id}, false));
    const std::string text = "one" + token + " two";
    if (!is_utf8(text)) continue;
    QUERN_CHECK(add_text(model, text, {.add_special = true, .parse_special = true}, test));
    QUERN_CHECK(add_text(model, text, {.add_special = false, .parse_special = false}, test));
  }
  return {};
}

void add_rendering(const Model& model, MadeSelfTest& made) {
  if (model.chat_template().empty()) return;
  TemplateOptions options;
  options.now = kNow;
  std::string why;
  for (const std::string_view conversation : kConversations) {
    auto prompt = model.render(conversation, options);
    if (prompt.ok() && is_utf8(prompt->text)) {
      made.test.renderings.push_back({std::string(conversation), kNow, std::move(prompt->text)});
      return;
    }
    why = prompt.ok() ? "its text is no UTF-8" : prompt.error().describe();
  }
  made.warnings.push_back("the chat template cannot render a plain conversation: " + why);
}

Status add_logits(const Model& model, SelfTest& test) {
  if (!model.can_run() || model.vocab_size() < 1) return {};
  SelfTest::Logits logits;
  logits.prompt = self_test_prompt(
      runtime::prompt_vocabulary(model),
      static_cast<std::size_t>(std::min<std::int64_t>(kPromptTokens, model.max_seq_len())));
  std::vector<float> all;
  std::size_t last = 0;
  QUERN_CHECK(runtime::evaluate_prompt(model, logits.prompt, logits.kv,
                                       [&](std::span<const float> row) -> Status {
                                         all.insert(all.end(), row.begin(), row.end());
                                         last = row.size();
                                         return {};
                                       }));
  test.numerics = kernels::kNumericsRevision;
  logits.hash = formats::hash_logits(all);
  logits.top = formats::top_logits(std::span<const float>(all).last(last));
  test.logits.push_back(std::move(logits));
  return {};
}

}  // namespace

std::vector<std::int32_t> self_test_prompt(std::int64_t vocab_size, std::size_t count) {
  std::vector<std::int32_t> ids(count);
  std::uint64_t state = 0x9E3779B97F4A7C15u;  // A multiplicative generator (Knuth's MMIX numbers).
  for (auto& id : ids) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    id = static_cast<std::int32_t>((state >> 33) % static_cast<std::uint64_t>(vocab_size));
  }
  return ids;
}

Result<MadeSelfTest> make_self_test(const Model& model) {
  MadeSelfTest made;
  QUERN_CHECK(add_texts(model, made.test));
  add_rendering(model, made);
  QUERN_CHECK(add_logits(model, made.test));
  return made;
}

}  // namespace quern::convert
