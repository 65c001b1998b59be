#include "flag_checks.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
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

CLI::Validator between(double low, double high) {
  char range[64];
  std::snprintf(range, sizeof(range), "[%g - %g]", low, high);
  const auto check = [low, high, words = std::string(range)](const std::string& text) {
    const double value = finite_number(text);
    return value >= low && value <= high ? std::string()
                                         : "'" + text + "' is no number in " + words;
  };
  return CLI::Validator(check, range);
}

CLI::Validator output_name() {
  const auto check = [](const std::string& text) {
    return text != "-" ? std::string()
                       : std::string("a file is written, not stdout: name one (./- is named -)");
  };
  return CLI::Validator(check, "");
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
