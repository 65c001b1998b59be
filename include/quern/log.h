/// \file
/// What the library says about its choices. It never prints; it calls the sink.
#pragma once

#include <functional>
#include <string_view>

namespace quern {

/// Receives one line per event: topic is "load", "dispatch" or "time". Set before the first model
/// is opened; thread rule: the sink may be called from any thread. An empty function switches
/// logging off.
using LogSink = std::function<void(std::string_view topic, std::string_view line)>;
void set_log_sink(LogSink sink);

}  // namespace quern
