/// \file
/// Chooses the next token from logits, in the order that quern/sampling.h states.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ranked_logit.h"
#include "quern/result.h"
#include "quern/sampling.h"

namespace quern::text {

/// The generator PCG-XSH-RR 64/32 on its default stream.
/// Source: M. O'Neill, "PCG: a family of simple fast space-efficient statistically good algorithms
/// for random number generation", 2014, and the reference constants published with it.
class Pcg32 {
 public:
  explicit Pcg32(std::uint64_t seed) noexcept;
  std::uint32_t next() noexcept;
  /// \return a double in [0, 1) from 53 bits (two draws).
  double uniform() noexcept;

 private:
  std::uint64_t state_ = 0;
};

struct Candidate : base::RankedLogit {
  float weight = 0;  ///< Its probability against the best one's.
};

/// One conversation's sampler. Allocates in `create` only. Thread rule: one thread at a time.
class Sampler {
 public:
  /// Errors: kOutOfRange naming the option (negative or NaN temperature, top_p outside (0, 1],
  /// min_p outside [0, 1], a penalty that is no number, a biased id outside the vocabulary, …).
  static Result<Sampler> create(const SamplingOptions& options, std::int64_t vocab_size);

  /// \param logits `[vocab_size]` float32, any finite values or −inf.
  /// \param history every token so far, oldest first; the penalties see its end.
  /// Errors: kOutOfRange where a logit is NaN or +inf, or none is above −inf; kInvalidArgument
  /// where `logits` has another length.
  Result<TokenId> sample(std::span<const float> logits, std::span<const TokenId> history);

  /// How many of the best logits the choice depends on, before penalties; 0: on all of them.
  std::int64_t needed() const noexcept;
  /// What `sample` would choose, from the best logits alone. \pre the first needed() of them, and
  /// that is not 0; ranked, with what is no finite number and above −inf in front. Errors: as
  /// `sample`.
  Result<TokenId> sample_best(std::span<const base::RankedLogit> best,
                              std::span<const TokenId> history);

 private:
  Sampler(const SamplingOptions& options, std::int64_t vocab_size);
  bool adjusts() const noexcept;
  void adjust(std::span<const TokenId> history) noexcept;
  template <class Visit>
  void for_each_recent(std::span<const TokenId> history, Visit visit) noexcept;
  float penalised(float value, std::int32_t count) const noexcept;
  bool cuts() const noexcept;  ///< Whether top_p or min_p leaves tokens out.
  void keep_best(std::span<const float> values, std::size_t limit) noexcept;
  TokenId draw_of_ranked() noexcept;
  TokenId draw_of_all(std::span<const float> values, float top) noexcept;
  TokenId draw(double total, double u) noexcept;

  SamplingOptions options_;
  Pcg32 random_;
  std::vector<float> adjusted_;  ///< `[vocab_size]`, logits after bias and penalties.
  std::vector<std::int32_t>
      counts_;                  ///< `[vocab_size]`, occurrences in the window; zero between calls.
  std::vector<float> weights_;  ///< Of all tokens; capacity vocab_size.
  std::vector<Candidate> candidates_;  ///< Those that may be drawn; capacity vocab_size.
};

}  // namespace quern::text
