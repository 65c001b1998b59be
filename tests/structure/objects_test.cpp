// What the compiled objects define and need, read with nm.
#include <doctest/doctest.h>
#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "structure/symbols.h"

#ifdef NDEBUG

namespace quern::structure {
namespace {

struct Object {
  std::string path;
  std::string isa;  ///< the folder of lib/kernels that has instruction-set flags, or ""
  std::vector<Symbol> symbols;
};

constexpr std::array kIsaFolders = {"avx2", "avxvnni", "avx512", "avx512vnni", "avx512amx", "neon"};

std::vector<Object> read_objects() {
  std::vector<Object> objects;
  std::ifstream list(QUERN_OBJECT_LIST);
  for (std::string path; std::getline(list, path);) {
    if (path.empty()) {
      continue;
    }
    Object object{path, "", read_symbols(path)};
    for (const char* isa : kIsaFolders) {
      if (path.find(std::string("kernels/") + isa + "/") != std::string::npos) {
        object.isa = isa;
      }
    }
    objects.push_back(std::move(object));
  }
  return objects;
}

const std::vector<Object>& objects() {
  static const std::vector<Object> all = read_objects();
  return all;
}

/// The part of the path that a person needs.
std::string short_name(const Object& object) {
  const size_t dir = object.path.find(".dir/");
  const size_t before = object.path.rfind('/', dir);
  return object.path.substr(before == std::string::npos ? 0 : before + 1);
}

std::string joined(const std::set<std::string>& entries) {
  std::string text;
  for (const std::string& entry : entries) {
    text += entry + "\n";
  }
  return text;
}

}  // namespace

TEST_CASE("the library's objects call nothing that ends the process or prints") {
  const std::set<std::string> forbidden = {
      "abort",         "exit",   "_exit",        "_Exit",     "quick_exit",
      "__assert_fail", "printf", "__printf_chk", "puts",      "putchar",
      "perror",        "stdout", "stderr",       "_ZSt4cout", "_ZSt4cerr"};
  std::set<std::string> wrong;
  CHECK(!objects().empty());
  for (const Object& object : objects()) {
    CHECK(!object.symbols.empty());
    for (const Symbol& symbol : object.symbols) {
      if (symbol.type == 'U' && forbidden.count(symbol.name) != 0) {
        wrong.insert(short_name(object) + " needs " + symbol.name);
      }
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("no object with instruction-set flags shares weak code with any other object") {
  // The linker keeps one copy of weak code, the first that it meets: if that one was compiled for
  // AVX-512, every caller runs AVX-512.
  std::map<std::string, std::set<std::string>> isas_that_mention;
  for (const Object& object : objects()) {
    for (const Symbol& symbol : object.symbols) {
      isas_that_mention[symbol.name].insert(object.isa);
    }
  }
  std::set<std::string> wrong;
  for (const Object& object : objects()) {
    for (const Symbol& symbol : object.symbols) {
      const bool is_weak_code = symbol.type == 'W' || symbol.type == 'u';
      if (!object.isa.empty() && is_weak_code && isas_that_mention[symbol.name].size() > 1) {
        wrong.insert(short_name(object) + " exports " + symbol.name);
      }
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("an object with instruction-set flags exports its install function and no other code") {
  std::set<std::string> wrong;
  for (const Object& object : objects()) {
    for (const Symbol& symbol : object.symbols) {
      // Objects of one folder may call each other; their names carry the folder's.
      const bool carries_isa = symbol.name.find(object.isa) != std::string::npos;
      if (!object.isa.empty() && symbol.type == 'T' && !carries_isa) {
        wrong.insert(short_name(object) + " exports " + symbol.name);
      }
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

}  // namespace quern::structure

#endif  // without optimisation nothing is inlined, and the library is not what is shipped
