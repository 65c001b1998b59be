// Conversions that were killed or cancelled, and continued.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "convert/calibration.h"
#include "convert/convert.h"
#include "fixtures.h"

namespace quern::convert::test {
namespace {

/// What `convert` is asked for, on a model and text in `folder`.
struct Case {
  const char* name;
  const char* output;
  std::string encoding = "keep";
  double target_bits = 0;
  bool calibrated = false, observed = false;
};

std::vector<Case> cases() {
  std::vector<Case> all = {{"kept", "out.quern"},
                           {"uniform", "out.quern", "q4"},
                           {"GGUF", "out.gguf", "q4_0"},
                           {"chosen", "out.quern", "keep", 5.0}};
  if (can_calibrate()) {
    all.push_back({"calibrated", "out.quern", "qr4", 0, true});
    all.push_back({"chosen and calibrated", "out.quern", "keep", 5.0, true});
    all.push_back({"on its own words", "out.quern", "qr4", 0, false, true});
  }
  return all;
}

ConvertOptions options_of(const Case& asked, const TempFolder& folder) {
  ConvertOptions options = plain_options(asked.encoding);
  options.target_bits = asked.target_bits;
  if (asked.calibrated) options.calibration_text = folder.file("text.txt");
  options.observe = asked.observed;
  return options;
}

/// Counts the calls of `progress` of a whole run.
int count_steps(const std::string& source, const std::string& output, ConvertOptions options) {
  int steps = 0;
  options.progress = [&](std::uint64_t, std::uint64_t) { return ++steps > 0; };
  const auto report = convert(source, output, options);
  REQUIRE_MESSAGE(report.ok(), report.error().describe());
  return steps;
}

/// A process of its own, which dies at step `stop_at`.
void run_and_die(const std::string& source, const std::string& output, ConvertOptions options,
                 int stop_at) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int steps = 0;
    options.progress = [&](std::uint64_t, std::uint64_t) {
      if (steps++ == stop_at) raise(SIGKILL);
      return true;
    };
    static_cast<void>(convert(source, output, options));
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
}

/// The file beside the output whose name ends in `suffix`; empty where there is none.
std::string left_over(const TempFolder& folder, const std::string& suffix) {
  for (const std::string& name : folder.names()) {
    const bool hidden = name.rfind(".quern-", 0) == 0;
    const bool journal = name.size() > 8 && name.substr(name.size() - 8) == ".journal";
    if (hidden && journal == (suffix == ".journal")) return folder.file(name);
  }
  return {};
}

/// Cancels a q4 conversion of the toy after a few tensors, keeping what is finished.
void leave_unfinished(const std::string& source, const std::string& output, ConvertOptions options,
                      int steps = 6) {
  options.keep_cancelled = true;
  options.progress = [&](std::uint64_t, std::uint64_t) { return steps-- > 0; };
  REQUIRE_FALSE(convert(source, output, options).ok());
}

}  // namespace

TEST_CASE("a conversion killed anywhere is continued to the same bytes") {
  for (const Case& asked : cases()) {
    CAPTURE(asked.name);
    const TempFolder folder;
    const auto source = reading_golden(folder, "llama3");
    if (!source) return;
    write_bytes(folder.file("text.txt"), some_text(60000));
    const std::string whole = folder.file(std::string("whole-") + asked.output);
    const std::string output = folder.file(asked.output);
    ConvertOptions options = options_of(asked, folder);
    const int steps = count_steps(*source, whole, options);
    REQUIRE(steps > 8);
    std::vector<int> stops = {steps / 4, steps - steps / 4, steps - 1};
    if (!asked.calibrated) stops.insert(stops.end(), {0, steps / 2});  // The others take longer.
    for (const int stop_at : stops) {
      CAPTURE(stop_at);
      options.resume = false;
      run_and_die(*source, output, options, stop_at);
      CHECK_FALSE(std::filesystem::exists(output));
      // Killed again on its way.
      options.resume = true;
      run_and_die(*source, output, options, 0);
      const auto report = convert(*source, output, options);
      REQUIRE_MESSAGE(report.ok(), report.error().describe());
      if (stop_at == steps - 1) CHECK(report->resumed_tensors + 1 >= report->plan.tensors.size());
      CHECK(read_bytes(output) == read_bytes(whole));
      CHECK(left_over(folder, "").empty());
      CHECK(left_over(folder, ".journal").empty());
      std::filesystem::remove(output);
    }
  }
}

