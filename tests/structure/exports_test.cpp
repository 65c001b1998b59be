// The shared library shows the public API, all of it, and nothing else (.cmake/exports.map).
#include <doctest/doctest.h>
#include <fstream>
#include <set>
#include <string>

#include "structure/source_tree.h"
#include "structure/symbols.h"

#if defined(QUERN_SHARED_LIBRARY) && defined(NDEBUG)

namespace quern::structure {
namespace {

/// "quern::Model::open(...)" → "Model", "quern::version()" → "version"; "" for other names.
std::string first_name(const std::string& symbol) {
  const std::string prefix = "quern::";
  if (symbol.rfind(prefix, 0) != 0) {
    return "";
  }
  const size_t end = symbol.find_first_not_of(
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", prefix.size());
  return symbol.substr(prefix.size(), end == std::string::npos ? end : end - prefix.size());
}

/// Every word of the public headers' code but the layers' namespaces; a symbol whose first name is
/// none of them is internal.
const std::set<std::string>& public_words() {
  static const std::set<std::string> words = [] {
    std::set<std::string> found;
    for (const SourceFile& file : source_tree()) {
      if (file.is_cpp() && file.is_under("include/quern")) {
        for (const std::string& line : file.code) {
          const auto of_line = words_of(line);
          found.insert(of_line.begin(), of_line.end());
        }
      }
    }
    for (const char* layer : {"formats", "quant", "kernels", "graph", "backends", "models", "text",
                              "runtime", "convert"}) {
      found.erase(layer);
    }
    return found;
  }();
  return words;
}

bool is_code_or_data(char type) { return std::string("TDBRVWu").find(type) != std::string::npos; }

std::set<std::string> exported() {
  std::set<std::string> names;
  for (const Symbol& symbol : read_symbols(QUERN_SHARED_LIBRARY, "-D -C --defined-only")) {
    if (is_code_or_data(symbol.type)) {
      names.insert(symbol.name);
    }
  }
  return names;
}

std::string joined_set(const std::set<std::string>& entries) {
  return joined(std::vector<std::string>(entries.begin(), entries.end()));
}

}  // namespace

TEST_CASE("the shared library shows nothing but the public API") {
  std::set<std::string> wrong;
  const std::set<std::string> names = exported();
  CHECK(!names.empty());
  for (const std::string& name : names) {
    const bool is_c = name.rfind("quern_", 0) == 0;
    const bool is_type_information =
        name.rfind("typeinfo ", 0) == 0 || name.rfind("vtable ", 0) == 0;
    if (!is_c && !is_type_information && public_words().count(first_name(name)) == 0) {
      wrong.insert(name);
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined_set(wrong));
}

TEST_CASE("the shared library shows all of the public API") {
  const std::set<std::string> names = exported();
  std::set<std::string> missing;
  std::ifstream list(QUERN_OBJECT_LIST);
  for (std::string object; std::getline(list, object);) {
    const bool is_core = !object.empty() && object.find("quern_convert") == std::string::npos;
    if (!is_core) {
      continue;
    }
    for (const Symbol& symbol : read_symbols(object, "-C --defined-only")) {
      const bool is_c = symbol.name.rfind("quern_", 0) == 0;
      const bool is_public = is_c || public_words().count(first_name(symbol.name)) != 0;
      if (symbol.type == 'T' && is_public && names.count(symbol.name) == 0) {
        missing.insert(symbol.name);
      }
    }
  }
  CHECK_MESSAGE(missing.empty(), joined_set(missing));
}

}  // namespace quern::structure

#endif
