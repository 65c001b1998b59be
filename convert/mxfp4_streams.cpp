#include "convert/mxfp4_streams.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "formats/byte_reader.h"

namespace quern::convert {
namespace {

constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";
constexpr std::size_t kBlockCodes = 32, kCodeBytes = 16;

bool is_bytes(const SourceTensor& tensor) { return tensor.encoding == Encoding::kU8; }

Result<SourceTensor> join(const std::string& path, const SourceTensor& blocks,
                          const SourceTensor& scales) {
  std::vector<std::uint64_t> want = scales.shape;
  want.push_back(kCodeBytes);
  if (scales.shape.size() < 2 || blocks.shape != want || !is_bytes(scales)) {
    return Error(ErrorCode::kMismatch, "the blocks and the scales of an MXFP4 tensor do not fit")
        .in_file(path)
        .of(formats::quote(blocks.name))
        .want("uint8 blocks of 16 bytes for each scale of " + formats::quote(scales.name));
  }
  SourceTensor joined;
  joined.name = blocks.name.substr(0, blocks.name.size() - kBlocks.size());
  joined.shape = scales.shape;
  joined.shape.back() *= kBlockCodes;  // A size in bytes was counted before: no overflow.
  joined.type_name = "MXFP4";
  joined.encoding = Encoding::kMXFP4;
  joined.data = blocks.data;
  joined.scales = scales.data;
  return joined;
}

}  // namespace

Status join_mxfp4_streams(const std::string& path, std::vector<SourceTensor>& tensors) {
  std::map<std::string, const SourceTensor*, std::less<>> by_name;
  for (const SourceTensor& tensor : tensors) by_name[tensor.name] = &tensor;
  std::vector<SourceTensor> out;
  for (const SourceTensor& tensor : tensors) {
    if (!is_bytes(tensor)) {
      out.push_back(tensor);
    } else if (tensor.name.ends_with(kBlocks)) {
      const std::string stem = tensor.name.substr(0, tensor.name.size() - kBlocks.size());
      const auto scales = by_name.find(stem + std::string(kScales));
      if (scales == by_name.end()) {
        return Error(ErrorCode::kMissing, "the blocks of an MXFP4 tensor have no scales")
            .in_file(path)
            .of(formats::quote(tensor.name))
            .want(formats::quote(stem + std::string(kScales)));
      }
      QUERN_TRY(joined, join(path, tensor, *scales->second));
      out.push_back(std::move(joined));
    } else if (!tensor.name.ends_with(kScales) ||
               by_name.count(tensor.name.substr(0, tensor.name.size() - kScales.size()) +
                             std::string(kBlocks)) == 0) {
      out.push_back(tensor);
    }
  }
  tensors = std::move(out);
  return {};
}

void join_mxfp4_row(std::span<const std::byte> codes, std::span<const std::byte> scales,
                    std::int64_t row, std::int64_t cols, std::byte* out) {
  const std::size_t blocks = static_cast<std::size_t>(cols) / kBlockCodes;
  for (std::size_t b = 0; b < blocks; ++b, out += 1 + kCodeBytes) {
    const std::size_t at = static_cast<std::size_t>(row) * blocks + b;
    const std::byte* pairs = codes.data() + at * kCodeBytes;
    // Code i lies in nibble i % 2 of byte i / 2; GGUF keeps codes 0 … 15 in the lower nibbles.
    const auto code = [&](std::size_t i) {
      return i % 2 == 0 ? pairs[i / 2] & std::byte{15} : pairs[i / 2] >> 4;
    };
    out[0] = scales[at];
    for (std::size_t i = 0; i < kCodeBytes; ++i) out[1 + i] = code(i) | code(i + kCodeBytes) << 4;
  }
}

}  // namespace quern::convert
