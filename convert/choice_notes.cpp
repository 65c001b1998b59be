#include "convert/choice_notes.h"

#include <bit>
#include <cstdint>
#include <vector>

namespace quern::convert {
namespace {

constexpr const char* kWindows = "windows";

std::uint64_t word_of(double number) { return std::bit_cast<std::uint64_t>(number); }
std::string damage_key(const TensorOffers& tensor) { return "damage " + tensor.name; }

}  // namespace

const std::string* ChoiceNotes::find(const std::string& key) const {
  return journal_ == nullptr ? nullptr : journal_->find(key);
}

std::optional<TokenWindows> ChoiceNotes::windows() const {
  const std::string* text = find(kWindows);
  const auto words = text != nullptr ? formats::read_words(*text) : std::nullopt;
  if (!words) return std::nullopt;
  TokenWindows windows;
  for (std::size_t at = 0; at < words->size();) {
    const std::uint64_t length = (*words)[at++];
    if (length > words->size() - at) return std::nullopt;
    std::vector<TokenId>& window = windows.emplace_back();
    for (std::uint64_t i = 0; i < length; ++i) {
      window.push_back(static_cast<TokenId>((*words)[at++]));
    }
  }
  return windows;
}

Status ChoiceNotes::note_windows(const TokenWindows& windows) {
  if (journal_ == nullptr) return {};
  std::vector<std::uint64_t> words;
  for (const std::vector<TokenId>& window : windows) {
    words.push_back(window.size());
    for (const TokenId id : window) words.push_back(static_cast<std::uint64_t>(id));
  }
  return journal_->add(kWindows, formats::write_words(words));
}

std::optional<double> ChoiceNotes::number(const std::string& name) const {
  const std::string* text = find("number " + name);
  const auto words = text != nullptr ? formats::read_words(*text) : std::nullopt;
  if (!words || words->size() != 1) return std::nullopt;
  return std::bit_cast<double>(words->front());
}

Status ChoiceNotes::note_number(const std::string& name, double number) {
  if (journal_ == nullptr) return {};
  const std::uint64_t words[] = {word_of(number)};
  return journal_->add("number " + name, formats::write_words(words));
}

bool ChoiceNotes::recall(TensorOffers& tensor, double& sensitivity) const {
  const std::string* text = find(damage_key(tensor));
  const auto words = text != nullptr ? formats::read_words(*text) : std::nullopt;
  if (!words || words->size() != tensor.offers.size() + 1) return false;
  sensitivity = std::bit_cast<double>(words->front());
  for (std::size_t i = 0; i < tensor.offers.size(); ++i) {
    tensor.offers[i].damage = std::bit_cast<double>((*words)[i + 1]);
  }
  return true;
}

Status ChoiceNotes::note(const TensorOffers& tensor, double sensitivity) {
  if (journal_ == nullptr) return {};
  std::vector<std::uint64_t> words{word_of(sensitivity)};
  for (const EncodingOffer& offer : tensor.offers) words.push_back(word_of(offer.damage));
  return journal_->add(damage_key(tensor), formats::write_words(words));
}

}  // namespace quern::convert
