// The container behind its checksums: each input's checksums are mended first, so that mutations
// reach the checks that a hostile file with right checksums would reach. The seed is a small file.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "formats/quern_file.h"
#include "support/small_files.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

/// Starts from a valid file where the corpus has nothing of its size.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned) {
  static const std::string seed = quern::testing::small_quern();
  if (size < seed.size() / 2 && seed.size() <= max_size) {
    size = seed.size();
    std::copy(seed.begin(), seed.end(), data);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string mended =
      quern::testing::reseal_quern(std::string(reinterpret_cast<const char*>(data), size));
  // Exactly as long as the input, so that AddressSanitizer sees one byte too far.
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(64)); }
  };
  const std::unique_ptr<std::byte[], Free> copy(
      static_cast<std::byte*>(::operator new[](mended.size(), std::align_val_t(64))));
  std::transform(mended.begin(), mended.end(), copy.get(),
                 [](char c) { return static_cast<std::byte>(c); });
  const auto file =
      quern::formats::QuernFile::from_bytes(std::span(copy.get(), mended.size()), "fuzz.quern");
  if (file.ok()) (void)file->verify_checksums();
  return 0;
}
