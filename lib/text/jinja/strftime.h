/// \file
/// Dates for strftime_now: the C locale's strftime, on a clock that tests can stop.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "text/jinja/text.h"

namespace quern::text::jinja {

/// A moment as broken-down time and microseconds.
struct Clock {
  std::tm time{};
  int microseconds = 0;
};

/// \return the moment `YYYY-MM-DD[THH:MM[:SS[.ffffff]][Z|±HH[:MM]]]` (ISO 8601; kInvalidArgument
/// for another form) as it is written, or the system's local time where absent.
Result<Clock> clock_of(const std::optional<std::string>& iso8601);

/// Appends the moment as `format` says. Directives: aAbBcdDeFgGHhIjkmMnpPrRStTuUVwWxXyYfzZ%;
/// others are kUnsupported. What a directive yields has the provenance of the directive.
Status append_time(TextBuilder& out, const Text& format, const Clock& clock);

}  // namespace quern::text::jinja
