/// \file
/// The error for an encoding that the CPU's kernels lack.
#pragma once

#include <string>

#include "graph/graph.h"

namespace quern::backends::cpu {

inline Error unsupported_encoding(const char* op, const graph::Weight& weight) {
  const EncodingInfo* info = find_encoding(weight.view.encoding);
  return Error(ErrorCode::kUnsupported, "the cpu backend lacks a kernel for an encoding")
      .of(weight.name + " [" + std::to_string(weight.view.rows) + ", " +
          std::to_string(weight.view.cols) + "], op " + op)
      .got(info != nullptr ? std::string(info->name)
                           : std::to_string(static_cast<int>(weight.view.encoding)));
}

}  // namespace quern::backends::cpu
