/// \file
/// Quality reports of quantized files as text and as a picture.
#pragma once

#include <string>
#include <vector>

#include "input.h"

namespace quern::cli {

/// A file's report (formats/FORMAT.md, "Quality report") and what it is called.
struct QualityReport {
  std::string name;
  Json json;
};

/// One line: bits, and what the comparison with the source found.
std::string quality_summary(const QualityReport& report);

/// One line a tensor, side by side where there are several reports; then each report's sums.
std::string quality_table(const std::vector<QualityReport>& reports);

/// An SVG document: error per tensor in the order of the file, coloured by encoding; beside it size
/// against estimated damage where a report holds a choice. \pre at least one report.
std::string quality_picture(const std::vector<QualityReport>& reports);

}  // namespace quern::cli
