// What the compiler made of the kernels' innermost loops, read with objdump.
#include <doctest/doctest.h>
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "structure/source_tree.h"

#if defined(NDEBUG) && defined(QUERN_OBJDUMP)

namespace quern::structure {
namespace {

struct Instruction {
  std::uint64_t address = 0;
  std::string text;  ///< mnemonic and operands
};

struct Function {
  std::string object, name;
  std::vector<Instruction> code;
};

/// Parses "0000000000000040 <name>:" and "  40:\tvaddps ...".
std::vector<Function> disassemble(const std::string& object) {
  std::vector<Function> functions;
  const std::string command =
      std::string(QUERN_OBJDUMP) + " -d -C --no-show-raw-insn '" + object + "' 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string line;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    const size_t open = line.find(" <");
    const size_t tab = line.find(":\t");
    if (tab != std::string::npos && !functions.empty()) {
      const std::uint64_t address = std::strtoull(line.c_str(), nullptr, 16);
      functions.back().code.push_back({address, line.substr(tab + 2)});
    } else if (open == 16 && line.back() == ':') {
      functions.push_back({object, line.substr(open + 2, line.size() - open - 4), {}});
    }
    line.clear();
  }
  CHECK(pclose(pipe) == 0);
  return functions;
}

/// The address that a jump of this function goes back to, or 0.
std::uint64_t jump_back(const Instruction& instruction) {
  const char first = instruction.text.empty() ? ' ' : instruction.text[0];
  if (first != 'j' && instruction.text.rfind("b.", 0) != 0) {
    return 0;
  }
  const size_t operand = instruction.text.find_last_of(" \t", instruction.text.find(" <") - 1);
  if (operand == std::string::npos) {
    return 0;
  }
  const std::uint64_t target = std::strtoull(instruction.text.c_str() + operand + 1, nullptr, 16);
  return target <= instruction.address ? target : 0;
}

bool multiplies(const Instruction& instruction) {
  constexpr std::array kNames = {"vpdpbusd", "vpdpwssd", "vpmaddubsw", "vpmaddwd",
                                 "vfmadd",   "fmla",     "sdot",       "udot"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](const char* name) { return instruction.text.rfind(name, 0) == 0; });
}

bool calls(const Instruction& instruction) {
  return instruction.text.rfind("call", 0) == 0 || instruction.text.rfind("bl\t", 0) == 0 ||
         instruction.text.rfind("blr\t", 0) == 0;
}

struct Loop {
  size_t first = 0, last = 0;
};

std::vector<Loop> innermost_loops(const Function& function) {
  std::vector<Loop> loops;
  for (size_t i = 0; i < function.code.size(); ++i) {
    const std::uint64_t target = jump_back(function.code[i]);
    const auto found =
        std::find_if(function.code.begin(), function.code.end(),
                     [&](const Instruction& other) { return other.address == target; });
    if (target == 0 || found == function.code.end()) {
      continue;
    }
    const Loop loop{static_cast<size_t>(found - function.code.begin()), i};
    const bool holds_another = std::any_of(loops.begin(), loops.end(), [&](const Loop& other) {
      return other.first >= loop.first && other.last <= loop.last;
    });
    if (!holds_another) {
      loops.push_back(loop);
    }
  }
  return loops;
}

/// A vector to or from the stack.
bool spills(const Instruction& instruction) {
  const bool on_stack = instruction.text.find("(%rsp") != std::string::npos ||
                        instruction.text.find("(%rbp") != std::string::npos;
  return on_stack && (instruction.text.find("%ymm") != std::string::npos ||
                      instruction.text.find("%zmm") != std::string::npos);
}

/// Objects of an instruction set's kernels but for the vector operations, which copy their last,
/// partial vector inside the loop.
std::vector<std::string> objects_of(const std::string& isa) {
  std::vector<std::string> objects;
  std::ifstream list(QUERN_OBJECT_LIST);
  for (std::string path; std::getline(list, path);) {
    const bool is_wanted = path.find("/vector.") == std::string::npos &&
                           path.find("kernels/" + isa + "/") != std::string::npos;
    if (is_wanted) objects.push_back(path);
  }
  return objects;
}

/// Objects of matrix products. Attention copies its last, partial vector inside the loop too.
std::vector<std::string> isa_objects() {
  std::vector<std::string> objects;
  for (const char* isa : {"avx2", "avxvnni", "avx512", "avx512vnni", "avx512amx", "neon"}) {
    for (std::string& path : objects_of(isa)) {
      if (path.find("/attention.") == std::string::npos) objects.push_back(std::move(path));
    }
  }
  return objects;
}

}  // namespace

TEST_CASE("no innermost loop of a matrix product calls a function") {
  std::vector<std::string> wrong;
  size_t n_loops = 0;
  for (const std::string& object : isa_objects()) {
    for (const Function& function : disassemble(object)) {
      for (const Loop& loop : innermost_loops(function)) {
        const auto begin = function.code.begin() + static_cast<std::ptrdiff_t>(loop.first);
        const auto end = function.code.begin() + static_cast<std::ptrdiff_t>(loop.last) + 1;
        if (!std::any_of(begin, end, multiplies)) {
          continue;
        }
        ++n_loops;
        const auto call = std::find_if(begin, end, calls);
        if (call != end) {
          wrong.push_back(function.object.substr(function.object.rfind('/') + 1) + ", " +
                          function.name + ": " + call->text);
        }
      }
    }
  }
  CHECK((n_loops > 0 || isa_objects().empty()));
  MESSAGE("loops that multiply: ", n_loops);
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("loops of many products keep their sums in registers") {
  constexpr std::ptrdiff_t kMany = 16;
  struct Bound {
    const char* isa;
    double vectors_per_product;  ///< Moved to and from the stack, at most.
  };
  // With 16 registers most AVX2 tiles of minima and halves spill, q6_k the most; with 32 only its
  // tile without VNNI does.
  for (const Bound& bound : {Bound{"avx2", 0.75}, Bound{"avxvnni", 0.75}, Bound{"avx512", 0.125},
                             Bound{"avx512vnni", 0.05}}) {
    std::vector<std::string> wrong;
    for (const std::string& object : objects_of(bound.isa)) {
      for (const Function& function : disassemble(object)) {
        // Polynomials of exp; packing, which keeps a row on the stack and turns what is there.
        if (function.name.find("::weigh") != std::string::npos) continue;
        if (function.name.find("::Pack<") != std::string::npos) continue;
        for (const Loop& loop : innermost_loops(function)) {
          const auto begin = function.code.begin() + static_cast<std::ptrdiff_t>(loop.first);
          const auto end = function.code.begin() + static_cast<std::ptrdiff_t>(loop.last) + 1;
          const auto products = std::count_if(begin, end, multiplies);
          const auto moved = std::count_if(begin, end, spills);
          const double most = bound.vectors_per_product * static_cast<double>(products);
          if (products < kMany || static_cast<double>(moved) <= most) continue;
          wrong.push_back(function.object.substr(function.object.rfind('/') + 1) + ", " +
                          function.name + ": " + std::to_string(moved) + " vectors for " +
                          std::to_string(products) + " products");
        }
      }
    }
    CAPTURE(bound.isa);
    CHECK_MESSAGE(wrong.empty(), joined(wrong));
  }
}

}  // namespace quern::structure

#endif
