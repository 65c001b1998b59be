#pragma once

#include <string>
#include <vector>

namespace quern::structure {

struct Symbol {
  char type = '?';  ///< nm's letter: U undefined, T code, W weak, …
  std::string name;
};

/// What nm says of a file. `flags`: further ones, e.g. "-D -C" for dynamic symbols, demangled.
std::vector<Symbol> read_symbols(const std::string& file, const std::string& flags = "");

}  // namespace quern::structure
