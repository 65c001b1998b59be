#include "convert/transforms.h"

namespace quern::convert {
namespace {

using models::Transform;

/// \return the even head_dim of which `rows` is a multiple.
Result<std::int64_t> rotary_head(std::int64_t rows, const Config& config) {
  QUERN_TRY(head_dim, config.integer("head_dim"));
  if (head_dim < 2 || head_dim % 2 != 0 || rows % head_dim != 0) {
    return Error(ErrorCode::kMismatch, "the rows of a rotary projection are no whole heads")
        .of("head_dim")
        .want("an even divisor of " + std::to_string(rows))
        .got(std::to_string(head_dim));
  }
  return head_dim;
}

}  // namespace

bool TensorChange::moves_rows() const noexcept {
  // GGUF to GGUF permutes there and back again: nothing moves.
  if (!slice.whole() || own_rows > 0 || first_row > 0) return true;
  if (first.identity() && second.identity()) return false;
  return first.identity() || second.identity();
}

Result<TensorChange> make_change(Transform source, Transform output, std::int64_t rows,
                                 const Config& config) {
  TensorChange change;
  if (source == Transform::kRopeRows || output == Transform::kRopeRows) {
    QUERN_TRY(head_dim, rotary_head(rows, config));
    if (source == Transform::kRopeRows) change.first = RowMap::pairs_to_halves(head_dim);
    if (output == Transform::kRopeRows) change.second = RowMap::halves_to_pairs(head_dim);
  }
  if (source == Transform::kAddOne) change.add += 1.0F;
  if (output == Transform::kAddOne) change.add -= 1.0F;
  change.transpose = source == Transform::kTranspose;
  change.negate_exp = source == Transform::kNegExp && output != Transform::kNegExp;
  if (output == Transform::kTranspose || (output == Transform::kNegExp && source != output)) {
    return Error(ErrorCode::kUnsupported, "the output's format stores this tensor in another form");
  }
  return change;
}

std::string describe_change(const TensorChange& change) {
  std::string text;
  const auto add = [&](const char* words) {
    text += (text.empty() ? "" : ", ") + std::string(words);
  };
  if (change.transpose) add("transpose");
  if (!change.slice.whole()) add("slice");
  if (change.first.identity() != change.second.identity()) add("rope permutation");
  if (change.own_rows > 0) add("fill up");
  if (change.negate_exp) add("negate the exponential");
  if (change.add > 0) add("add one");
  if (change.add < 0) add("subtract one");
  return text;
}

}  // namespace quern::convert
