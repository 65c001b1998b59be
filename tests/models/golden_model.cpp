#include "golden_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "formats/json.h"
#include "quant/registry.h"

namespace quern::test {
namespace {

float read_float(const formats::SafeTensor& tensor, std::size_t index) {
  if (tensor.dtype_name == "BF16") {
    std::uint16_t bits;
    std::memcpy(&bits, tensor.data.data() + 2 * index, 2);
    return quant::bf16_to_f32(bits);
  }
  float value;
  std::memcpy(&value, tensor.data.data() + 4 * index, 4);
  return value;
}

/// One tensor of the canonical table as the safetensors file has it: which file tensor each part
/// lies in, and where in it an element is.
class GoldenTensor {
 public:
  GoldenTensor(const formats::SafetensorsFile& file, const models::ExpectedTensor& expected)
      : expected_(expected), vector_(expected.rule->role == models::Role::kVector) {
    for (std::int64_t part = 0; part < expected.count; ++part) {
      for (std::string name : expected.hf_names) {
        const std::size_t at = name.find("{e}");
        stacked_ = at == std::string::npos;
        if (!stacked_) name.replace(at, 3, std::to_string(part));
        for (const char* prefix : {"", "model.", "transformer.", "gpt_neox.", "model.decoder.",
                                   "backbone.", "model.language_model."}) {
          const formats::SafeTensor* found = file.find(prefix + name);
          if (found != nullptr && parts_.size() == static_cast<std::size_t>(part))
            parts_.push_back(found);
        }
      }
    }
  }

  bool found() const { return parts_.size() == static_cast<std::size_t>(expected_.count); }
  Encoding encoding() const { return *parts_.front()->dtype->encoding; }
  std::uint64_t rows() const {
    return static_cast<std::uint64_t>(vector_ ? expected_.cols : expected_.rows);
  }
  std::uint64_t cols() const { return static_cast<std::uint64_t>(vector_ ? 1 : expected_.cols); }

  float at(std::uint64_t part, std::uint64_t row, std::uint64_t col) const {
    const auto& slice = expected_.hf_rows;
    const auto from = static_cast<std::uint64_t>(slice.source(static_cast<std::int64_t>(row)));
    const std::uint64_t total = slice.whole() ? rows() : static_cast<std::uint64_t>(slice.total);
    const bool transposed = expected_.rule->hf_transform == models::Transform::kTranspose;
    const std::uint64_t place = transposed ? col * total + from : from * cols() + col;
    const float plus = expected_.rule->hf_transform == models::Transform::kAddOne ? 1.0F : 0.0F;
    const float value =
        read_float(*parts_[part], (stacked_ ? part * total * cols() : 0) + place) + plus;
    const bool log = expected_.rule->hf_transform == models::Transform::kNegExp;
    return log ? -std::exp(value) : value;
  }

