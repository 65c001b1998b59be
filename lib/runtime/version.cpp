#include "quern/version.h"

namespace quern {

const char* version() noexcept { return QUERN_VERSION; }

}  // namespace quern
