// One typed error for everything that can be wrong with an input, and no file left behind.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>

#include "fixtures.h"

namespace quern::convert::test {
namespace {

/// Converts, expects `code`, and that the folder holds what it held before.
Error expect_refusal(const TempFolder& folder, const std::string& source, ErrorCode code,
                     const std::string& encoding = "keep",
                     const std::string& output = "out.quern") {
  const auto before = folder.names();
  const auto report = convert(source, folder.file(output), plain_options(encoding));
  CHECK(folder.names() == before);
  REQUIRE_FALSE(report.ok());
  CHECK_MESSAGE(report.error().code == code, report.error().describe());
  const auto planned = plan(source, folder.file(output), plain_options(encoding));
  if (!planned.ok()) CHECK(planned.error().code == code);
  return report.error();
}

TEST_CASE("a missing tensor, a wrong shape and an unknown architecture are named") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(
      path, {.edit = [](const std::string& name, auto&) { return name != "blk.0.ffn_up.weight"; }});
  const Error missing = expect_refusal(folder, path, ErrorCode::kMissing);
  CHECK(missing.field == "layers.0.w_up");
  CHECK(missing.expected.find("blk.0.ffn_up.weight") != std::string::npos);

  write_toy_gguf(path, {.edit = [](const std::string& name, std::vector<std::uint64_t>& ne) {
                   if (name == "blk.0.attn_v.weight") ne[1] = 64;
                   return true;
                 }});
  const Error shape = expect_refusal(folder, path, ErrorCode::kMismatch);
  CHECK(shape.field.find("blk.0.attn_v.weight") != std::string::npos);
  CHECK(shape.expected == "[128, 256]");
  CHECK(shape.found == "[64, 256]");

  write_toy_gguf(path, {.architecture = "llamba"});
  const Error unknown = expect_refusal(folder, path, ErrorCode::kUnsupported);
  CHECK(unknown.found.find("llamba") != std::string::npos);
  CHECK(unknown.expected.find(", the nearest being llama, ") != std::string::npos);
  CHECK(unknown.expected.size() < 160);
}

TEST_CASE("encodings that do not exist, or not yet, are refused by name") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(path);
  for (const char* name : {"q9", "", "Q4_K_M", "i32", "u8"}) {
    expect_refusal(folder, path, ErrorCode::kUnsupported, name);
  }
  for (const char* name : {"qr8", "qr4", "q8", "q6", "q5", "q4", "q3"}) {
    expect_refusal(folder, path, ErrorCode::kUnsupported, name, "out.gguf");
  }
}

TEST_CASE("weights that are no numbers are refused where they would be rounded away") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    write_toy_gguf(path, {.patch = [&](const std::string& name, std::string& bytes) {
                     if (name == "blk.0.ffn_down.weight") std::memcpy(bytes.data() + 4096, &bad, 4);
                   }});
    for (const char* encoding : {"q4_0", "q8", "q4", "f16", "q6_k"}) {
      const Error error = expect_refusal(folder, path, ErrorCode::kOutOfRange, encoding);
      CHECK(error.field == "layers.0.w_down");
      CHECK(error.found.find("row 2, column 0") != std::string::npos);
    }
    CHECK(convert(path, folder.file("kept.quern"), plain_options()).ok());
    std::filesystem::remove(folder.file("kept.quern"));
  }
  const float large = 70000.0F;
  write_toy_gguf(path, {.patch = [&](const std::string& name, std::string& bytes) {
                   if (name == "blk.0.ffn_down.weight") std::memcpy(bytes.data(), &large, 4);
                 }});
  expect_refusal(folder, path, ErrorCode::kOutOfRange, "f16");
  CHECK(convert(path, folder.file("kept.quern"), plain_options("bf16")).ok());
}

TEST_CASE("the input is never the output") {
  namespace fs = std::filesystem;
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(path);
  fs::create_symlink(path, folder.file("soft.quern"));
  fs::create_hard_link(path, folder.file("hard.quern"));
  fs::create_directory(folder.file("folder"));
  const std::string bytes = read_bytes(path);
  for (const char* output : {"a.gguf", "soft.quern", "hard.quern", "folder"}) {
    expect_refusal(folder, path, ErrorCode::kInvalidArgument, "keep", output);
  }
  CHECK(read_bytes(path) == bytes);
  CHECK_FALSE(convert(path, "", plain_options()).ok());
  CHECK(convert(path, folder.file("no/such/folder/x.quern"), plain_options()).error().code ==
        ErrorCode::kIo);
}

