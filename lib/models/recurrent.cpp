#include "models/recurrent.h"

#include <algorithm>

#include "models/config_io.h"
#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::string_view kInner = "ssm.heads*ssm.head_dim";
constexpr std::string_view kGroups = "ssm.groups*ssm.state_dim";
constexpr std::string_view kAll = "2*ssm.heads*ssm.head_dim+2*ssm.groups*ssm.state_dim+ssm.heads";

/// One fifth of the input projection: its name, its rows, and where they begin.
struct Part {
  std::string_view name, bias, rows, first;
};
constexpr Part kParts[] = {
    {"layers.{}.ssm_z", "layers.{}.ssm_z.bias", kInner, ""},
    {"layers.{}.ssm_x", "layers.{}.ssm_x.bias", kInner, kInner},
    {"layers.{}.ssm_b", "layers.{}.ssm_b.bias", kGroups, "2*ssm.heads*ssm.head_dim"},
    {"layers.{}.ssm_c", "layers.{}.ssm_c.bias", kGroups,
     "2*ssm.heads*ssm.head_dim+ssm.groups*ssm.state_dim"},
    {"layers.{}.ssm_dt", "layers.{}.ssm_dt.bias", "ssm.heads",
     "2*ssm.heads*ssm.head_dim+2*ssm.groups*ssm.state_dim"},
};

/// A third of the convolution: kernels and biases of its columns.
struct Convolution {
  std::string_view name, bias, kernels, kernels_first, columns, columns_first;
};
constexpr Convolution kConvolutions[] = {
    {"layers.{}.ssm_conv_x", "layers.{}.ssm_conv_x.bias", "ssm.heads*ssm.head_dim*ssm.kernel", "",
     kInner, ""},
    {"layers.{}.ssm_conv_b", "layers.{}.ssm_conv_b.bias", "ssm.groups*ssm.state_dim*ssm.kernel",
     "ssm.heads*ssm.head_dim*ssm.kernel", kGroups, kInner},
    {"layers.{}.ssm_conv_c", "layers.{}.ssm_conv_c.bias", "ssm.groups*ssm.state_dim*ssm.kernel",
     "ssm.heads*ssm.head_dim*ssm.kernel+ssm.groups*ssm.state_dim*ssm.kernel", kGroups,
     "ssm.heads*ssm.head_dim+ssm.groups*ssm.state_dim"},
};
constexpr std::string_view kColumns = "ssm.heads*ssm.head_dim+2*ssm.groups*ssm.state_dim";
constexpr std::string_view kKernels =
    "ssm.heads*ssm.head_dim*ssm.kernel+2*ssm.groups*ssm.state_dim*ssm.kernel";

}  // namespace

Result<Mamba2Dims> Mamba2Dims::read(const Config& config) {
  Mamba2Dims dims{};
  for (const auto& [key, to] :
       {std::pair("ssm.heads", &dims.heads), std::pair("ssm.head_dim", &dims.head_dim),
        std::pair("ssm.state_dim", &dims.state_dim), std::pair("ssm.groups", &dims.groups),
        std::pair("ssm.kernel", &dims.kernel)}) {
    QUERN_TRY(value, config.integer(key));
    if (value < 1 || value > kMaxWidth)
      return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range").of(key);
    *to = value;
  }
  QUERN_TRY(eps, config.number("norm_eps"));
  QUERN_TRY(dt_min, config.number_or("ssm.dt_min", 0.0));
  QUERN_TRY(dt_max, config.number_or("ssm.dt_max", 0.0));
  QUERN_TRY(word, config.string("activation"));
  QUERN_TRY(activation, parse_activation(word));
  dims.norm_eps = static_cast<float>(eps);
  dims.dt_min = static_cast<float>(dt_min);
  dims.dt_max = static_cast<float>(dt_max);
  dims.activation = activation;
  return dims;
}

Status read_time_step_limit(const Config& source, Config& config) {
  const ConfigList limits = source.list("time_step_limit");
  if (limits.size() < 2) return {};  // From zero to infinity.
  const auto number = [](const ConfigValue& value) {
    const auto* real = std::get_if<double>(&value);
    const auto* whole = std::get_if<std::int64_t>(&value);
    return real != nullptr ? *real : whole != nullptr ? static_cast<double>(*whole) : -1.0;
  };
  constexpr double kLargest = 3e38;  // Stands for infinity.
  const double low = number(limits[0]), high = std::min(number(limits[1]), kLargest);
  if (!(low >= 0 && high > low)) {
    return Error(ErrorCode::kOutOfRange, "the limits of the time step do not fit together")
        .of("time_step_limit");
  }
  if (low == 0 && high == kLargest) return {};
  config.set("ssm.dt_min", low);
  config.set("ssm.dt_max", high);
  return {};
}

