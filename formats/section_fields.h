/// \file
/// Typed access to one JSON object of a container's section, with errors that name the section and
/// the key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "formats/json.h"
#include "quern/result.h"

namespace quern::formats {

/// A view of an object. Every reader of a key: kMissing where it is not there, kMalformed where its
/// value is of another type, kOutOfRange or kLimit where it is too large. Thread rule: as the Json.
class SectionFields {
 public:
  /// \param section in the words of an error: "the self-test".
  SectionFields(const Json& object, std::string_view section, std::string_view file)
      : object_(object), section_(section), file_(file) {}

  /// The object under another name of its own section.
  SectionFields child(const Json& object) const { return {object, section_, file_}; }

  Result<const Json*> find(const char* key) const;
  Result<std::string> text(const char* key) const;
  Result<bool> boolean(const char* key) const;
  /// An integer in [least, most].
  Result<std::uint64_t> whole(const char* key, std::uint64_t least, std::uint64_t most) const;
  /// A number from 0 on.
  Result<double> magnitude(const char* key) const;
  /// A list of at most `most` values.
  Result<const Json*> list(const char* key, std::size_t most) const;
  /// 64 bits as 16 hexadecimal digits.
  Result<std::uint64_t> hash(const char* key) const;

  /// The key's value is none of what it must be.
  Error malformed(const char* key, std::string want) const;
  /// kUnsupported unless the key `version` is `known`.
  Status check_version(std::uint32_t known) const;

 private:
  Error error(ErrorCode code, std::string message, const char* key) const;

  const Json& object_;
  std::string_view section_, file_;
};

}  // namespace quern::formats
