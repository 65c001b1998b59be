// How long functions are: 80 lines at most, a kernel 120 (DESIGN.md section 7).
#include <doctest/doctest.h>
#include <string>

#include "structure/source_tree.h"

namespace quern::structure {
namespace {

/// Walks braces. A brace whose head names arguments opens a function; one of a namespace, a type or
/// a table is transparent.
class FunctionFinder {
 public:
  explicit FunctionFinder(const SourceFile& file) : file_(file) {
    bool is_continued_directive = false;
    for (line_ = 0; line_ < file.code.size(); ++line_) {
      const std::string& line = file.code[line_];
      const size_t first = line.find_first_not_of(' ');
      const bool is_directive =
          is_continued_directive || (first != std::string::npos && line[first] == '#');
      is_continued_directive = is_directive && !line.empty() && line.back() == '\\';
      for (const char c : is_directive ? std::string() : line + "\n") {
        take(c);
      }
    }
  }

  const std::vector<std::string>& too_long() const { return too_long_; }
  size_t n_functions() const { return n_functions_; }

 private:
  void take(char c) {
    if (c == '{') {
      open();
    } else if (c == '}') {
      close();
    } else if (c == ';' && depth_in_function_ == 0) {
      head_.clear();
    } else if (depth_in_function_ == 0) {
      if (head_.empty() && c != ' ' && c != '\n') {
        head_line_ = line_;
      }
      head_ += head_.empty() && (c == ' ' || c == '\n') ? "" : std::string(1, c);
    }
  }

  void open() {
    if (depth_in_function_ > 0) {
      ++depth_in_function_;
      return;
    }
    const size_t parenthesis = head_.find('(');
    const size_t equals = head_.find('=');
    const bool is_named =
        head_.rfind("template", 0) == 0 || head_.find("operator") != std::string::npos;
    const bool is_value = equals < parenthesis && !is_named;
    const bool is_attribute = head_.find("alignas(") != std::string::npos;
    if (parenthesis != std::string::npos && !is_value && !is_attribute) {
      depth_in_function_ = 1;
      start_ = head_line_;
    }
    head_.clear();
  }

  void close() {
    head_.clear();
    if (depth_in_function_ > 0 && --depth_in_function_ == 0) {
      ++n_functions_;
      const size_t n_lines = line_ - start_ + 1;
      const bool is_kernel =
          file_.is_under("lib/kernels") || file_.is_under("lib/backends/cuda/kernels");
      const size_t limit = is_kernel ? 120 : 80;
      if (n_lines > limit) {
        too_long_.push_back(at(
            file_, start_, std::to_string(n_lines) + " lines, at most " + std::to_string(limit)));
      }
    }
  }

  const SourceFile& file_;
  std::string head_;
  size_t line_ = 0;
  size_t head_line_ = 0;
  size_t start_ = 0;
  int depth_in_function_ = 0;
  size_t n_functions_ = 0;
  std::vector<std::string> too_long_;
};

}  // namespace

TEST_CASE("the finder sees functions inside namespaces and types, and only them") {
  SourceFile file;
  file.path = "lib/base/sample.cpp";
  file.code = {"namespace a {",
               "class B {",
               "  int f() {",
               "    if (x) { y(); }",
               "  }",
               "};",
               "const T kT = {{1}};",
               "struct C* g(int z) {",
               "}",
               "#define M() {",
               "}"};
  file.lines = file.code;
  CHECK(FunctionFinder(file).n_functions() == 2);
  CHECK(FunctionFinder(file).too_long().empty());
  file.code.insert(file.code.begin() + 3, 90, "    work();");
  REQUIRE(FunctionFinder(file).too_long().size() == 1);
  CHECK(FunctionFinder(file).too_long()[0].rfind("lib/base/sample.cpp:3: 93 lines", 0) == 0);
}

TEST_CASE("no function is longer than the house style allows") {
  std::vector<std::string> wrong;
  size_t n_functions = 0;
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp() || file.is_under("tests")) {
      continue;
    }
    const FunctionFinder finder(file);
    n_functions += finder.n_functions();
    wrong.insert(wrong.end(), finder.too_long().begin(), finder.too_long().end());
  }
  CHECK(n_functions > 0);
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

}  // namespace quern::structure
