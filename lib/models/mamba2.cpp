// Mamba 2 (Dao and Gu 2024, "Transformers are SSMs"): heads with one decay each.
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/recurrent.h"

namespace quern::models {
namespace {

constexpr std::int64_t kNoLimit = 1 << 20;  // Of the sequence: the state does not grow.
constexpr std::string_view kGguf = "mamba2";

/// What GGUF has no words for (the last three) stands under words of quern's own.
const std::vector<ConfigKey>& keys() {
  static const std::vector<ConfigKey> kKeys = {
      {"vocab_size", "vocab_size", "vocab_size", false},
      {"dim", "hidden_size", "embedding_length"},
      {"n_layers", "num_hidden_layers", "block_count"},
      {"ssm.heads", "num_heads", "ssm.time_step_rank"},
      {"ssm.head_dim", "head_dim", "", false},
      {"ssm.inner_dim", "", "ssm.inner_size", false},
      {"ssm.state_dim", "state_size", "ssm.state_size"},
      {"ssm.groups", "n_groups", "ssm.group_count"},
      {"ssm.kernel", "conv_kernel", "ssm.conv_kernel"},
      {"norm_eps", "layer_norm_epsilon", "attention.layer_norm_rms_epsilon", false,
       ConfigValue(1e-5)},
      {"activation", "", "activation", false, ConfigValue(std::string("silu"))},
      {"ssm.dt_min", "", "ssm.dt_min", false},
      {"ssm.dt_max", "", "ssm.dt_max", false}};
  return kKeys;
}

/// A head's width: GGUF says that of all.
Status set_head_dim(Config& config) {
  QUERN_TRY(heads, evaluate_dimension("ssm.heads", config));
  QUERN_TRY(inner, evaluate_dimension("ssm.inner_dim", config));
  QUERN_TRY(head_dim, head_width(inner, heads, "ssm.inner_size"));
  config.set("ssm.head_dim", head_dim);
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_keys(keys(), source, kind, kGguf));
  QUERN_TRY(vocab_size, source.integer("vocab_size"));
  config.set("vocab_size", vocab_size);
  if (kind == SourceKind::kGguf) {
    QUERN_CHECK(set_head_dim(config));
  } else {
    QUERN_TRY(word, source.string_or("hidden_act", "silu"));
    QUERN_TRY(activation, canonical_activation(word));
    config.set("activation", activation);
    QUERN_CHECK(read_time_step_limit(source, config));
  }
  config.set("max_seq_len", kNoLimit);
  config.set("architecture", std::string("mamba2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  Config whole = config;
  QUERN_TRY(inner, evaluate_dimension("ssm.heads*ssm.head_dim", config));
  whole.set("ssm.inner_dim", inner);
  return write_gguf_scan_keys(keys(), whole, kGguf);
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules = {
        matrix_rule("embed", "embeddings.weight", "token_embd.weight", "vocab_size", "dim"),
        norm_rule("layers.{}.norm", "layers.{}.norm.weight", "blk.{}.attn_norm.weight", "dim")};
    rules.front().role = Role::kEmbedding;
    const std::vector<TensorRule> block = mamba2_tensors("layers.{}.mixer", "");
    rules.insert(rules.end(), block.begin(), block.end());
    rules.push_back(norm_rule("norm", "norm_f.weight", "output_norm.weight", "dim"));
    rules.push_back(matrix_rule("lm_head", "lm_head.weight", "output.weight", "vocab_size", "dim"));
    rules.back().optional = true;
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(block, Mamba2Dims::read(config));
  QUERN_TRY(vocab_size, config.integer("vocab_size"));
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  DecoderDims dims{};
  dims.vocab_size = vocab_size;
  dims.dim = dim;
  dims.norm_eps = block.norm_eps;
  graph::GraphBuilder g(weights, vocab_size);
  const graph::WeightId embed = g.matrix("embed", vocab_size, dim);
  graph::ValueId x = g.embedding(embed);
  for (std::int64_t layer = 0; layer < n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    x = mamba2_block(g, block, layer, norm_block(g, dims, layer, x, "norm"), x);
  }
  decoder_head(g, dims, embed, x, {});
  return g.finish();
}

}  // namespace

extern const Architecture kMamba2;
const Architecture kMamba2 = {
    "mamba2", {"Mamba2ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
