// Equality, order and membership.
#include <cmath>

#include "text/jinja/interp.h"
#include "text/jinja/operators.h"

namespace quern::text::jinja {
namespace {

/// Order of an integer and a float without rounding either: -1, 0, 1, or 2 for NaN.
int order_mixed(std::int64_t a, double b) {
  if (std::isnan(b)) return 2;
  if (b >= 9223372036854775808.0) return -1;
  if (b < -9223372036854775808.0) return 1;
  const auto whole = static_cast<std::int64_t>(b);
  if (a != whole) return a < whole ? -1 : 1;
  const double rest = b - static_cast<double>(whole);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

/// Order of two numbers: -1, 0, 1, or 2 if a NaN is among them.
int order_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  }
  if (a.is_integral()) return order_mixed(a.as_int(), b.as_double());
  if (b.is_integral()) {
    const int order = order_mixed(b.as_int(), a.as_double());
    return order == 2 ? 2 : -order;
  }
  if (std::isnan(a.as_double()) || std::isnan(b.as_double())) return 2;
  return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double() ? 1 : 0;
}

bool comparable_sequences(const Value& a, const Value& b) {
  if (!a.is_sequence() || !b.is_sequence()) return false;
  const Sequence& x = a.sequence();
  const Sequence& y = b.sequence();
  return (x.is_tuple() && y.is_tuple()) || (x.flavor == y.flavor && x.flavor == Flavor::kList);
}

Result<bool> equal_sequences(Interp& interp, const Value& a, const Value& b) {
  const Sequence& x = a.sequence();
  const Sequence& y = b.sequence();
  if (&x == &y) return true;
  const bool views =
      x.flavor == y.flavor && (x.flavor == Flavor::kKeys || x.flavor == Flavor::kItems);
  if (views)
    return Error(ErrorCode::kUnsupported, "comparing views of mappings; use the filter 'list'");
  const bool ranges = x.flavor == Flavor::kRange && y.flavor == Flavor::kRange;
  if (!ranges && !comparable_sequences(a, b)) return false;
  if (x.items.size() != y.items.size()) return false;
  for (std::size_t i = 0; i < x.items.size(); ++i) {
    QUERN_TRY(same, equal(interp, x.items[i], y.items[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_maps(Interp& interp, const Map& x, const Map& y) {
  if (&x == &y) return true;
  if (x.size() != y.size()) return false;
  for (const auto& [key, value] : x.entries()) {
    QUERN_TRY(other, y.find(key));
    if (other == nullptr) return false;
    QUERN_TRY(same, equal(interp, value, *other));
    if (!same) return false;
  }
  return true;
}

/// Lexicographic order of two lists or tuples.
Result<bool> less_sequences(Interp& interp, const Sequence& x, const Sequence& y) {
  for (std::size_t i = 0; i < x.items.size() && i < y.items.size(); ++i) {
    QUERN_TRY(same, equal(interp, x.items[i], y.items[i]));
    if (!same) return less(interp, x.items[i], y.items[i]);
  }
  return x.items.size() < y.items.size();
}

Result<bool> contains_item(Interp& interp, const Sequence& sequence, const Value& item) {
  for (std::size_t i = sequence.cursor; i < sequence.items.size(); ++i) {
    if (sequence.is_iterator()) sequence.cursor = i + 1;
    QUERN_TRY(same, equal(interp, sequence.items[i], item));
    if (same) return true;
  }
  return false;
}

}  // namespace

Result<bool> equal(Interp& interp, const Value& a, const Value& b) {
  QUERN_CHECK(interp.spend(1));
  if (a.is_number() && b.is_number()) return order_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  if (a.is_string()) {
    QUERN_CHECK(interp.spend_bytes(a.text().size()));
    return a.str() == b.str();
  }
  if (a.is_sequence()) return equal_sequences(interp, a, b);
  if (a.is_map()) return equal_maps(interp, a.map(), b.map());
  return a.same_as(b);
}

Result<bool> less(Interp& interp, const Value& a, const Value& b) {
  QUERN_CHECK(interp.spend(1));
  if (a.is_number() && b.is_number()) return order_numbers(a, b) == -1;
  if (a.is_string() && b.is_string()) {
    QUERN_CHECK(interp.spend_bytes(a.text().size()));
    return a.str() < b.str();  // UTF-8 sorts as its code points do.
  }
  if (comparable_sequences(a, b)) return less_sequences(interp, a.sequence(), b.sequence());
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return language_error(value->undefined_message());
  }
  return language_error("'" + a.type_name() + "' and '" + b.type_name() + "' have no order");
}

Result<bool> contains(Interp& interp, const Value& container, const Value& item) {
  if (container.is_undefined()) return false;
  if (container.is_string()) {
    if (!item.is_string()) {
      return language_error("'in' needs a string on its left, not '" + item.type_name() + "'");
    }
    QUERN_CHECK(interp.spend_bytes(container.text().size()));
    return container.str().find(item.str()) != std::string::npos;
  }
  if (container.is_map()) {
    if (item.is_string()) QUERN_CHECK(interp.spend_bytes(item.text().size()));
    QUERN_TRY(found, container.map().find(item));
    return found != nullptr;
  }
  if (container.is_sequence()) return contains_item(interp, container.sequence(), item);
  return language_error("'" + container.type_name() + "' cannot be searched with 'in'");
}

Result<bool> compare(Interp& interp, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return equal(interp, a, b);
    case Operator::kLess:
      return less(interp, a, b);
    case Operator::kGreater:
      return less(interp, b, a);
    case Operator::kIn:
      return contains(interp, b, a);
    default:
      break;
  }
  if (op == Operator::kNotEqual || op == Operator::kNotIn) {
    QUERN_TRY(positive, op == Operator::kNotEqual ? equal(interp, a, b) : contains(interp, b, a));
    return !positive;
  }
  // NaN is neither below nor equal, so that a <= b is not simply the opposite of b < a.
  const Value& low = op == Operator::kLessEqual ? a : b;
  const Value& high = op == Operator::kLessEqual ? b : a;
  if (low.is_number() && high.is_number()) {
    const int order = order_numbers(low, high);
    return order == -1 || order == 0;
  }
  QUERN_TRY(above, less(interp, high, low));
  return !above;
}

}  // namespace quern::text::jinja
