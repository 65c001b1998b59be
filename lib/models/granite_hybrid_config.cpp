#include "models/granite_hybrid_config.h"

#include <algorithm>
#include <string>

#include "models/config_io.h"
#include "models/granite.h"
#include "models/recurrent.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

DecoderSpelling spelling(std::string_view gguf_arch = kGraniteHybridGguf) {
  DecoderSpelling s{gguf_arch};
  s.keys = granite_keys();
  const std::vector<ConfigKey> own = {
      {"ffn_dim", "shared_intermediate_size", "expert_shared_feed_forward_length"},
      {"expert_ffn_dim", "intermediate_size", "feed_forward_length"},
      {"n_experts", "num_local_experts", "expert_count", false, ConfigValue(std::int64_t{8})},
      {"n_experts_used", "num_experts_per_tok", "expert_used_count", false,
       ConfigValue(std::int64_t{2})},
      {"ssm.heads", "mamba_n_heads", "ssm.time_step_rank"},
      {"ssm.head_dim", "mamba_d_head", "", false},
      {"ssm.inner_dim", "", "ssm.inner_size", false},
      {"ssm.state_dim", "mamba_d_state", "ssm.state_size"},
      {"ssm.groups", "mamba_n_groups", "ssm.group_count"},
      {"ssm.kernel", "mamba_d_conv", "ssm.conv_kernel"},
      {"ssm.dt_min", "", "ssm.dt_min", false},
      {"ssm.dt_max", "", "ssm.dt_max", false},
      {"rope.used", "", "rope.scaling.finetuned", false, ConfigValue(true)}};
  s.keys.insert(s.keys.end(), own.begin(), own.end());
  return s;
}

/// GGUF's `feed_forward_length` is the experts' where there are some, else that of the one MLP.
Result<Config> gguf_source(const Config& source) {
  Config out = source;
  const std::string stem = std::string(kGraniteHybridGguf) + ".";
  QUERN_TRY(n_experts, source.integer_or(stem + "expert_count", 0));
  QUERN_TRY(ffn_dim, source.integer(stem + "feed_forward_length"));
  out.set(stem + "expert_count", n_experts);
  if (n_experts == 0) out.set(stem + "expert_shared_feed_forward_length", ffn_dim);
  return out;
}

/// A head's width where the source does not say it.
Status set_head_dim(const Config& source, Config& config) {
  const ConfigValue automatic(std::string("auto"));
  if (config.has("ssm.head_dim") && *config.find("ssm.head_dim") != automatic) return {};
  QUERN_TRY(heads, evaluate_dimension("ssm.heads", config));
  QUERN_TRY(dim, evaluate_dimension("dim", config));
  QUERN_TRY(expand, source.integer_or("mamba_expand", 2));
  QUERN_TRY(inner, config.integer_or("ssm.inner_dim", expand * dim));
  QUERN_TRY(head_dim, head_width(inner, heads, "ssm.inner_dim"));
  config.set("ssm.head_dim", head_dim);
  return {};
}

}  // namespace

Result<Config> read_granite_hybrid_config(const Config& published, SourceKind kind) {
  const bool gguf = kind == SourceKind::kGguf;
  QUERN_TRY(source, gguf ? gguf_source(published) : Result<Config>(published));
  ConfigList attention;
  if (gguf) {
    QUERN_TRY(layers, take_attention_layers(source, kGraniteHybridGguf));
    attention = std::move(layers);
  }
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGraniteHybridGguf}, config));
  QUERN_CHECK(set_head_dim(source, config));
  QUERN_CHECK(read_time_step_limit(source, config));
  QUERN_CHECK(read_attention_layers(source, "linear_attention", "mamba", config));
  QUERN_TRY(n_experts, config.integer("n_experts"));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_layers < 1 || n_layers > 4096)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
  const auto layers = static_cast<std::size_t>(n_layers);
  if (gguf) {
    QUERN_CHECK(check_gguf_granite(source, kGraniteHybridGguf, true, config));
    config.set("attention_layers", std::move(attention));
  }
  if (!config.has("attention_layers"))
    config.set("attention_layers", ConfigList(layers, ConfigValue(false)));
  config.set("mixture_layers", ConfigList(layers, ConfigValue(n_experts > 0)));
  config.set("shared_ffn_dim", *config.find("ffn_dim"));
  const ConfigValue rope(std::string("rope"));
  if (!gguf) config.set("rope.used", source.list("position_embedding_type") == ConfigList{rope});
  config.set("architecture", std::string("granitemoehybrid"));
  return config;
}

Result<Config> write_granite_hybrid_gguf_config(const Config& config) {
  const ConfigList layers = config.list("attention_layers");
  QUERN_TRY(rotary, config.boolean_or("rope.used", false));
  QUERN_TRY(n_experts, config.integer("n_experts"));
  const bool hybrid =
      !rotary || std::find(layers.begin(), layers.end(), ConfigValue(false)) != layers.end();
  // llama.cpp knows Granite 4 without scans as Granite 3.
  const std::string_view arch = hybrid           ? kGraniteHybridGguf
                                : n_experts == 0 ? "granite"
                                                 : "granitemoe";
  Config whole = config;
  QUERN_TRY(inner, evaluate_dimension("ssm.heads*ssm.head_dim", config));
  whole.set("ssm.inner_dim", inner);
  if (n_experts == 0) {
    whole.set("expert_ffn_dim", *config.find("ffn_dim"));
    for (const char* key : {"ffn_dim", "n_experts", "n_experts_used"}) whole.set(key, {});
  }
  if (!hybrid) {
    for (const auto& entry : config.items())
      if (entry.first.starts_with("ssm.")) whole.set(entry.first, {});
    for (const char* key : {"ssm.inner_dim", "rope.used"}) whole.set(key, {});
  }
  QUERN_TRY(out, write_gguf_decoder_config(whole, spelling(arch)));
  QUERN_CHECK(write_gguf_rope(config, arch, out));
  if (hybrid) QUERN_CHECK(write_gguf_attention_layers(config, arch, out));
  out.set("general.architecture", std::string(arch));
  return out;
}

}  // namespace quern::models
