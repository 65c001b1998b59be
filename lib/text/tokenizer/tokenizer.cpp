#include "text/tokenizer/tokenizer.h"

#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::open(std::span<const std::byte> image, std::string_view file) {
  auto impl = std::make_unique<Impl>();
  QUERN_TRY(view, ImageView::open(image, file));
  impl->image = view;
  QUERN_TRY(normalizers, make_stage(view, image::kNormalizers, file));
  QUERN_TRY(pre_tokenizers, make_stage(view, image::kPreTokenizers, file));
  QUERN_TRY(decoders, make_stage(view, image::kDecoders, file));
  impl->normalizers = std::move(normalizers);
  impl->pre_tokenizers = std::move(pre_tokenizers);
  impl->decoders = std::move(decoders);
  impl->raw_added = AddedMatcher(impl->image, image::kRawTrieEdges);
  impl->normal_added = AddedMatcher(impl->image, image::kNormalTrieEdges);
  impl->encode_piece = find_model(view.model());
  return Tokenizer(std::move(impl));
}

std::size_t Tokenizer::vocab_size() const noexcept { return impl_->image.n_tokens(); }
TokenId Tokenizer::bos() const noexcept { return impl_->image.ids().bos; }
TokenId Tokenizer::eos() const noexcept { return impl_->image.ids().eos; }
TokenId Tokenizer::unk() const noexcept { return impl_->image.ids().unk; }
TokenId Tokenizer::pad() const noexcept { return impl_->image.ids().pad; }
TokenId Tokenizer::sep() const noexcept { return impl_->image.ids().sep; }
TokenId Tokenizer::cls() const noexcept { return impl_->image.ids().cls; }
TokenId Tokenizer::mask() const noexcept { return impl_->image.ids().mask; }
TokenId Tokenizer::eot() const noexcept { return impl_->image.ids().eot; }

bool Tokenizer::add_bos() const noexcept {
  const auto items = impl_->image.post_template();
  return items.size() > 0 && items.at(0, -1) >= 0;
}

bool Tokenizer::add_eos() const noexcept {
  const auto items = impl_->image.post_template();
  return items.size() > 1 && items.at(items.size() - 1, -1) >= 0;
}

bool Tokenizer::is_special(TokenId id) const noexcept {
  return (impl_->image.token_flags(id) & image::kSpecial) != 0;
}

formats::TokenType Tokenizer::token_type(TokenId id) const noexcept {
  const auto type = static_cast<std::uint8_t>(impl_->image.token_flags(id) & image::kTypeMask);
  return type <= 6 ? static_cast<formats::TokenType>(type) : formats::TokenType::kNone;
}

std::string_view Tokenizer::token_bytes(TokenId id) const noexcept {
  return impl_->image.token(id);
}

std::optional<TokenId> Tokenizer::find(std::string_view piece) const noexcept {
  TokenId id = impl_->image.find(piece, image::kIsAdded);
  if (id < 0) id = impl_->image.find(piece, 0);
  return id < 0 ? std::nullopt : std::optional<TokenId>(id);
}

const ImageView& Tokenizer::image() const noexcept { return impl_->image; }

std::optional<std::string_view> Tokenizer::Impl::shown(TokenId id, std::string& buffer) const {
  const std::uint8_t flags = image.token_flags(id);
  if ((flags & image::kTypeMask) == 0) return std::nullopt;
  if ((flags & image::kIsAdded) != 0) {
    if (const auto added = image.added_of(id)) {
      return (added->flags & image::kNormalized) != 0 ? added->normalized : added->content;
    }
  }
  const std::string_view text = image.token(id);
  if (!image.has_flag(formats::model_flag::kPhantomSpace)) return text;
  constexpr std::string_view kPhantom = "\xE2\x96\x81";
  if (text.substr(0, kPhantom.size()) == kPhantom) return text.substr(kPhantom.size());
  buffer = "##";
  buffer += text;
  return std::string_view(buffer);
}

bool Tokenizer::Impl::is_skipped(TokenId id, std::string_view shown_text) const noexcept {
  const std::uint8_t flags = image.token_flags(id);
  if ((flags & image::kIsAdded) == 0) return (flags & image::kSpecial) != 0;
  return image.find(shown_text, image::kSpecial) >= 0;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  DecodeChain chain(impl_->decoders);
  std::string bytes, buffer;
  for (const TokenId id : ids) {
    const auto text = impl_->shown(id, buffer);
    if (!text.has_value() || (skip_special && impl_->is_skipped(id, *text))) continue;
    chain.push(*text, bytes);
  }
  chain.finish(bytes);
  if (find_invalid(bytes) == std::string_view::npos) return bytes;
  std::string out;
  append_lossy(out, bytes);
  return out;
}

struct StreamDecoder::Impl {
  const Tokenizer* tokenizer;
  bool skip_special;
  DecodeChain chain;
  Utf8Gate gate;
  std::string buffer;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : impl_(new Impl{&tokenizer, skip_special, DecodeChain(tokenizer.impl_->decoders), {}, {}}) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(TokenId id) {
  std::string out;
  const Tokenizer::Impl& tokenizer = *impl_->tokenizer->impl_;
  const auto text = tokenizer.shown(id, impl_->buffer);
  if (!text.has_value() || (impl_->skip_special && tokenizer.is_skipped(id, *text))) return out;
  std::string bytes;
  impl_->chain.push(*text, bytes);
  impl_->gate.push(bytes, out);
  return out;
}

std::string StreamDecoder::flush() {
  std::string bytes, out;
  impl_->chain.finish(bytes);
  impl_->gate.push(bytes, out);
  impl_->gate.finish(out);
  return out;
}

}  // namespace quern::text
