// What a configuration leaves unsaid means what transformers 5.24's class takes then, and what its
// class does not read has no effect. The expectations were read from its configuration_*.py.
#include <doctest/doctest.h>

#include "formats/json.h"
#include "models/architecture.h"

using namespace quern;

namespace {

/// What a class makes of common keys of a small decoder, and `own`.
Result<Config> read_config(const std::string& hf_class, const std::string& own) {
  const std::string text =
      "{\"architectures\": [\"" + hf_class +
      "\"], \"vocab_size\": 64, \"hidden_size\": 32, \"num_hidden_layers\": 4, "
      "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8, "
      "\"intermediate_size\": 64, \"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-6, "
      "\"layer_norm_eps\": 1e-6, \"num_local_experts\": 4, \"num_experts_per_tok\": 2, "
      "\"query_pre_attn_scalar\": 16" +
      (own.empty() ? "" : ", ") + own + "}";
  auto json = formats::parse_json(text, "config.json");
  REQUIRE(json.ok());
  auto source = formats::flatten_json(*json, "config.json");
  REQUIRE(source.ok());
  const models::Architecture* architecture = models::find_by_hf_class(hf_class);
  REQUIRE(architecture != nullptr);
  return architecture->read_config(*source, models::SourceKind::kHuggingFace);
}

/// The same, which must succeed.
Config config_of(const std::string& hf_class, const std::string& own) {
  const auto config = read_config(hf_class, own);
  REQUIRE_MESSAGE(config.ok(), (config.ok() ? "" : config.error().describe()));
  return *config;
}

/// Windows of the four layers; "-": the configuration has none.
std::string windows_of(const Config& config) {
  if (config.has("window")) return "all " + std::to_string(*config.integer("window"));
  std::string text;
  for (const ConfigValue& window : config.list("layer_windows"))
    text += (text.empty() ? "" : " ") + std::to_string(*std::get_if<std::int64_t>(&window));
  return text.empty() ? "-" : text;
}

}  // namespace

TEST_CASE("a window that is not given is the class's own, and null is none") {
  const struct {
    const char *hf_class, *own, *windows;
  } rows[] = {
      {"MistralForCausalLM", "", "all 4096"},
      {"MistralForCausalLM", "\"sliding_window\": null", "-"},
      {"MistralForCausalLM", "\"sliding_window\": 7", "all 7"},
      {"LlamaForCausalLM", "\"sliding_window\": 7", "-"},
      {"Gemma2ForCausalLM", "", "4096 0 4096 0"},
      {"Gemma2ForCausalLM", "\"sliding_window\": null", "-"},
      {"Gemma3ForCausalLM", "\"sliding_window_pattern\": 2", "4096 0 4096 0"},
      {"Cohere2ForCausalLM", "", "4096 4096 4096 0"},
      {"Cohere2ForCausalLM", "\"sliding_window\": null", "-"},
      {"Exaone4ForCausalLM", "", "4096 4096 4096 0"},
      {"Exaone4ForCausalLM", "\"sliding_window\": null", "-"},
      {"GptOssForCausalLM", "", "128 0 128 0"},
      {"Qwen2ForCausalLM", "\"sliding_window\": 7", "-"},
      {"Qwen2ForCausalLM", "\"use_sliding_window\": true", "0 0 0 0"},
      {"Qwen2ForCausalLM", "\"use_sliding_window\": true, \"max_window_layers\": 3", "0 0 0 4096"},
      {"Qwen3ForCausalLM", "\"use_sliding_window\": true, \"sliding_window\": null", "-"},
      {"Starcoder2ForCausalLM", "\"norm_epsilon\": 1e-5", "-"},
      {"SmolLM3ForCausalLM", "\"sliding_window\": 7", "-"},
      {"SmolLM3ForCausalLM", "\"sliding_window\": 7, \"use_sliding_window\": true", "0 0 0 7"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.hf_class);
    CAPTURE(row.own);
    CHECK(windows_of(config_of(row.hf_class, row.own)) == row.windows);
  }
}

