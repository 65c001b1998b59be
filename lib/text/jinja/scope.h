/// \file
/// Variables: a chain of scopes, as blocks of a template are nested.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace quern::text::jinja {

/// The variables of one loop iteration, macro call, with block or the whole template. Names are
/// views of the syntax tree (or of static text), which outlives every scope.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}

  void set(std::string_view name, Value value) {
    if (Value* old = find_here(name); old != nullptr) {
      *old = std::move(value);
      return;
    }
    variables_.emplace_back(name, std::move(value));
    if (variables_.size() > kLinear) {
      for (std::size_t i = index_.size(); i < variables_.size(); ++i)
        index_.emplace(variables_[i].first, i);
    }
  }

  /// \return the variable in this scope or one around it, or nullptr.
  const Value* find(std::string_view name) {
    for (Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
      if (const Value* value = scope->find_here(name); value != nullptr) return value;
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kLinear = 16;

  Value* find_here(std::string_view name) {
    if (!index_.empty()) {
      const auto found = index_.find(name);
      return found == index_.end() ? nullptr : &variables_[found->second].second;
    }
    for (auto& variable : variables_) {
      if (variable.first == name) return &variable.second;
    }
    return nullptr;
  }

  std::shared_ptr<Scope> parent_;
  std::vector<std::pair<std::string_view, Value>> variables_;
  std::unordered_map<std::string_view, std::size_t> index_;
};

using ScopeRef = std::shared_ptr<Scope>;

}  // namespace quern::text::jinja
