// Streaming: what a conversion allocates does not grow with the model.
#include <doctest/doctest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "fixtures.h"

namespace {

std::atomic<std::int64_t> live_bytes{0}, peak_bytes{0};

void* counted(std::size_t size) noexcept {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) return nullptr;
  const auto now = live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  auto peak = peak_bytes.load();
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
  return memory;
}

void uncounted(void* memory) noexcept {
  if (memory == nullptr) return;
  live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// Every allocation of this program is counted; aligned ones are rare and left alone.
void* operator new(std::size_t size) {
  void* memory = counted(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return counted(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return counted(size); }
void operator delete(void* memory) noexcept { uncounted(memory); }
void operator delete[](void* memory) noexcept { uncounted(memory); }
void operator delete(void* memory, std::size_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, std::size_t) noexcept { uncounted(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { uncounted(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { uncounted(memory); }

namespace quern::convert::test {
namespace {

/// Most bytes on the heap at once during a conversion, beyond those before it.
std::int64_t peak_of(const std::string& source, const std::string& output,
                     const std::string& encoding) {
  const std::int64_t before = live_bytes;
  peak_bytes = before;
  const auto report = convert(source, output, plain_options(encoding, 2));
  REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
  return peak_bytes - before;
}

TEST_CASE("the heap holds a few panels, however large the tensor") {
  const TempFolder folder;
  constexpr std::int64_t kMiB = 1 << 20;
  for (const std::int64_t vocab : {1024, 65'536}) {  // The embedding: 1 and 64 MiB.
    write_toy_gguf(folder.file("a.gguf"), {.vocab = vocab});
    for (const char* encoding : {"keep", "q4_0", "q8"}) {
      CAPTURE(vocab);
      CAPTURE(encoding);
      CHECK(peak_of(folder.file("a.gguf"), folder.file("b.quern"), encoding) < 12 * kMiB);
    }
    CHECK(peak_of(folder.file("a.gguf"), folder.file("b.gguf"), "q4_k") < 12 * kMiB);
    CHECK(peak_of(folder.file("b.quern"), folder.file("c.gguf"), "f16") < 12 * kMiB);
  }
}

}  // namespace
}  // namespace quern::convert::test
