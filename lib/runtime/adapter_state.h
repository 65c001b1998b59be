/// \file
/// What the handles of an adapter share, and the names by which a graph asks for its parts.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "formats/quern_file.h"
#include "quern/adapter.h"

namespace quern {

/// Immutable once built.
struct Adapter::State {
  explicit State(formats::QuernFile opened) : file(std::move(opened)) {}
  std::shared_ptr<const void> owner;  ///< Keeps the bytes of `file` alive.
  formats::QuernFile file;
  std::size_t pairs = 0, vectors = 0, scales = 0, matrices = 0;
};

namespace runtime {

/// Suffixes of the two matrices of a low-rank pair, behind the name of the matrix.
inline constexpr std::string_view kLoraA = ".lora_a", kLoraB = ".lora_b";

}  // namespace runtime
}  // namespace quern
