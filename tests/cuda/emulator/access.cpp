// Races and odd addresses: every access of a kernel comes by here. Two accesses to a byte, one of
// them a write, are a race where they are of two blocks, or of two threads of a block that have
// not met in between: at a barrier of the block or, of one warp, at __syncwarp. Shuffles, votes and
// products of tiles order no memory.
#include "tests/cuda/emulator/access.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tests/cuda/emulator/block.h"
#include "tests/cuda/emulator/fiber.h"

// The ends of this library's memory that begins as zeros, by the linker: what kernels declare as
// __shared__ lies there, and nothing else that they write.
extern "C" const unsigned char __bss_start[] __attribute__((visibility("hidden")));
extern "C" const unsigned char _end[] __attribute__((visibility("hidden")));

namespace quern::cuda_emulator {

Standing standing;

namespace {

constexpr unsigned kWord = 4;  ///< Bytes that a cell speaks of.

/// Who did something, when.
struct Deed {
  std::uint32_t block, thread, barrier, meeting;
  bool atomic;
};

/// What was done to a word in the running launch: the last write of each byte, and the last reads
/// of two threads.
struct Cell {
  std::uintptr_t word = 0;
  std::uint64_t launch = 0;
  std::uint32_t block = 0;   ///< Of shared memory: the block whose it is.
  std::uint8_t written = 0;  ///< A mask of bytes.
  std::uint8_t read[2] = {0, 0};
  Deed writer[kWord];
  Deed reader[2];

  void clear() { written = read[0] = read[1] = 0; }
};

/// A hash table of cells; those of other launches are empty.
class Cells {
 public:
  Cell& at(std::uintptr_t word, std::uint64_t launch) {
    if (2 * used_ >= cells_.size()) grow(launch);
    Cell& cell = find(word, launch);
    if (cell.launch == launch) return cell;
    cell.word = word;
    cell.launch = launch;
    cell.clear();
    ++used_;
    return cell;
  }
  void forget() { used_ = 0; }

 private:
  Cell& find(std::uintptr_t word, std::uint64_t launch) {
    const std::size_t mask = cells_.size() - 1;
    std::size_t i = (word * 0x9e3779b97f4a7c15U >> 24) & mask;
    while (cells_[i].launch == launch && cells_[i].word != word) i = (i + 1) & mask;
    return cells_[i];
  }
  void grow(std::uint64_t launch) {
    std::vector<Cell> before(2 * cells_.size());
    cells_.swap(before);
    for (const Cell& cell : before) {
      if (cell.launch == launch) find(cell.word, launch) = cell;
    }
  }

