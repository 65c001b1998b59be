/// \file
/// Which quern this is.
#pragma once

namespace quern {

/// \return "major.minor.patch" of the library at hand (not of the headers); a static string.
const char* version() noexcept;

}  // namespace quern
