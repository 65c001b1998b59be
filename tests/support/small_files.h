/// \file
/// Small valid files of each format, for tests that break them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/byte_builder.h"

namespace quern::testing {

/// A GGUF v3 file with every metadata type, arrays of several, and three tensors (F32, Q4_0, F16).
/// `data_offset`, `data_end`: where the tensor data begin and end.
struct SmallGguf {
  ByteBuilder front;
  std::string bytes;
  std::size_t data_offset = 0, data_end = 0;
};
SmallGguf small_gguf();

/// A GGUF file around given entries and tensor records (already encoded), for hostile cases.
std::string gguf_with(std::uint64_t n_tensors, std::uint64_t n_kv, std::string_view body);

/// A safetensors file with a given header, padded data.
std::string safetensors_with(std::string_view header, std::size_t data_bytes);
/// Two tensors and metadata.
std::string small_safetensors_header();
inline constexpr std::size_t kSmallSafetensorsData = 28;

/// A .quern file with all sections and three tensors, written by QuernWriter; `late` adds the
/// report and the self-test behind the data.
std::string small_quern(bool late = true);

/// Recomputes every checksum of the front, the index and the tail's slots of a mutated .quern file,
/// so that what lies behind the checksums is tested. Never reads outside `bytes`.
std::string reseal_quern(std::string bytes);

}  // namespace quern::testing
