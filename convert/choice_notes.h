/// \file
/// What was measured for a choice of encodings, kept for a run that continues this one.
#pragma once

#include <optional>
#include <string>

#include "convert/encoding_choice.h"
#include "convert/sample_text.h"
#include "formats/journal.h"
#include "quern/result.h"

namespace quern::convert {

/// Thread rule: one owner; it must not outlive the journal.
class ChoiceNotes {
 public:
  /// \param journal null: nothing is kept.
  explicit ChoiceNotes(formats::Journal* journal = nullptr) : journal_(journal) {}

  /// What the model wrote to be calibrated on.
  std::optional<TokenWindows> windows() const;
  Status note_windows(const TokenWindows& windows);
  /// A number by its name.
  std::optional<double> number(const std::string& name) const;
  Status note_number(const std::string& name, double number);
  /// Fills in the damages and the sensitivity. \return whether they were noted.
  bool recall(TensorOffers& tensor, double& sensitivity) const;
  Status note(const TensorOffers& tensor, double sensitivity);

 private:
  const std::string* find(const std::string& key) const;
  formats::Journal* journal_;
};

}  // namespace quern::convert
