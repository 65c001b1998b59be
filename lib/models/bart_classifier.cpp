// BART for classes of texts (Lewis et al. 2020, section 3.1): the decoder is taught the text
// itself, and the head reads its last state.
#include "models/bart_config.h"
#include "models/bart_tensors.h"
#include "models/config_io.h"
#include "models/encoder_config.h"

namespace quern::models {
namespace {

constexpr std::int64_t kStart = 2;  // Where a configuration is silent.

/// A text ends with its end token, which the head reads.
Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_bart_config(source, kind));
  QUERN_CHECK(read_head(source, config));
  QUERN_TRY(start, source.integer_or("decoder_start_token_id", kStart));
  config.set("decoder_start_token_id", start);
  config.set("head.pooling", std::string("last"));
  config.set("head.activation", std::string("tanh"));
  config.set("architecture", std::string("bart_classifier"));
  return config;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(layout, read_bart_layout(config));
  return build_classifier(config, weights, layout);
}

}  // namespace

extern const Architecture kBartClassifier;
const Architecture kBartClassifier = {
    "bart_classifier", {"BartForSequenceClassification"}, {},   read_config,
    nullptr,           bart_classifier_tensors,           build};

}  // namespace quern::models
