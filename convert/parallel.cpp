#include "convert/parallel.h"

#include <algorithm>
#include <new>
#include <optional>
#include <vector>

namespace quern::convert {
namespace {

struct Pieces {
  const std::function<Status(std::size_t, int)>* work;
  std::vector<std::optional<Error>> errors;  ///< One per piece.
  int threads;

  void share(int thread) noexcept {
    for (auto i = static_cast<std::size_t>(thread); i < errors.size();
         i += static_cast<std::size_t>(threads)) {
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
  Pieces pieces{&work, std::vector<std::optional<Error>>(count), executor.threads()};
  const auto share = [](void* context, int thread) {
    static_cast<Pieces*>(context)->share(thread);
  };
  // Where so many threads cannot be had, one does it all.
  if (pieces.threads == 1 || count < 2 || !executor.run(pieces.threads, share, &pieces)) {
    for (int thread = 0; thread < pieces.threads; ++thread) pieces.share(thread);
  }
  for (auto& error : pieces.errors) {
    if (!error) continue;
    if (error->code == ErrorCode::kOutOfMemory && error->message.empty()) throw std::bad_alloc();
    return std::move(*error);
  }
  return {};
}

}  // namespace quern::convert
