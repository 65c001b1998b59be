/// \file
/// How far what a model answers has moved from what it answered before.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "convert/layer_replay.h"
#include "convert/sample_text.h"
#include "quern/encoder.h"
#include "quern/session.h"

namespace quern::convert {

/// Remembers a model's answers to a few windows; the model's weights may then change underneath.
/// Of a decoder: KL divergence of the next token, over the most likely tokens and the sum of the
/// rest, so that what is remembered is small beside a vocabulary. Of an encoder: the squared error
/// of the hidden states relative to their square. Both grow with the square of a small disturbance.
/// Thread rule: one thread.
class OutputDistance {
 public:
  /// \param windows evaluated from an empty state each; of a decoder's the second half counts.
  /// \param kv the cache of a decoder.
  static Result<OutputDistance> create(const Model& model, TokenWindows windows,
                                       KvType kv = KvType::kAuto);

  /// From now on a decoder answers over another cache.
  Status change_cache(KvType kv);

  /// Says that until the next call no matrix but this one will be another than it is now. What does
  /// not depend on it is evaluated once, where the model's graph can be cut there.
  Status expect_change_of(std::string_view matrix);

  /// Mean distance of what the model answers now. Errors: those of Session and Encoder.
  Result<double> measure();

 private:
  /// A row of logits, remembered.
  struct TopTokens {
    std::vector<TokenId> ids;
    std::vector<double> log_p;
    double log_rest;
  };
  OutputDistance() = default;
  template <class Take>
  Status visit_logits(const Take& take);
  template <class Take>
  Status visit_hidden(const Take& take);
  Status remember();

  TokenWindows windows_;
  KvType kv_ = KvType::kAuto;
  std::optional<Session> session_;
  std::int32_t replayed_layer_ = 0;    ///< 0: none.
  std::optional<LayerReplay> replay_;  ///< Of the layers from that one on; none: it cannot be cut.
  std::optional<Encoder> encoder_;
  std::vector<TopTokens> rows_;             ///< Decoder.
  std::vector<std::vector<float>> hidden_;  ///< Encoder.
};

}  // namespace quern::convert
