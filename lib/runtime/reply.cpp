#include "runtime/reply.h"

namespace quern::runtime {

Reply::Reply(const text::Tokenizer* tokenizer, const GenerateOptions& options,
             std::span<const std::string> own_stops, Generated& out)
    : options_(options),
      out_(out),
      stops_(tokenizer, own_stops, options.stop),
      matcher_(stops_.texts()) {
  if (tokenizer != nullptr) decoder_.emplace(*tokenizer, true);
}

bool Reply::add(TokenId id) {
  out_.ids.push_back(id);
  ++out_.stats.generated_tokens;
  if (!decoder_) return true;
  if (!show(matcher_.push(decoder_->push(id)))) return false;
  return !matcher_.stopped() && !stops_.is_stop(id);
}

void Reply::finish() {
  if (!decoder_ || refused_ || matcher_.stopped()) return;
  if (show(matcher_.push(decoder_->flush())) && !matcher_.stopped()) show(matcher_.finish());
}

bool Reply::show(std::string_view text) {
  if (text.empty()) return true;
  out_.text.append(text);
  if (options_.on_text && !options_.on_text(text)) refused_ = true;
  return !refused_;
}

}  // namespace quern::runtime
