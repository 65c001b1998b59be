// Libraries that are loaded at run time.
#include "base/shared_library.h"

#include <doctest/doctest.h>

namespace quern::base {
namespace {

TEST_CASE("a function of a library is found and runs") {
  const auto library = SharedLibrary::open("libm.so.6", "the C library", "math");
  REQUIRE(library.ok());
  double (*root)(double) = nullptr;
  REQUIRE(library->find("cbrt", root).ok());
  CHECK(root(27.0) == doctest::Approx(3.0));
  CHECK((library->find<double(double)>("cbrt") == root));
}

TEST_CASE("a library or a function that is not there is a typed error") {
  const auto absent = SharedLibrary::open("libquern-none.so.9", "The thing", "part");
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().code == ErrorCode::kMissing);
  CHECK(absent.error().describe().find("The thing is not installed") != std::string::npos);
  CHECK(absent.error().describe().find("libquern-none.so.9") != std::string::npos);

  const auto library = SharedLibrary::open("libm.so.6", "the C library", "math");
  REQUIRE(library.ok());
  double (*none)(double) = nullptr;
  const Status status = library->find("quern_no_such_function", none);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == ErrorCode::kUnsupported);
  CHECK(status.error().field == "quern_no_such_function");
  CHECK((none == nullptr));
}

}  // namespace
}  // namespace quern::base
