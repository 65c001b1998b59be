// The container, its checksums included, and the tokenizer image inside.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "formats/quern_file.h"
#include "text/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The reader asks for what a mapping gives: bytes aligned to a cache line.
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(64)); }
  };
  const std::unique_ptr<std::byte[], Free> copy(
      static_cast<std::byte*>(::operator new[](size + 1, std::align_val_t(64))));
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, copy.get());
  const std::span<const std::byte> bytes(copy.get(), size);
  const auto file = quern::formats::QuernFile::from_bytes(bytes, "fuzz.quern");
  if (!file.ok()) {
    return 0;
  }
  const bool is_sound = file->verify_checksums().ok();
  if (is_sound && !file->tokenizer().empty()) {
    const auto tokenizer = quern::text::Tokenizer::open(file->tokenizer(), "fuzz.quern");
    if (tokenizer.ok()) {
      const auto ids = tokenizer->encode("The mill stone turns. 碾 \xF0\x9F\x8C\xBE");
      if (ids.ok()) {
        (void)tokenizer->decode(*ids);
      }
    }
  }
  return 0;
}
