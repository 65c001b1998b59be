#include "formats/gguf_types.h"

#include "quern/checked.h"

namespace quern::formats {
namespace {

struct ValueType {
  std::string_view name;
  std::uint64_t bytes;
};

// By id; strings and arrays have no fixed size.
constexpr ValueType kValueTypes[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};

constexpr std::nullopt_t kNone = std::nullopt;

// Ids 4, 5, 31-33 and 36-38 were withdrawn by ggml; newer ids are refused by name of the number.
constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4, Encoding::kF32},
    {1, "F16", 1, 2, Encoding::kF16},
    {2, "Q4_0", 32, 18, Encoding::kQ4_0},
    {3, "Q4_1", 32, 20, Encoding::kQ4_1},
    {6, "Q5_0", 32, 22, Encoding::kQ5_0},
    {7, "Q5_1", 32, 24, Encoding::kQ5_1},
    {8, "Q8_0", 32, 34, Encoding::kQ8_0},
    {9, "Q8_1", 32, 36, kNone},
    {10, "Q2_K", 256, 84, Encoding::kQ2_K},
    {11, "Q3_K", 256, 110, Encoding::kQ3_K},
    {12, "Q4_K", 256, 144, Encoding::kQ4_K},
    {13, "Q5_K", 256, 176, Encoding::kQ5_K},
    {14, "Q6_K", 256, 210, Encoding::kQ6_K},
    {15, "Q8_K", 256, 292, kNone},
    {16, "IQ2_XXS", 256, 66, kNone},
    {17, "IQ2_XS", 256, 74, kNone},
    {18, "IQ3_XXS", 256, 98, kNone},
    {19, "IQ1_S", 256, 50, kNone},
    {20, "IQ4_NL", 32, 18, Encoding::kIQ4_NL},
    {21, "IQ3_S", 256, 110, kNone},
    {22, "IQ2_S", 256, 82, kNone},
    {23, "IQ4_XS", 256, 136, Encoding::kIQ4_XS},
    {24, "I8", 1, 1, kNone},
    {25, "I16", 1, 2, kNone},
    {26, "I32", 1, 4, Encoding::kI32},
    {27, "I64", 1, 8, Encoding::kI64},
    {28, "F64", 1, 8, kNone},
    {29, "IQ1_M", 256, 56, kNone},
    {30, "BF16", 1, 2, Encoding::kBF16},
    {34, "TQ1_0", 256, 54, kNone},
    {35, "TQ2_0", 256, 66, kNone},
    {39, "MXFP4", 32, 17, Encoding::kMXFP4},
};

}  // namespace

std::uint64_t gguf_type_bytes(GgufType type) noexcept {
  const auto id = static_cast<std::uint32_t>(type);
  return id < std::size(kValueTypes) ? kValueTypes[id].bytes : 0;
}

std::string_view gguf_type_name(GgufType type) noexcept {
  const auto id = static_cast<std::uint32_t>(type);
  return id < std::size(kValueTypes) ? kValueTypes[id].name : "?";
}

std::span<const GgmlType> ggml_types() noexcept { return kTypes; }

const GgmlType* find_ggml_type(std::uint32_t id) noexcept {
  for (const GgmlType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

const GgmlType* ggml_type_of(Encoding encoding) noexcept {
  for (const GgmlType& type : kTypes) {
    if (type.encoding == encoding) return &type;
  }
  return nullptr;
}

std::optional<std::uint64_t> ggml_tensor_bytes(const GgmlType& type,
                                               std::span<const std::uint64_t> ne) noexcept {
  if (ne.empty() || ne[0] % type.block_elements != 0) return std::nullopt;
  std::optional<std::uint64_t> bytes =
      checked_mul<std::uint64_t>(ne[0] / type.block_elements, type.block_bytes);
  for (std::size_t i = 1; i < ne.size() && bytes; ++i) bytes = checked_mul(*bytes, ne[i]);
  return bytes && *bytes != 0 ? bytes : std::nullopt;
}

}  // namespace quern::formats