TEST_CASE("what is finished is not done again") {
  const TempFolder folder;
  const std::string source = folder.file("a.gguf"), output = folder.file("out.quern");
  write_toy_gguf(source);
  ConvertOptions options = plain_options("q4");
  leave_unfinished(source, output, options);
  REQUIRE_FALSE(left_over(folder, "").empty());
  options.resume = true;
  const auto report = convert(source, output, options);
  REQUIRE_MESSAGE(report.ok(), report.error().describe());
  CHECK(report->resumed_tensors >= 5);
  CHECK(report->resumed_tensors < report->plan.tensors.size());
  const auto plain = convert(source, folder.file("plain.quern"), plain_options("q4"));
  REQUIRE(plain.ok());
  CHECK(plain->resumed_tensors == 0);
  CHECK(plain->quality_json == report->quality_json);
  CHECK(read_bytes(output) == read_bytes(folder.file("plain.quern")));
  // Nothing is left to continue: the same again.
  const auto again = convert(source, output, options);
  REQUIRE(again.ok());
  CHECK(again->resumed_tensors == 0);
}

TEST_CASE("without resume an interrupted conversion begins anew and cleans up") {
  const TempFolder folder;
  const std::string source = folder.file("a.gguf"), output = folder.file("out.quern");
  write_toy_gguf(source);
  leave_unfinished(source, output, plain_options("q4"));
  CHECK(folder.names().size() == 3);
  const auto report = convert(source, output, plain_options("q4"));
  REQUIRE(report.ok());
  CHECK(report->resumed_tensors == 0);
  CHECK(folder.names() == std::vector<std::string>{"a.gguf", "out.quern"});
}

TEST_CASE(
    "other arguments or a changed source cannot be continued, and nothing is lost by trying") {
  const TempFolder folder;
  const std::string source = folder.file("a.gguf"), output = folder.file("out.quern");
  write_toy_gguf(source);
  leave_unfinished(source, output, plain_options("q4"));
  const auto refused_for = [&](const ConvertOptions& options) {
    auto report = convert(source, output, options);
    REQUIRE_FALSE(report.ok());
    CHECK(report.error().code == ErrorCode::kMismatch);
    CHECK(report.error().file == output);
    CHECK_FALSE(std::filesystem::exists(output));
    CHECK_FALSE(left_over(folder, "").empty());
    CHECK_FALSE(left_over(folder, ".journal").empty());
    return report.error();
  };
  ConvertOptions options = plain_options("q5");
  options.resume = true;
  const Error other = refused_for(options);
  CHECK(other.field == "encoding");
  CHECK(other.expected == "q4");
  CHECK(other.found == "q5");
  options = plain_options("q4");
  options.resume = true;
  options.self_test = true;
  CHECK(refused_for(options).field == "self-test");
  options.self_test = false;
  const auto time = std::filesystem::last_write_time(source);
  std::filesystem::last_write_time(source, time + std::chrono::seconds(1));
  CHECK(refused_for(options).field == "file " + source);
  std::filesystem::last_write_time(source, time);
  const auto report = convert(source, output, options);
  REQUIRE_MESSAGE(report.ok(), report.error().describe());
  CHECK(report->resumed_tensors > 0);
}

TEST_CASE("damage to what was left costs time, never bits") {
  const TempFolder folder;
  const std::string source = folder.file("a.gguf"), output = folder.file("out.quern");
  write_toy_gguf(source);
  REQUIRE(convert(source, folder.file("plain.quern"), plain_options("q4")).ok());
  const std::string plain = read_bytes(folder.file("plain.quern"));
  ConvertOptions options = plain_options("q4");
  options.resume = true;
  const auto finish = [&] {
    const auto report = convert(source, output, options);
    REQUIRE_MESSAGE(report.ok(), report.error().describe());
    CHECK(read_bytes(output) == plain);
    return report->resumed_tensors;
  };
  leave_unfinished(source, output, plain_options("q4"));
  const std::size_t undamaged = finish();
  REQUIRE(undamaged > 2);

  // A flipped bit in a finished tensor: that one is done again.
  leave_unfinished(source, output, plain_options("q4"));
  const std::string data = left_over(folder, "");
  std::string bytes = read_bytes(data);
  char& inside = bytes[bytes.size() / 2];
  inside = static_cast<char>(inside ^ 1);
  write_bytes(data, bytes);
  CHECK(finish() == undamaged - 1);

  // The journal cut anywhere: in its last line, in the middle, to nothing.
  for (const std::size_t cut : {std::size_t{1}, std::size_t{400}, std::size_t{100000}}) {
    CAPTURE(cut);
    leave_unfinished(source, output, plain_options("q4"));
    const std::string journal = left_over(folder, ".journal");
    const std::string text = read_bytes(journal);
    write_bytes(journal, text.substr(0, text.size() - std::min(cut, text.size())));
    CHECK(finish() < undamaged);
  }

  // Bytes behind the last finished tensor, as a longer file would have left them.
  leave_unfinished(source, output, plain_options("q4"));
  const std::string longer = left_over(folder, "");
  write_bytes(longer, read_bytes(longer) + std::string(3 << 20, 'x'));
  CHECK(finish() == undamaged);
}

}  // namespace quern::convert::test
