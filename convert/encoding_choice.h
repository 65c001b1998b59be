/// \file
/// Which encoding each tensor gets so that a whole model of a given size loses the least.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "quern/encoding.h"

namespace quern::convert {

/// What one encoding would make of one tensor.
struct EncodingOffer {
  Encoding encoding = Encoding::kF32;
  std::uint64_t bytes = 0;
  double damage = 0;  ///< Estimated, ≥ 0; adds up over tensors (nats of KL divergence a token).
};

struct TensorOffers {
  std::string name;
  std::vector<EncodingOffer> offers;  ///< At least one.
};

/// A size and the least damage estimated for it.
struct SizePoint {
  std::uint64_t bytes = 0;
  double damage = 0;
};

struct ChosenEncodings {
  std::vector<EncodingOffer> chosen;  ///< One per tensor, in their order.
  SizePoint sum;
  std::vector<SizePoint> frontier;  ///< From the smallest file to the largest, every best step.
};

/// Bytes of the smallest offers together.
std::uint64_t smallest_bytes(std::span<const TensorOffers> tensors);

/// Minimizes the sum of damages under a limit on the sum of bytes. Every tensor starts at its
/// smallest offer; then the step along the tensors' lower convex hulls that saves the most damage
/// per byte is taken, again and again, while it fits: the Lagrangian solution (Everett 1963; Shoham
/// and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers"), but for the
/// last steps. Ties go to the earlier tensor. \pre budget >= smallest_bytes(tensors)
ChosenEncodings choose_encodings(std::span<const TensorOffers> tensors, std::uint64_t budget);

}  // namespace quern::convert
