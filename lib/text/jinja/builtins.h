/// \file
/// Filters, tests, methods and global functions: tables of rows. To add one, add a row.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/jinja/value.h"

namespace quern::text::jinja {

struct Builtin;

/// One call of a builtin, its arguments sorted into the parameters of its row.
struct Call {
  Interp& interp;
  const Builtin& builtin;
  const Value& self;  ///< What is filtered or tested, or whose method is called.
  const Args& raw;    ///< The arguments as given.
  std::vector<std::optional<Value>> args;

  /// \return whether argument `i` was given and is not none.
  bool has(std::size_t i) const { return args[i].has_value() && !args[i]->is_none(); }
  const Value& operator[](std::size_t i) const { return *args[i]; }
  /// Argument `i` as what the word says, or `otherwise` where it was not given.
  Result<std::int64_t> integer(std::size_t i, std::int64_t otherwise) const;
  bool flag(std::size_t i, bool otherwise) const;
  /// Requires a string, as Python's own methods do.
  Result<TextRef> string(std::size_t i) const;
  Error bad_argument(std::size_t i, std::string_view want) const;
  Heap& heap() const;
};

/// A row. `params` names the parameters in order, optional ones with a `?`; `*` passes the
/// arguments on unsorted (in `raw`).
struct Builtin {
  std::string_view name;
  std::string_view params;
  Result<Value> (*run)(Call& call);
};

/// Sorts the arguments and calls. Errors: kInvalidArgument for missing, surplus or unknown ones.
Result<Value> invoke(Interp& interp, const Builtin& builtin, const Value& self, const Args& args);

/// \return the row of a name, or nullptr.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
/// \return the method of a value's type.
const Builtin* find_method(const Value& self, std::string_view name);
/// \return whether a method of that name exists in Python but would change the value.
bool is_mutating_method(const Value& self, std::string_view name);

/// \return the error of a filter or test that is not in the tables: kUnsupported, naming it.
Error unknown_builtin(std::string_view what, std::string_view name);

/// One table of rows; each file of builtins owns some.
struct Table {
  const Builtin* begin;
  const Builtin* end;
};
Table text_filters();
Table sequence_filters();
Table selection_filters();
Table number_filters();
Table tests();
Table functions();
Table text_methods();
Table search_methods();
Table map_methods();
Table sequence_methods();

}  // namespace quern::text::jinja
