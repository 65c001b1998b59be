// What may follow `is`.
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

Result<Value> answer(bool yes) { return Value(yes); }

template <Kind kKind>
Result<Value> test_kind(Call& call) {
  return answer(call.self.is(kKind));
}

Result<Value> test_defined(Call& call) { return answer(!call.self.is_undefined()); }
Result<Value> test_number(Call& call) { return answer(call.self.is_number()); }
Result<Value> test_iterable(Call& call) { return answer(is_iterable(call.self)); }
Result<Value> test_escaped(Call& call) { return answer(call.self.is_markup()); }

template <bool kWanted>
Result<Value> test_bool(Call& call) {
  return answer(call.self.is(Kind::kBool) && call.self.as_bool() == kWanted);
}

Result<Value> test_sequence(Call& call) {
  const Value& self = call.self;
  return answer(self.is_undefined() || self.is_string() || self.is_map() ||
                (self.is_sequence() && self.sequence().is_indexable()));
}

Result<Value> test_callable(Call& call) {
  return answer(call.self.is_undefined() ||  // Which raises when it is called.
                (call.self.is_object() && call.self.object().callable()));
}

template <Operator kOperator>
Result<Value> test_compare(Call& call) {
  QUERN_TRY(holds, compare(call.interp, kOperator, call.self, call[0]));
  return Value(holds);
}

Result<Value> test_sameas(Call& call) { return answer(call.self.same_as(call[0])); }

Result<bool> divisible(Call& call, const Value& divisor, std::int64_t rest) {
  if (call.self.is_string()) return language_error("a string cannot be tested for divisibility");
  QUERN_TRY(remainder, arithmetic(call.interp, Operator::kModulo, call.self, divisor));
  return equal(call.interp, remainder, Value(rest));
}

template <std::int64_t kRest>
Result<Value> test_parity(Call& call) {
  QUERN_TRY(holds, divisible(call, Value(std::int64_t{2}), kRest));
  return Value(holds);
}

Result<Value> test_divisibleby(Call& call) {
  QUERN_TRY(holds, divisible(call, call[0], 0));
  return Value(holds);
}

/// str.islower and str.isupper: no character of the other case, and at least one of this.
template <bool kUpper>
Result<Value> test_case(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  const Builtin* method = find_method(text, kUpper ? "isupper" : "islower");
  return invoke(call.interp, *method, text, {});
}

template <bool kFilter>
Result<Value> test_exists(Call& call) {
  if (!call.self.is_string()) return answer(false);
  return answer((kFilter ? find_filter(call.self.str()) : find_test(call.self.str())) != nullptr);
}

constexpr Builtin kTests[] = {
    {"defined", "", test_defined},
    {"undefined", "", test_kind<Kind::kUndefined>},
    {"none", "", test_kind<Kind::kNone>},
    {"string", "", test_kind<Kind::kString>},
    {"mapping", "", test_kind<Kind::kMap>},
    {"integer", "", test_kind<Kind::kInt>},
    {"float", "", test_kind<Kind::kFloat>},
    {"boolean", "", test_kind<Kind::kBool>},
    {"number", "", test_number},
    {"true", "", test_bool<true>},
    {"false", "", test_bool<false>},
    {"sequence", "", test_sequence},
    {"iterable", "", test_iterable},
    {"callable", "", test_callable},
    {"escaped", "", test_escaped},
    {"sameas", "other", test_sameas},
    {"in", "seq", test_compare<Operator::kIn>},
    {"==", "other", test_compare<Operator::kEqual>},
    {"eq", "other", test_compare<Operator::kEqual>},
    {"equalto", "other", test_compare<Operator::kEqual>},
    {"!=", "other", test_compare<Operator::kNotEqual>},
    {"ne", "other", test_compare<Operator::kNotEqual>},
    {"<", "other", test_compare<Operator::kLess>},
    {"lt", "other", test_compare<Operator::kLess>},
    {"lessthan", "other", test_compare<Operator::kLess>},
    {"<=", "other", test_compare<Operator::kLessEqual>},
    {"le", "other", test_compare<Operator::kLessEqual>},
    {">", "other", test_compare<Operator::kGreater>},
    {"gt", "other", test_compare<Operator::kGreater>},
    {"greaterthan", "other", test_compare<Operator::kGreater>},
    {">=", "other", test_compare<Operator::kGreaterEqual>},
    {"ge", "other", test_compare<Operator::kGreaterEqual>},
    {"divisibleby", "num", test_divisibleby},
    {"odd", "", test_parity<1>},
    {"even", "", test_parity<0>},
    {"lower", "", test_case<false>},
    {"upper", "", test_case<true>},
    {"filter", "", test_exists<true>},
    {"test", "", test_exists<false>},
};

}  // namespace

Table tests() { return {std::begin(kTests), std::end(kTests)}; }

}  // namespace quern::text::jinja