TEST_CASE("files of other kinds are refused for what they are") {
  const TempFolder folder;
  const std::pair<const char*, std::string> files[] = {
      {"pickle.bin", std::string("\x80\x02}q\x00", 5) + std::string(100, 'x')},
      {"torch.pt", std::string("PK\x03\x04", 4) + std::string(100, '\0')},
      {"text.txt", "just some words in a file"},
      {"zeros.bin", std::string(256, '\0')}};
  for (const auto& [name, bytes] : files) {
    write_bytes(folder.file(name), bytes);
    expect_refusal(folder, folder.file(name), ErrorCode::kUnsupported);
    CHECK(open_any(folder.file(name)).error().code == ErrorCode::kUnsupported);
  }
  write_bytes(folder.file("empty"), "");
  expect_refusal(folder, folder.file("empty"), ErrorCode::kTruncated);
  expect_refusal(folder, folder.file("absent"), ErrorCode::kIo);
}

TEST_CASE("every truncation of a model file is refused, and nothing is written") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(path, {.encoding = Encoding::kQ4_0, .vocab = 16});
  const std::string bytes = read_bytes(path);
  const std::string cut = folder.file("cut.gguf");
  // Every length of the head, then some of the data.
  for (std::size_t n = 0; n < bytes.size(); n += n < 2000 ? 7 : 9973) {
    write_bytes(cut, bytes.substr(0, n));
    const auto before = folder.names();
    const auto report = convert(cut, folder.file("out.quern"), plain_options());
    CHECK_FALSE(report.ok());
    CHECK(folder.names() == before);
  }
}

TEST_CASE("a directory without weights, configuration or known class says which") {
  const TempFolder folder;
  const auto path = golden("llama2");
  if (!path) return;
  std::filesystem::create_directory(folder.file("m"));
  CHECK_FALSE(convert(folder.file("m"), folder.file("o.quern"), plain_options()).ok());
  std::filesystem::copy(*path + "/config.json", folder.file("m/config.json"));
  CHECK(convert(folder.file("m"), folder.file("o.quern"), plain_options()).error().code ==
        ErrorCode::kMissing);
  std::filesystem::copy(*path + "/model.safetensors", folder.file("m/model.safetensors"));
  CHECK(convert(folder.file("m"), folder.file("o.quern"), plain_options()).ok());
  std::string config = read_bytes(folder.file("m/config.json"));
  config.replace(config.find("LlamaForCausalLM"), 16, "ManateeForCausal");
  std::filesystem::permissions(folder.file("m/config.json"), std::filesystem::perms::owner_all);
  write_bytes(folder.file("m/config.json"), config);
  CHECK(convert(folder.file("m"), folder.file("p.quern"), plain_options()).error().code ==
        ErrorCode::kUnsupported);
}

TEST_CASE("a cancelled conversion leaves nothing") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(path);
  for (const std::string output : {"out.quern", "out.gguf"}) {
    for (int stop_at = 0; stop_at < 8; stop_at += 3) {
      int calls = 0;
      auto options = plain_options("q4_0");
      options.progress = [&](std::uint64_t done, std::uint64_t total) {
        CHECK(done <= total);
        return calls++ < stop_at;
      };
      const auto report = convert(path, folder.file(output), options);
      REQUIRE_FALSE(report.ok());
      CHECK(report.error().code == ErrorCode::kCancelled);
      CHECK(folder.names() == std::vector<std::string>{"a.gguf"});
    }
  }
}

TEST_CASE("a killed conversion leaves no result, and the next one cleans up") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf"), output = folder.file("out.quern");
  write_toy_gguf(path);
  for (int stop_at = 0; stop_at < 4; ++stop_at) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int calls = 0;
      auto options = plain_options("q4_0");
      options.progress = [&](std::uint64_t, std::uint64_t) {
        if (calls++ == stop_at) raise(SIGKILL);
        return true;
      };
      static_cast<void>(convert(path, output, options));
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK_FALSE(std::filesystem::exists(output));
  }
  CHECK(convert(path, output, plain_options("q4_0")).ok());
  CHECK(folder.names() == std::vector<std::string>{"a.gguf", "out.quern"});
}

TEST_CASE("an older result is replaced whole, or stays") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf"), output = folder.file("out.quern");
  write_toy_gguf(path);
  write_bytes(output, "older");
  auto options = plain_options();
  options.progress = [](std::uint64_t, std::uint64_t) { return false; };
  CHECK_FALSE(convert(path, output, options).ok());
  CHECK(read_bytes(output) == "older");
  CHECK(convert(path, output, plain_options()).ok());
  CHECK(read_bytes(output).size() > 1000);
}

}  // namespace
}  // namespace quern::convert::test
