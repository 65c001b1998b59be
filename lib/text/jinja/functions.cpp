// Global functions.
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/objects.h"
#include "text/jinja/printer.h"
#include "text/jinja/strftime.h"

namespace quern::text::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100000;  ///< That of Jinja's sandbox.

Result<Value> function_range(Call& call) {
  QUERN_TRY(first, call.integer(0, 0));
  const bool one = !call.args[1].has_value();
  QUERN_TRY(second, call.integer(1, 0));
  QUERN_TRY(step, call.integer(2, 1));
  const std::int64_t start = one ? 0 : first;
  const std::int64_t stop = one ? first : second;
  if (step == 0) return language_error("range() arg 3 must not be zero");
  // In unsigned arithmetic no distance overflows.
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const auto low = static_cast<std::uint64_t>(step > 0 ? start : stop);
  const auto high = static_cast<std::uint64_t>(step > 0 ? stop : start);
  const std::uint64_t stride =
      step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  const std::uint64_t length = empty ? 0 : (high - low - 1) / stride + 1;
  if (length > static_cast<std::uint64_t>(kMaxRange)) {
    return Error(ErrorCode::kLimit, "a range is too long")
        .want("at most " + std::to_string(kMaxRange) + " items");
  }
  QUERN_CHECK(call.interp.spend(static_cast<std::size_t>(length)));
  return make_range(call.heap(), start, stop, step);
}

/// The pairs of dict(…) and namespace(…): a mapping or pairs, then keywords.
Result<Map> collect(Call& call) {
  Map map;
  const auto& positional = call.raw.positional;
  if (positional.size() > 1)
    return language_error("'" + std::string(call.builtin.name) +
                          "' takes at most 1 positional argument");
  if (!positional.empty() && positional[0].is_map()) {
    QUERN_CHECK(call.interp.spend(positional[0].map().size()));
    for (const auto& [key, value] : positional[0].map().entries()) QUERN_CHECK(map.set(key, value));
  } else if (!positional.empty()) {
    QUERN_TRY(items, iterate(call.interp, positional[0]));
    for (const Value& item : items) {
      QUERN_TRY(pair, iterate(call.interp, item));
      if (pair.size() != 2) return language_error("an element is not a pair");
      QUERN_CHECK(map.set(pair[0], pair[1]));
    }
  }
  for (const auto& [name, value] : call.raw.named) {
    QUERN_TRY(key, make_string(call.heap(), name, true));
    QUERN_CHECK(map.set(std::move(key), value));
  }
  return map;
}

Result<Value> function_dict(Call& call) {
  QUERN_TRY(map, collect(call));
  return make_map(call.heap(), std::move(map));
}

Result<Value> function_namespace(Call& call) {
  QUERN_TRY(map, collect(call));
  QUERN_TRY(space, call.interp.make_namespace());
  for (const auto& [key, value] : map.entries()) {
    if (!key.is_string()) return language_error("the names in a namespace must be strings");
    QUERN_CHECK(static_cast<Namespace&>(space.object()).set(call.interp, key.str(), value));
  }
  return space;
}

Result<Value> function_cycler(Call& call) {
  if (call.raw.positional.empty() || !call.raw.named.empty())
    return language_error("'cycler' needs at least one item");
  return make_object<Cycler>(call.heap(), call.raw.positional);
}

Result<Value> function_joiner(Call& call) {
  QUERN_TRY(comma, make_string(call.heap(), ", ", true));
  return make_object<Joiner>(call.heap(), call.args[0].has_value() ? call[0] : comma);
}

Result<Value> function_raise_exception(Call& call) {
  QUERN_TRY(message, to_str(call.interp, call[0]));
  return Error(ErrorCode::kTemplateRaised, message.str());
}

Result<Value> function_strftime_now(Call& call) {
  QUERN_TRY(format, call.string(0));
  QUERN_TRY(now, clock_of(call.interp.options().now_iso8601));
  QUERN_CHECK(call.interp.spend_bytes(format->size() * 16));
  TextBuilder out(call.heap());
  QUERN_CHECK(append_time(out, *format, now));
  return make_string(out);
}

Result<Value> function_lipsum(Call&) {
  return Error(ErrorCode::kUnsupported, "the function 'lipsum' is not supported");
}

constexpr Builtin kFunctions[] = {
    {"range", "start stop? step?", function_range},
    {"dict", "*", function_dict},
    {"namespace", "*", function_namespace},
    {"cycler", "*", function_cycler},
    {"joiner", "sep?", function_joiner},
    {"raise_exception", "message", function_raise_exception},
    {"strftime_now", "format", function_strftime_now},
    {"lipsum", "*", function_lipsum},
};

}  // namespace

Table functions() { return {std::begin(kFunctions), std::end(kFunctions)}; }

}  // namespace quern::text::jinja
