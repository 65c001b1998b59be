/// \file
/// The library's side of quern/log.h: what was chosen and why, for whoever listens.
#pragma once

#include <string_view>

#include "quern/log.h"

namespace quern::base {

/// \return whether a sink is set; ask before composing a line. Thread rule: any thread.
bool logging() noexcept;

/// Hands one line to the sink, if any. \param topic "load", "dispatch" or "time". A sink that
/// throws is ignored. Never called from within a step.
void log(std::string_view topic, std::string_view line) noexcept;

}  // namespace quern::base
