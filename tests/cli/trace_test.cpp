#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "process.h"
#include "support/temp_dir.h"

using namespace quern::test;
using Json = nlohmann::json;

constexpr double kHalfNanosecond = 0.0005;

TEST_CASE("--trace writes Chrome's format: what each thread did, in steps that enclose it") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string path = folder.file("trace.json");
  const Outcome outcome = quern::test::quern({"bench", *model, "-p", "9", "-n", "2", "-r", "1",
                                              "--threads", "2", "--json", "--trace", path});
  REQUIRE(outcome.status == 0);
  CHECK(outcome.err.empty());
  const Json trace = Json::parse(std::ifstream(path), nullptr, false);
  REQUIRE(trace.contains("traceEvents"));
  std::set<int> threads, rows;
  std::set<std::string> kinds;
  double step_end = 0, last_end = 0;
  for (const Json& event : trace["traceEvents"]) {
    CHECK(event["ph"] == "X");
    const double end = event["ts"].get<double>() + event["dur"].get<double>();
    double& latest = event["cat"] == "step" ? step_end : last_end;
    latest = std::max(latest, end);
    threads.insert(event["tid"].get<int>());
    rows.insert(event["args"]["rows"].get<int>());
    kinds.insert(event["cat"].get<std::string>());
  }
  CHECK(threads == std::set<int>{0, 1});
  CHECK(rows == std::set<int>{1, 9});
  for (const char* kind : {"step", "start", "wait", "linear", "attention", "embedding"})
    CHECK(kinds.count(kind) == 1);
  CHECK(last_end < step_end + kHalfNanosecond);  // Both are sums of rounded numbers.
}

TEST_CASE("a trace that cannot be written is an error") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome outcome = quern::test::quern(
      {"bench", *model, "-p", "2", "-n", "0", "-r", "1", "--trace", "/no/trace"});
  CHECK(outcome.status == 1);
  CHECK(outcome.err.find("/no/trace") != std::string::npos);
}

TEST_CASE("QUERN_LOG=time prints a table of the work on stderr, and nothing else does") {
  const auto model = handbook_quern();
  if (!model) return;
  const std::vector<std::string> words{"run", *model, "-p", "apt", "-n", "2", "--raw", "--greedy"};
  const Outcome quiet = quern::test::quern(words);
  const Outcome told = quern::test::quern(words, {}, {{"QUERN_LOG", "load,time"}});
  CHECK(quiet.err.empty());
  CHECK(told.out == quiet.out);
  for (const char* wanted : {"[time]", "gated_linear glu", "linear w_down", "wait", "steps took"})
    CHECK(told.err.find(wanted) != std::string::npos);
}
