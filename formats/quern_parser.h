/// \file
/// The checks that turn bytes into a QuernFile; internal to formats/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "formats/byte_reader.h"
#include "formats/quern_file.h"
#include "quern/result.h"

namespace quern::formats {

/// One pass over front, index and tail; fills a QuernFile whose bytes and path are set.
class QuernParser {
 public:
  explicit QuernParser(QuernFile& out) : out_(out), in_(out.bytes_, out.path_) {}
  Status parse();

 private:
  struct Header {
    std::uint32_t sections = 0;
    std::uint64_t body_bytes = 0, table_checksum = 0;
  };
  Error error(ErrorCode code, const char* message, std::string_view field, std::uint64_t at) const {
    return in_.error(code, message, field, at);
  }
  std::span<const std::byte> slice(std::uint64_t offset, std::uint64_t size) const;
  Status check_zeros(std::uint64_t begin, std::uint64_t end, std::string_view field) const;
  Status check_sum(std::span<const std::byte> bytes, std::uint64_t stored, std::string_view field,
                   std::uint64_t at) const;

  Result<Header> read_header();
  Status read_table(const Header& header);
  Result<SectionEntry> read_section(std::uint64_t previous_end, std::uint64_t body_bytes);
  Status check_known_sections() const;
  Status read_index();
  Result<TensorEntry> read_record(ByteReader& in, std::string_view names, std::uint64_t& name_at);
  Status check_name(const TensorEntry& tensor, std::string_view field, std::uint64_t at) const;
  Status check_shape(const TensorEntry& tensor, std::uint64_t size, std::uint64_t at) const;
  Status place_tensors();
  Status check_weights_hash() const;

  QuernFile& out_;
  ByteReader in_;
};

}  // namespace quern::formats
