// Foreign adapters converted into memory, so that the core knows one form.
#include <algorithm>
#include <array>
#include <filesystem>

#include "base/guard.h"
#include "convert/adapter_maker.h"
#include "convert/adapter_source.h"
#include "convert/convert.h"
#include "formats/atomic_file.h"
#include "formats/quern_writer.h"
#include "quant/registry.h"

namespace quern::convert {
namespace {

/// The tensor's bytes in the container.
std::vector<std::byte> packed(const AdapterTensor& tensor) {
  const auto* values = reinterpret_cast<const std::byte*>(tensor.values.data());
  if (!tensor.is_matrix) return {values, values + tensor.values.size() * sizeof(float)};
  const EncodingInfo& info = *find_encoding(Encoding::kF32);
  const std::uint64_t stride =
      panel_bytes(info, static_cast<std::uint64_t>(tensor.cols)).value_or(0);
  const std::int64_t panels = (tensor.rows + quant::kPanelRows - 1) / quant::kPanelRows;
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.count * panels) * stride);
  for (std::int64_t panel = 0; panel < tensor.count * panels; ++panel) {
    const std::byte* rows[quant::kPanelRows] = {};
    const std::int64_t first = panel / panels * tensor.rows;
    for (std::int64_t r = 0; r < quant::kPanelRows; ++r) {
      const std::int64_t row = panel % panels * quant::kPanelRows + r;
      if (row < tensor.rows) {
        rows[r] = values + static_cast<std::size_t>((first + row) * tensor.cols) * sizeof(float);
      }
    }
    quant::find_ops(Encoding::kF32)
        ->interleave_panel(rows, tensor.cols,
                           bytes.data() + static_cast<std::uint64_t>(panel) * stride);
  }
  return bytes;
}

Result<formats::MemoryImage> write_container(const std::vector<AdapterTensor>& tensors,
                                             const AdapterSource& source) {
  formats::Json config = formats::Json::object();
  config["adapter"] = std::string(source.kind());
  config["architecture"] = std::string(source.architecture()->name);
  formats::MemorySink sink(source.path());
  QUERN_TRY(writer, formats::QuernWriter::to_sink(sink, formats::dump_json(config)));
  for (const AdapterTensor& tensor : tensors) {
    std::vector<std::uint64_t> dims;
    if (tensor.count > 1) dims.push_back(static_cast<std::uint64_t>(tensor.count));
    if (tensor.is_matrix) dims.push_back(static_cast<std::uint64_t>(tensor.rows));
    dims.push_back(static_cast<std::uint64_t>(tensor.cols));
    QUERN_CHECK(writer.declare_tensor(tensor.name, Encoding::kF32,
                                      tensor.is_matrix ? Layout::kPanel16 : Layout::kPlain, dims));
  }
  QUERN_CHECK(writer.begin());
  for (const AdapterTensor& tensor : tensors) QUERN_CHECK(writer.write(packed(tensor)));
  QUERN_CHECK(writer.finish());
  return std::move(sink).take();
}

Result<formats::MemoryImage> make_container(const std::string& path, const Model& base) {
  QUERN_TRY(source, open_adapter_source(path, base));
  QUERN_TRY(tensors, make_adapter_tensors(*source, base));
  return write_container(tensors, *source);
}

bool is_container(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) return false;
  const auto format = sniff_source(path);
  return format.ok() && *format == SourceFormat::kQuern;
}

}  // namespace

Result<Adapter> open_adapter(const std::string& path, const Model& base) {
  return base::guarded([&]() -> Result<Adapter> {
    if (is_container(path)) {
      QUERN_TRY(adapter, Adapter::open(path));
      QUERN_TRY(fits, with_adapters(base, std::array{AdapterUse{adapter}}));
      static_cast<void>(fits);
      return adapter;
    }
    QUERN_TRY(image, make_container(path, base));
    auto owner = std::make_shared<formats::MemoryImage>(std::move(image));
    const std::span<const std::byte> bytes = std::as_const(*owner).bytes();
    return Adapter::from_memory(std::move(owner), bytes, path);
  });
}

Status convert_adapter(const std::string& path, const Model& base, const std::string& output) {
  return base::guarded([&]() -> Status {
    if (formats::same_file(path, output) || formats::same_file(base.path(), output))
      return Error(ErrorCode::kInvalidArgument, "the output is the input, which is never touched")
          .in_file(output)
          .of("output")
          .want("another file");
    QUERN_TRY(image, make_container(path, base));
    return formats::write_file_atomically(output, std::as_const(image).bytes());
  });
}

}  // namespace quern::convert
