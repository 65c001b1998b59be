#include "runtime/leading_ids.h"

#include <algorithm>

namespace quern::runtime {

Result<std::vector<TokenId>> leading_ids(const Model& model) {
  // A vocabulary need not say which token its BOS is: what stands in front of a text says it.
  constexpr std::string_view kText = "a";
  QUERN_TRY(whole, model.encode(kText, {.add_special = true, .parse_special = false}));
  QUERN_TRY(text, model.encode(kText, {.add_special = false, .parse_special = false}));
  const auto begin = std::search(whole.begin(), whole.end(), text.begin(), text.end());
  if (begin == whole.end() || text.empty()) return std::vector<TokenId>();
  return std::vector<TokenId>(whole.begin(), begin);
}

}  // namespace quern::runtime
