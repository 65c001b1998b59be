#include "runtime/token_ids.h"

#include <string>

namespace quern::runtime {

Status check_token_ids(std::span<const TokenId> ids, std::int64_t count, const char* outside) {
  for (const TokenId id : ids) {
    if (id < 0 || id >= count)
      return Error(ErrorCode::kOutOfRange, outside)
          .of("ids")
          .want("0 … " + std::to_string(count - 1))
          .got(std::to_string(id));
  }
  return {};
}

}  // namespace quern::runtime
