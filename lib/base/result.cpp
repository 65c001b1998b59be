#include "quern/result.h"

namespace quern {

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kIo: return "io";
    case ErrorCode::kTruncated: return "truncated";
    case ErrorCode::kMalformed: return "malformed";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kOutOfRange: return "out_of_range";
    case ErrorCode::kChecksum: return "checksum";
    case ErrorCode::kMissing: return "missing";
    case ErrorCode::kMismatch: return "mismatch";
    case ErrorCode::kLimit: return "limit";
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kOutOfMemory: return "out_of_memory";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kTemplateRaised: return "template_raised";
    case ErrorCode::kInternal: return "internal";
  }
  return "unknown";
}

std::string Error::describe() const {
  std::string text;
  if (!file.empty()) text += file + ": ";
  text += message;
  if (!field.empty()) text += " (" + field + ")";
  if (offset) text += " at byte " + std::to_string(*offset);
  if (!expected.empty()) text += ", expected " + expected;
  if (!found.empty()) text += ", found " + found;
  return text;
}

}  // namespace quern