graph::ValueId mamba2_block(graph::GraphBuilder& g, const Mamba2Dims& dims, std::int64_t layer,
                            graph::ValueId h, graph::ValueId residual) {
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const std::int64_t inner = dims.heads * dims.head_dim, wide = dims.groups * dims.state_dim;
  const auto project = [&](std::string_view part, std::int64_t rows) {
    return g.linear(h, g.matrix(name(part), rows, g.cols(h)), part,
                    g.vector(name(part) + ".bias", rows, true));
  };
  const auto convolve = [&](graph::ValueId x, std::string_view part) {
    graph::CausalConvOp op{x, g.vector(name(part), g.cols(x) * dims.kernel)};
    op.bias = g.vector(name(part) + ".bias", g.cols(x), true);
    op.kernel = dims.kernel;
    return g.activation(g.causal_conv(op, part), dims.activation, part);
  };
  const graph::ValueId z = project("ssm_z", inner);
  graph::ScanOp scan{};
  scan.x = convolve(project("ssm_x", inner), "ssm_conv_x");
  scan.b = convolve(project("ssm_b", wide), "ssm_conv_b");
  scan.c = convolve(project("ssm_c", wide), "ssm_conv_c");
  scan.dt = project("ssm_dt", dims.heads);
  scan.a = g.vector(name("ssm_a"), dims.heads);
  scan.skip = g.vector(name("ssm_skip"), dims.heads);
  scan.dt_bias = g.vector(name("ssm_dt_bias"), dims.heads);
  scan.head_dim = dims.head_dim;
  scan.groups = dims.groups;
  scan.dt_min = dims.dt_min;
  scan.dt_max = dims.dt_max;
  graph::ValueId y = g.scan(scan, "scan");
  y = g.glu(z, y, graph::Activation::kSilu, "gated");
  y = g.rms_norm_heads(y, g.vector(name("ssm_norm"), inner), dims.norm_eps, inner / dims.groups,
                       "ssm_norm");
  const graph::WeightId out = g.matrix(name("ssm_out"), g.cols(h), inner);
  return g.linear(y, out, "ssm_out", g.vector(name("ssm_out.bias"), g.cols(h), true), residual);
}

Config write_gguf_scan_keys(std::span<const ConfigKey> keys, const Config& config,
                            std::string_view gguf_arch) {
  Config metadata = write_gguf_keys(keys, config, gguf_arch);
  const std::string stem = std::string(gguf_arch) + ".";
  if (const ConfigValue* length = config.find("max_seq_len"))
    metadata.set(stem + "context_length", *length);
  metadata.set(stem + "feed_forward_length", std::int64_t{0});
  metadata.set(stem + "attention.head_count", std::int64_t{0});
  return metadata;
}