 private:
  const models::ExpectedTensor& expected_;
  bool vector_, stacked_ = true;
  std::vector<const formats::SafeTensor*> parts_;
};

}  // namespace

Result<quant::TensorView> GoldenModel::load_tensor(const formats::SafetensorsFile& file,
                                                   const models::ExpectedTensor& expected,
                                                   Encoding encoding) {
  const GoldenTensor source(file, expected);
  if (!source.found()) {
    if (expected.optional) return quant::TensorView{};
    return Error(ErrorCode::kMissing, "a tensor is missing").of(expected.name);
  }
  const bool vector = expected.rule->role == models::Role::kVector;
  const bool exact = expected.rule->role == models::Role::kExact;
  if (encoding == kKeep || vector || exact) encoding = vector ? Encoding::kF32 : source.encoding();
  const EncodingInfo& info = *find_encoding(encoding);
  const std::uint64_t rows = source.rows(), cols = source.cols();
  const auto parts = static_cast<std::uint64_t>(expected.count);
  quant::TensorView view{encoding,
                         vector ? Layout::kPlain : Layout::kPanel16,
                         vector ? 1 : expected.count,
                         expected.rows,
                         vector ? expected.cols * expected.count : expected.cols,
                         nullptr};
  const std::uint64_t bytes =
      vector ? rows * sizeof(float) : *tensor_bytes(info, Layout::kPanel16, rows, cols);
  Storage& storage = storage_->emplace_back((parts * bytes + 63) / 64);
  auto* out = reinterpret_cast<std::byte*>(storage.data());
  view.data = out;
  std::vector<float> rows16(16 * cols);
  for (std::uint64_t part = 0; part < parts; ++part) {
    for (std::uint64_t first = 0; first < rows; first += 16) {
      std::fill(rows16.begin(), rows16.end(), 0.0F);
      const std::uint64_t n = std::min<std::uint64_t>(16, rows - first);
      for (std::uint64_t i = 0; i < n * cols; ++i)
        rows16[i] = source.at(part, first + i / cols, i % cols);
      if (vector) {
        std::memcpy(out + part * bytes + first * sizeof(float), rows16.data(), n * sizeof(float));
      } else {
        quant::find_ops(encoding)->quantize_panel(
            rows16.data(), view.cols, {},
            out + part * bytes + first / 16 * *panel_bytes(info, cols));
      }
    }
  }
  return view;
}

Result<GoldenModel> GoldenModel::load(const std::string& directory, const std::string& config_file,
                                      Encoding encoding) {
  QUERN_TRY(json, formats::read_json_file(directory + "/" + config_file));
  QUERN_TRY(source, formats::flatten_json(json, config_file));
  const ConfigList classes = source.list("architectures");
  const auto* name = classes.empty() ? nullptr : std::get_if<std::string>(&classes.front());
  const models::Architecture* architecture =
      name == nullptr ? nullptr : models::find_by_hf_class(*name);
  if (architecture == nullptr) return Error(ErrorCode::kUnsupported, "unknown class").of(directory);
  QUERN_TRY(file, formats::SafetensorsFile::open(directory + "/model.safetensors"));

  GoldenModel model;
  QUERN_TRY(config, architecture->read_config(source, models::SourceKind::kHuggingFace));
  model.config_ = std::move(config);
  QUERN_TRY(expected, models::expected_tensors(*architecture, model.config_));
  const auto lookup = [&](std::string_view wanted, bool optional) -> Result<quant::TensorView> {
    const auto it = std::find_if(expected.begin(), expected.end(),
                                 [&](const models::ExpectedTensor& e) { return e.name == wanted; });
    if (it == expected.end() && optional) return quant::TensorView{};  // This model has none.
    if (it == expected.end()) return Error(ErrorCode::kInternal, "no rule").of(std::string(wanted));
    return model.load_tensor(file, *it, encoding);
  };
  QUERN_TRY(graph, architecture->build(model.config_, lookup));
  model.graph_ = std::make_shared<const graph::Graph>(std::move(graph));
  if (architecture->build_source != nullptr) {
    QUERN_TRY(source_graph, architecture->build_source(model.config_, lookup));
    model.source_graph_ = std::make_shared<const graph::Graph>(std::move(source_graph));
  }
  return model;
}

Result<Runner> Runner::create(const GoldenModel& model, const Options& options) {
  QUERN_TRY(backend, backends::find_backend(options.backend));
  return create(model, options, *backend);
}

Result<Runner> Runner::create(const GoldenModel& model, const Options& options,
                              const backends::Backend& backend) {
  QUERN_TRY(executor, make_executor(options.threads));
  backends::CompileOptions compile;
  compile.max_rows = compile.max_outputs = options.max_rows;
  compile.max_positions = options.capacity;
  compile.kv = options.kv;
  compile.executor = std::move(executor);
  Runner runner;
  QUERN_TRY(program, backend.compile(model.graph(), compile));
  runner.program_ = std::move(program);
  QUERN_TRY(state, runner.program_->new_sequence({options.capacity}));
  runner.state_ = std::move(state);
  return runner;
}

Result<std::vector<float>> Runner::step(const std::vector<std::int32_t>& ids, std::int64_t chunk) {
  std::vector<float> logits;
  const std::int64_t length = position_ + static_cast<std::int64_t>(ids.size());
  for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(chunk)) {
    const std::size_t n = std::min(ids.size() - first, static_cast<std::size_t>(chunk));
    std::vector<std::int64_t> positions(n);
    std::vector<std::int32_t> rows(n);
    for (std::size_t i = 0; i < n; ++i) {
      positions[i] = position_++;
      rows[i] = static_cast<std::int32_t>(i);
    }
    const std::vector<backends::SequenceState*> sequences(n, state_.get());
    const std::vector<std::int64_t> lengths(n, length);
    QUERN_CHECK(program_->run({{ids.data() + first, n}, positions, sequences, rows, lengths}));
    const auto out = program_->output("logits");
    logits.insert(logits.end(), out.begin(), out.end());
  }
  return logits;
}

std::vector<std::string> goldens(const std::set<std::string>& kinds) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(QUERN_GOLDENS_DIR) + "/models", error)) {
    const auto golden = formats::read_json_file(entry.path() / "golden.json");
    if (!golden.ok() || kinds.count(std::string((*golden)["kind"].string())) == 0) continue;
    if (models::find_by_hf_class((*golden)["model_class"].string()) == nullptr) continue;
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::int32_t> golden_ids(const formats::SafetensorsFile& file,
                                     const std::string& name) {
  const formats::SafeTensor* tensor = file.find(name);
  std::vector<std::int32_t> ids(tensor == nullptr ? 0 : tensor->data.size() / 8);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::int64_t value;
    std::memcpy(&value, tensor->data.data() + 8 * i, 8);
    ids[i] = static_cast<std::int32_t>(value);
  }
  return ids;
}

std::vector<float> golden_floats(const formats::SafetensorsFile& file, const std::string& name) {
  const formats::SafeTensor* tensor = file.find(name);
  std::vector<float> values(tensor == nullptr ? 0 : tensor->data.size() / 4);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = read_float(*tensor, i);
  return values;
}

}  // namespace quern::test