TEST_CASE("numbers that are not given are the class's own, and null is none") {
  const struct {
    const char *hf_class, *own, *key;
    double value;
  } rows[] = {
      {"Gemma2ForCausalLM", "", "attention_softcap", 50},
      {"Gemma2ForCausalLM", "", "logit_softcap", 30},
      {"Gemma2ForCausalLM", "\"attn_logit_softcapping\": null", "attention_softcap", 0},
      {"Gemma2ForCausalLM", "\"final_logit_softcapping\": 5.5", "logit_softcap", 5.5},
      {"Gemma3ForCausalLM", "", "rope.theta", 1e6},
      {"SmolLM3ForCausalLM", "", "rope.theta", 2e6},
      {"CohereForCausalLM", "", "rope.theta", 5e5},
      {"Cohere2ForCausalLM", "", "rope.theta", 1e4},
      {"Cohere2ForCausalLM", "", "logit_scale", 0.0625},
      {"GptOssForCausalLM", "", "rope.theta", 150000},
      {"GptOssForCausalLM", "", "rope.factor", 32},
      {"GptOssForCausalLM", "", "rope.original_max_seq_len", 4096},
      {"GptOssForCausalLM", "\"rope_theta\": 5.0", "rope.theta", 5},
      {"Phi3ForCausalLM",
       "\"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1, 1, 1, 1], "
       "\"short_factor\": [1, 1, 1, 1]}",
       "rope.original_max_seq_len", 4096},
      {"DeepseekV3ForCausalLM",
       "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4, \"mscale_all_dim\": 0.5}, "
       "\"kv_lora_rank\": 8, \"qk_nope_head_dim\": 8, \"qk_rope_head_dim\": 8, \"v_head_dim\": 8, "
       "\"moe_intermediate_size\": 8, \"n_routed_experts\": 4",
       "rope.mscale_all_dim", 0.5},
      // Of two ways to say it the older one counts.
      {"LlamaForCausalLM",
       "\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, "
       "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 777}",
       "rope.factor", 4},
      {"LlamaForCausalLM",
       "\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, "
       "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 777}",
       "rope.theta", 500},
      {"LlamaForCausalLM",
       "\"rope_theta\": 500, \"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 777}",
       "rope.theta", 777},
  };
  for (const auto& row : rows) {
    CAPTURE(row.hf_class);
    CAPTURE(row.own);
    CAPTURE(row.key);
    const auto found = config_of(row.hf_class, row.own).number(row.key);
    REQUIRE(found.ok());
    CHECK(*found == doctest::Approx(row.value));
  }
}

TEST_CASE("what would be computed otherwise is refused by name") {
  const struct {
    const char* hf_class;
    const char* own;
    const char* key;  ///< nullptr: it is accepted.
  } rows[] = {
      {"FalconForCausalLM", "\"alibi\": true", "alibi"},
      {"FalconForCausalLM", "\"alibi\": true, \"multi_query\": false", nullptr},
      {"FalconForCausalLM", "\"alibi\": true, \"new_decoder_architecture\": true", "alibi"},
      {"FalconForCausalLM", "\"num_ln_in_parallel_attn\": 2", "num_ln_in_parallel_attn"},
      {"DebertaV2Model", "\"pooler_hidden_size\": 48", nullptr},
      {"DebertaV2ForSequenceClassification", "\"pooler_hidden_size\": 48", "pooler_hidden_size"},
      {"BloomForCausalLM", "\"slow_but_exact\": true", nullptr},
      {"BloomForCausalLM", "\"pretraining_tp\": 4", nullptr},
      {"BloomForCausalLM", "\"pretraining_tp\": 4, \"slow_but_exact\": true", "slow_but_exact"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.hf_class);
    CAPTURE(row.own);
    const auto config = read_config(row.hf_class, row.own);
    REQUIRE(config.ok() == (row.key == nullptr));
    if (config.ok()) continue;
    CHECK(config.error().code == ErrorCode::kUnsupported);
    CHECK(config.error().field == row.key);
  }
}

TEST_CASE("Cohere 2's heads are as wide as the configuration says") {
  const models::Architecture* cohere2 = models::find_by_hf_class("Cohere2ForCausalLM");
  Config source;
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                          "intermediate_size", "max_position_embeddings"})
    source.set(key, std::int64_t{4});
  source.set("layer_norm_eps", 1e-6);
  for (const std::int64_t width : {1, 6}) {
    if (width > 1) source.set("head_dim", width);
    const auto config = cohere2->read_config(source, models::SourceKind::kHuggingFace);
    REQUIRE(config.ok());
    CHECK(*config->integer("head_dim") == width);
  }
}

TEST_CASE("of a list that is longer than the stack its first layers are read") {
  const Config config =
      config_of("SmolLM3ForCausalLM", "\"no_rope_layers\": [1, 0, 1, 1, 0, 0, 0, 0]");
  const ConfigList expected = {ConfigValue(true), ConfigValue(false), ConfigValue(true),
                               ConfigValue(true)};
  CHECK(config.list("rotary_layers") == expected);
}

TEST_CASE("a window's own kind of rotary scaling is refused by name") {
  const models::Architecture* gemma3 = models::find_by_hf_class("Gemma3ForCausalLM");
  Config source;
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "max_position_embeddings", "vocab_size"})
    source.set(key, std::int64_t{4});
  source.set("rms_norm_eps", 1e-6);
  source.set("query_pre_attn_scalar", 16.0);
  source.set("rope_parameters.full_attention.rope_type", std::string("default"));
  source.set("rope_parameters.sliding_attention.rope_type", std::string("linear"));
  const auto refused = gemma3->read_config(source, models::SourceKind::kHuggingFace);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kUnsupported);
  CHECK(refused.error().field == "rope_parameters.sliding_attention.rope_type");
}

TEST_CASE("BART has one table of embeddings, or one for each stack where nothing is tied") {
  const std::string own =
      "\"d_model\": 32, \"encoder_layers\": 1, \"decoder_layers\": 1, \"encoder_ffn_dim\": 8, "
      "\"decoder_ffn_dim\": 8, \"encoder_attention_heads\": 4, \"decoder_attention_heads\": 4";
  const auto has_own = [&](const std::string& more) {
    return *config_of("BartForConditionalGeneration", own + more).boolean("own_embedding");
  };
  CHECK_FALSE(has_own(""));
  CHECK_FALSE(has_own(", \"tie_word_embeddings\": true"));
  CHECK(has_own(", \"tie_word_embeddings\": false"));
}
