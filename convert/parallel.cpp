#include "convert/parallel.h"

#include <atomic>
#include <new>
#include <optional>
#include <vector>

namespace quern::convert {
namespace {

/// Threads take the pieces as they come to them: a core that others use too gets fewer.
struct Pieces {
  const std::function<Status(std::size_t, int)>* work;
  std::vector<std::optional<Error>> errors;  ///< One per piece.
  std::atomic<std::size_t> next = 0;

  void share(int thread) noexcept {
    for (;;) {
      const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= errors.size()) return;
      try {
        auto status = (*work)(i, thread);
        if (!status.ok()) errors[i] = std::move(status).error();
      } catch (const std::bad_alloc&) {
        errors[i] = Error();
        errors[i]->code = ErrorCode::kOutOfMemory;
      }
    }
  }
};

}  // namespace

Status run_parallel(Executor& executor, std::size_t count,
                    const std::function<Status(std::size_t i, int thread)>& work) {
  Pieces pieces{&work, std::vector<std::optional<Error>>(count)};
  const auto share = [](void* context, int thread) {
    static_cast<Pieces*>(context)->share(thread);
  };
  const int threads = executor.threads();
  // Where so many threads cannot be had, one does it all.
  if (threads == 1 || count < 2 || !executor.run(threads, share, &pieces)) pieces.share(0);
  for (auto& error : pieces.errors) {
    if (!error) continue;
    if (error->code == ErrorCode::kOutOfMemory && error->message.empty()) throw std::bad_alloc();
    return std::move(*error);
  }
  return {};
}

}  // namespace quern::convert
