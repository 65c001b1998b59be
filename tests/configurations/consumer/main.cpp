// What a host does first: open a model, and look at the error when there is none.
#include <cstdio>

#include "quern/model.h"

int main() {
  const auto model = quern::Model::open("there/is/no/such.quern");
  if (model.ok() || model.error().code != quern::ErrorCode::kIo) {
    std::puts("expected an I/O error");
    return 1;
  }
  std::puts(model.error().describe().c_str());
  return 0;
}
