/// \file
/// MODEL as the library can open it: "-" is stdin.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "quern/result.h"

namespace quern::cli {

/// \return `named`, or for "-" a path by which stdin can be opened as a file: itself where it is
/// one, otherwise a copy without a name that vanishes with the program. Errors: kIo.
Result<std::string> model_path(const std::string& named);

/// \return whether a file is a MODEL that `model_path` was asked for, under whatever name.
bool is_model_in_use(const std::string& path);

/// What the command line calls a path: "stdin" for that of `model_path("-")`, anything else as it
/// is.
std::string shown_path(const std::string& path);

/// \return whether more than one of these inputs is stdin, which can be read only once.
bool stdin_twice(std::initializer_list<std::string_view> inputs);

}  // namespace quern::cli
