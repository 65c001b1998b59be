// The choice of an instruction set.
#include <doctest/doctest.h>

#include "kernels/harness.h"

namespace quern::kernels::test {

TEST_CASE("the first instruction set is the oracle, and every available one fills every slot") {
  CHECK(built_isas().front().name == "scalar");
  for (const KernelTable* table : tables()) {
    CAPTURE(std::string(table->isa));
    CHECK(static_cast<bool>(table->rms_norm));
    CHECK(static_cast<bool>(table->layer_norm));
    CHECK(static_cast<bool>(table->attention_merge));
    CHECK(static_cast<bool>(table->attention_finish));
    for (const auto f : table->activation) CHECK(static_cast<bool>(f));
    for (const auto f : table->glu) CHECK(static_cast<bool>(f));
    for (const auto f : table->pack_rows) CHECK(static_cast<bool>(f));
    for (const Encoding e : weight_encodings()) {
      CHECK(static_cast<bool>(table->linear[static_cast<std::size_t>(e)]));
      CHECK(static_cast<bool>(table->gather_row[static_cast<std::size_t>(e)]));
    }
    for (std::size_t type = 1; type < kKvTypes; ++type) {
      CHECK(static_cast<bool>(table->kv_store[type]));
      CHECK(static_cast<bool>(table->attention[type]));
    }
  }
}

TEST_CASE("an unknown instruction set is refused with the list of those that are there") {
  const auto table = kernels_for("sse9");
  REQUIRE(!table.ok());
  CHECK(table.error().code == ErrorCode::kUnsupported);
  CHECK(table.error().expected.find("scalar") != std::string::npos);
}

TEST_CASE("the default table is explained in the log") {
  const auto table = default_kernels();
  if (table.ok()) CHECK(!dispatch_log().empty());
}

}  // namespace quern::kernels::test
