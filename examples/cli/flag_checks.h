/// \file
/// Checks of flags' values, in words for people: CLI11's own name the largest double as an end.
#pragma once

#include <CLI/CLI.hpp>

namespace quern::cli {

/// A finite number above zero.
CLI::Validator above_zero();
/// A finite number from zero on.
CLI::Validator from_zero();
/// A number within two others; CLI::Range lets NaN pass.
CLI::Validator between(double low, double high);
/// The name of a file to write: "-", which is stdin elsewhere, is none.
CLI::Validator output_name();
/// A whole number that 64 bits hold; CLI11 takes the largest one for all that lie above.
CLI::Validator within_64_bits();

}  // namespace quern::cli
