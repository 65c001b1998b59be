#include "flag_checks.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string>

namespace quern::cli {
namespace {

/// Whether the text is a number that can be reckoned with. \return it, or NaN.
double finite_number(const std::string& text) {
  double value = 0;
  const bool is_number = CLI::detail::lexical_cast(text, value) && std::isfinite(value);
  return is_number ? value : std::nan("");
}

}  // namespace

CLI::Validator above_zero() {
  const auto check = [](const std::string& text) {
    return finite_number(text) > 0 ? std::string() : "'" + text + "' is no number above 0";
  };
  return CLI::Validator(check, "POSITIVE");
}

CLI::Validator from_zero() {
  const auto check = [](const std::string& text) {
    return finite_number(text) >= 0 ? std::string() : "'" + text + "' is no number from 0 on";
  };
  return CLI::Validator(check, "NONNEGATIVE");
}

CLI::Validator within_64_bits() {
  const auto check = [](const std::string& text) {
    errno = 0;
    std::strtoull(text.c_str(), nullptr, 0);  // What is no number, CLI11 refuses itself.
    return errno != ERANGE ? std::string() : "'" + text + "' does not fit 64 bits";
  };
  return CLI::Validator(check, "64 BITS");
}

}  // namespace quern::cli
