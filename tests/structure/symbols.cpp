#include "structure/symbols.h"

#include <doctest/doctest.h>
#include <cctype>
#include <cstdio>

namespace quern::structure {
namespace {

/// A line is "address type name", the address blank for undefined symbols; demangled names hold
/// spaces.
Symbol parse(const std::string& line) {
  size_t i = 0;
  while (i < line.size() && (std::isxdigit(static_cast<unsigned char>(line[i])) != 0) && i < 16) {
    ++i;
  }
  const size_t type = line.find_first_not_of(' ', i);
  if (type == std::string::npos || type + 2 >= line.size() || line[type + 1] != ' ') {
    return {};
  }
  return {line[type], line.substr(type + 2)};
}

}  // namespace

std::vector<Symbol> read_symbols(const std::string& file, const std::string& flags) {
  std::vector<Symbol> symbols;
  const std::string command = std::string(QUERN_NM) + " " + flags + " '" + file + "' 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string line;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    const Symbol symbol = parse(line);
    if (!symbol.name.empty()) {
      symbols.push_back(symbol);
    }
    line.clear();
  }
  CHECK_MESSAGE(pclose(pipe) == 0, "nm cannot read ", file);
  return symbols;
}

}  // namespace quern::structure