std::vector<TensorRule> mamba2_tensors(const std::string& stem, std::string_view when) {
  std::vector<TensorRule> rules;
  const auto slice = [&](std::string_view first, std::string_view total) {
    rules.back().hf_slice = {first, "", "", total};
    if (!rules.back().gguf.empty()) rules.back().gguf_slice = rules.back().hf_slice;
  };
  const auto vector = [&](std::string_view name, const char* hf, std::string_view gguf,
                          std::string_view n, std::string_view rows, Transform transform) {
    rules.push_back(norm_rule(name, stem + hf, gguf, n, transform));
    rules.back().rows = rows;
  };
  for (const Part& part : kParts) {
    rules.push_back(
        matrix_rule(part.name, stem + ".in_proj.weight", "blk.{}.ssm_in.weight", part.rows, "dim"));
    slice(part.first, kAll);
  }
  for (const Part& part : kParts) {
    rules.push_back(bias_rule(part.bias, stem + ".in_proj.bias", "blk.{}.ssm_in.bias", part.rows));
    slice(part.first, kAll);
  }
  for (const Convolution& conv : kConvolutions) {
    vector(conv.name, ".conv1d.weight", "blk.{}.ssm_conv1d.weight", conv.kernels, conv.columns,
           Transform::kNone);
    slice(conv.kernels_first, kKernels);
  }
  for (const Convolution& conv : kConvolutions) {
    rules.push_back(
        bias_rule(conv.bias, stem + ".conv1d.bias", "blk.{}.ssm_conv1d.bias", conv.columns));
    slice(conv.columns_first, kColumns);
  }
  vector("layers.{}.ssm_a", ".A_log", "blk.{}.ssm_a", "ssm.heads", "ssm.heads", Transform::kNegExp);
  vector("layers.{}.ssm_skip", ".D", "blk.{}.ssm_d", "ssm.heads", "ssm.heads", Transform::kNone);
  vector("layers.{}.ssm_dt_bias", ".dt_bias", "blk.{}.ssm_dt.bias", "ssm.heads", "1",
         Transform::kNone);
  vector("layers.{}.ssm_norm", ".norm.weight", "blk.{}.ssm_norm.weight", kInner, "ssm.groups",
         Transform::kNone);
  rules.push_back(matrix_rule("layers.{}.ssm_out", stem + ".out_proj.weight",
                              "blk.{}.ssm_out.weight", "dim", kInner));
  rules.push_back(
      bias_rule("layers.{}.ssm_out.bias", stem + ".out_proj.bias", "blk.{}.ssm_out.bias", "dim"));
  for (TensorRule& rule : rules) {
    // A bias is there or not; where the layer has no such block it is no matter.
    if (!rule.optional) rule.when = when;
  }
  return rules;
}

std::vector<bool> layer_flags(const Config& config, std::string_view key) {
  std::vector<bool> flags;
  for (const ConfigValue& value : config.list(key)) flags.push_back(value == ConfigValue(true));
  return flags;
}

Status read_attention_layers(const Config& source, std::string_view other,
                             std::string_view other_too, Config& config) {
  ConfigList layers;
  for (const ConfigValue& value : source.list("layer_types")) {
    const auto* type = std::get_if<std::string>(&value);
    const std::string_view word = type == nullptr ? std::string_view() : *type;
    const bool attention = word == "full_attention" || word == "attention";
    if (!attention && word != other && word != other_too) {
      return Error(ErrorCode::kUnsupported, "a kind of layer is not implemented")
          .of("layer_types")
          .want("full_attention or " + std::string(other))
          .got(std::string(word));
    }
    layers.emplace_back(attention);
  }
  if (!layers.empty()) config.set("attention_layers", std::move(layers));
  return {};
}

Result<ConfigList> take_attention_layers(Config& source, std::string_view gguf_arch) {
  const std::string key = std::string(gguf_arch) + ".attention.head_count_kv";
  QUERN_TRY(n_layers, source.integer(std::string(gguf_arch) + ".block_count"));
  if (n_layers < 1 || n_layers > 4096)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
  const ConfigValue* value = source.find(key);
  if (value == nullptr || !std::holds_alternative<ConfigList>(*value))
    return ConfigList(static_cast<std::size_t>(n_layers), ConfigValue(true));
  const ConfigList heads = source.list(key);
  ConfigList layers;
  if (static_cast<std::int64_t>(heads.size()) != n_layers) {
    return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
        .of(key)
        .want(std::to_string(n_layers))
        .got(std::to_string(heads.size()));
  }
  const ConfigValue none(std::int64_t{0});
  ConfigValue one = none;
  for (const ConfigValue& n : heads) {
    layers.emplace_back(n != none);
    if (n == none) continue;
    if (one != none && one != n)
      return Error(ErrorCode::kUnsupported,
                   "layers with different numbers of KV heads are not implemented")
          .of(key);
    one = n;
  }
  if (one == none) {  // No layer has attention; the number of all heads is as good as any.
    QUERN_TRY(n_heads, source.integer(std::string(gguf_arch) + ".attention.head_count"));
    one = ConfigValue(n_heads);
  }
  source.set(key, one);
  return layers;
}

Status write_gguf_attention_layers(const Config& config, std::string_view gguf_arch, Config& out) {
  QUERN_TRY(n_kv_heads, config.integer("n_kv_heads"));
  ConfigList heads;
  for (const bool has : layer_flags(config, "attention_layers"))
    heads.emplace_back(has ? n_kv_heads : std::int64_t{0});
  out.set(std::string(gguf_arch) + ".attention.head_count_kv", std::move(heads));
  return {};
}

}  // namespace quern::models
