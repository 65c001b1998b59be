// Mamba 2 (Dao and Gu 2024, "Transformers are SSMs"): heads with one decay each.
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/recurrent.h"

namespace quern::models {
namespace {

constexpr std::int64_t kNoLimit = 1 << 20;  // Of the sequence: the state does not grow.

Result<Config> read_config(const Config& source, SourceKind kind) {
  static const std::vector<ConfigKey> kKeys = {
      {"vocab_size", "vocab_size", ""},
      {"dim", "hidden_size", ""},
      {"n_layers", "num_hidden_layers", ""},
      {"ssm.heads", "num_heads", ""},
      {"ssm.head_dim", "head_dim", ""},
      {"ssm.state_dim", "state_size", ""},
      {"ssm.groups", "n_groups", ""},
      {"ssm.kernel", "conv_kernel", ""},
      {"norm_eps", "layer_norm_epsilon", "", false, ConfigValue(1e-5)}};
  QUERN_TRY(config, read_keys(kKeys, source, kind, ""));
  QUERN_TRY(word, source.string_or("hidden_act", "silu"));
  QUERN_TRY(activation, canonical_activation(word));
  config.set("activation", activation);
  QUERN_CHECK(read_time_step_limit(source, config));
  config.set("max_seq_len", kNoLimit);
  config.set("architecture", std::string("mamba2"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules = {
        matrix_rule("embed", "embeddings.weight", "", "vocab_size", "dim"),
        norm_rule("layers.{}.norm", "layers.{}.norm.weight", "", "dim")};
    rules.front().role = Role::kEmbedding;
    const std::vector<TensorRule> block = mamba2_tensors("layers.{}.mixer", "");
    rules.insert(rules.end(), block.begin(), block.end());
    rules.push_back(norm_rule("norm", "norm_f.weight", "", "dim"));
    rules.push_back(matrix_rule("lm_head", "lm_head.weight", "", "vocab_size", "dim"));
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
const Architecture kMamba2 = {"mamba2", {"Mamba2ForCausalLM"}, {}, read_config, nullptr, tensors,
                              build};

}  // namespace quern::models