  std::vector<Cell> cells_ = std::vector<Cell>(1 << 16);
  std::size_t used_ = 0;
};

struct Watch {
  bool in_kernel = false, races = false;
  std::uint64_t launch = 0;
  const unsigned char* dynamic = nullptr;
  std::size_t dynamic_bytes = 0;
  Cells cells;
};

Watch& watch() {
  static Watch instance;
  return instance;
}
bool is_watching = false;  ///< Read first, by every access.

bool lies_in(const void* address, const void* start, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(start) <
         bytes;
}

bool is_shared(const void* address) {
  return lies_in(address, watch().dynamic, watch().dynamic_bytes) ||
         lies_in(address, __bss_start, static_cast<std::size_t>(_end - __bss_start));
}

/// Whether `before` has ended for the running thread.
bool is_ordered(const Deed& before, bool atomic) {
  if (before.atomic && atomic) return true;
  if (before.block != standing.block) return false;
  if (before.thread == standing.thread || before.barrier != standing.barrier) return true;
  return before.thread / 32 == standing.thread / 32 && before.meeting != standing.meeting;
}

[[noreturn]] void report(const char* does, std::uintptr_t word, const Deed& before) {
  const auto* const address = reinterpret_cast<const unsigned char*>(word * kWord);
  char text[256];
  std::snprintf(text, sizeof(text),
                "a race: it %s a word of %s memory that thread %u of block %u has used, and they "
                "have not met since",
                does, is_shared(address) ? "shared" : "global", before.thread, before.block);
  fail_launch(text);
}

void note_read(Cell& cell, std::uint8_t bytes, const Deed& now) {
  for (unsigned i = 0; i < kWord; ++i) {
    if (((bytes & cell.written) >> i & 1U) != 0 && !is_ordered(cell.writer[i], now.atomic))
      report("reads", cell.word, cell.writer[i]);
  }
  // What the running thread comes after need not be remembered: what comes after this does too.
  const unsigned place = cell.read[0] == 0 || is_ordered(cell.reader[0], false) ? 0 : 1;
  cell.read[place] = bytes;
  cell.reader[place] = now;
}

void note_write(Cell& cell, std::uint8_t bytes, const Deed& now) {
  for (unsigned r = 0; r < 2; ++r) {
    if ((cell.read[r] & bytes) != 0 && !is_ordered(cell.reader[r], now.atomic))
      report("writes", cell.word, cell.reader[r]);
  }
  for (unsigned i = 0; i < kWord; ++i) {
    if ((bytes >> i & 1U) == 0) continue;
    if ((cell.written >> i & 1U) != 0 && !is_ordered(cell.writer[i], now.atomic))
      report("writes", cell.word, cell.writer[i]);
    cell.writer[i] = now;
  }
  cell.written = static_cast<std::uint8_t>(cell.written | bytes);
}

void note(const void* address, std::size_t bytes, bool writes, bool atomic) {
  if (lies_in(address, standing.stack, Fiber::kStackBytes)) return;
  Watch& all = watch();
  const Deed now{standing.block, standing.thread, standing.barrier, standing.meeting, atomic};
  const bool shared = is_shared(address);
  auto at = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t end = at + bytes;
  while (at < end) {
    const std::uintptr_t word = at / kWord, next = std::min((word + 1) * kWord, end);
    const unsigned mask = ((1U << (next - at)) - 1) << (at % kWord);
    Cell& cell = all.cells.at(word, all.launch);
    if (shared && cell.block != standing.block) cell.clear();
    cell.block = standing.block;
    (writes ? note_write : note_read)(cell, static_cast<std::uint8_t>(mask), now);
    at = next;
  }
}

void note_aligned(const void* address, std::size_t bytes, bool writes) {
  if (!is_watching) return;
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) fail_misaligned();
  if (watch().races) note(address, bytes, writes, false);
}

void note_any(const void* address, std::size_t bytes, bool writes) {
  if (is_watching && watch().races) note(address, bytes, writes, false);
}

}  // namespace

void begin_watch(bool watches, std::size_t dynamic_bytes) {
  Watch& all = watch();
  all.races = watches;
  all.dynamic = dynamic_shared;
  all.dynamic_bytes = dynamic_bytes;
  ++all.launch;
  all.cells.forget();
  is_watching = true;
}

void end_watch() { is_watching = false; }

void note_atomic(const void* address, std::size_t bytes) {
  if (is_watching && watch().races) note(address, bytes, true, true);
}

}  // namespace quern::cuda_emulator

/// The functions that the compiler calls before each access.
#define QUERN_EMULATED_ACCESS(bytes)                                          \
  void __tsan_read##bytes(void* at) { note_aligned(at, bytes, false); }       \
  void __tsan_write##bytes(void* at) { note_aligned(at, bytes, true); }       \
  void __tsan_unaligned_read##bytes(void* at) { note_any(at, bytes, false); } \
  void __tsan_unaligned_write##bytes(void* at) { note_any(at, bytes, true); }

using namespace quern::cuda_emulator;

extern "C" {

QUERN_EMULATED_ACCESS(1)
QUERN_EMULATED_ACCESS(2)
QUERN_EMULATED_ACCESS(4)
QUERN_EMULATED_ACCESS(8)
QUERN_EMULATED_ACCESS(16)
void __tsan_read_range(void* at, std::size_t bytes) { note_any(at, bytes, false); }
void __tsan_write_range(void* at, std::size_t bytes) { note_any(at, bytes, true); }
void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  note_any(from, bytes, false);
  note_any(to, bytes, true);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  note_any(to, bytes, true);
  return std::memset(to, value, bytes);
}
/// What the compiler calls where a pointer is not aligned as its type wants it: vectors as well,
/// whose accesses may be split into those of their members.
void __ubsan_handle_type_mismatch_v1(void*, void*) {
  if (is_watching) fail_misaligned();
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

}  // extern "C"
