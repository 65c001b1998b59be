// Files and pipes that the program writes to, and what the system may do to them meanwhile.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "process.h"

using namespace quern::test;

TEST_CASE("a model file that becomes shorter while it is in use is one sentence and status 1") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  std::filesystem::copy_file(*model, folder.file("model.quern"));
  // The program waits for its text with the model open; then the file loses all but one page.
  const Outcome outcome = run_program(
      "/bin/sh", {"-c", "cd " + folder.path() + "; mkfifo text; " + QUERN_PROGRAM +
                            " tokenize model.quern <text & exec 3>text; "
                            "until grep -q model.quern /proc/$!/maps; do sleep 0.01; done; "
                            "truncate -s 4096 model.quern; echo Debian >&3; exec 3>&-; wait $!"});
  CHECK(outcome.status == 1);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.find("became shorter") != std::string::npos);
}

TEST_CASE("an output that is a symbolic link stays one") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string target = folder.write("target", "old");
  std::filesystem::create_symlink(target, folder.file("link"));
  CHECK(quern::test::quern({"logits", *model, "--ids", "1,2", "-o", folder.file("link")}).status ==
        0);
  CHECK(std::filesystem::is_symlink(folder.file("link")));
  CHECK(folder.read("target").size() > 8);
  CHECK(folder.entries() == 2);
}

TEST_CASE("a run that is ended by a signal leaves no half of an output") {
  const auto model = handbook_quern();
  if (!model) return;
  for (const std::string signal : {"TERM", "INT", "HUP"}) {
    const quern::testing::TempDir folder;
    // Longer than anybody waits: the signal comes as soon as there is a half of a file.
    const Outcome outcome =
        run_program("/bin/sh", {"-c", "cd " + folder.path() +
                                          "; yes Debian is a system | head -c 4000000 >text; " +
                                          QUERN_PROGRAM + " eval perplexity " + *model +
                                          " --text text --save-logits out & "
                                          "until ls | grep -q out; do sleep 0.01; done; kill -s " +
                                          signal + " $!; wait $!"});
    CAPTURE(signal);
    CHECK(outcome.status >= 128);
    CHECK(folder.entries() == 1);
  }
}

TEST_CASE("no output takes the place of the model that is read") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string copy = folder.file("copy.quern");
  std::filesystem::copy_file(*model, copy);
  const std::string original = folder.read("copy.quern");
  std::filesystem::create_hard_link(copy, folder.file("other name"));
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"logits", copy, "--ids", "1,2", "-o", folder.file("other name")},
           {"run", copy, "-p", "x", "-n", "1", "--trace", copy},
           {"quantize", copy, "-o", folder.file("o"), "--encoding", "q8", "--report", copy},
           {"convert", copy, "-o", folder.file("other name")}}) {
    const Outcome outcome = quern::test::quern(words);
    CAPTURE(words[0]);
    CHECK(outcome.status == 1);
    CHECK(outcome.err.find("never touched") != std::string::npos);
    CHECK(folder.read("copy.quern") == original);
  }
}

TEST_CASE("output that cannot be written is status 1, a reader that leaves is quiet") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome full = run_program(
      "/bin/sh", {"-c", std::string(QUERN_PROGRAM) + " inspect " + *model + " >/dev/full"});
  CHECK(full.status == 1);
  CHECK(full.err.find("standard output") != std::string::npos);
  const Outcome left = run_program("/bin/sh", {"-c", std::string(QUERN_PROGRAM) + " run " + *model +
                                                         " -p x --ignore-eos -n 300 | head -c 1"});
  CHECK(left.err.empty());
  const Outcome chat =
      run_program("/bin/sh", {"-c", "yes Hello | head -20 | " + std::string(QUERN_PROGRAM) +
                                        " chat " + *model + " --ignore-eos -n 40 | head -c 1"});
  CHECK(chat.err.empty());
}

TEST_CASE("a limit of file sizes is an error, not a signal") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  for (const char* command : {" convert ", " logits --ids 1,2,3,4,5,6,7,8,9,10,11,12 "}) {
    const Outcome outcome =
        run_program("/bin/sh", {"-c", "ulimit -f 64; " + std::string(QUERN_PROGRAM) + command +
                                          *model + " -o " + folder.file("out")});
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.err.find("too large") != std::string::npos);
    CHECK(folder.entries() == 0);
  }
}

TEST_CASE("help and version that cannot be written are status 1") {
  for (const char* asked : {" --version", " --help", " run --help"}) {
    for (const char* where : {" >/dev/full", " >&-"}) {
      const Outcome outcome =
          run_program("/bin/sh", {"-c", std::string(QUERN_PROGRAM) + asked + where});
      CHECK_MESSAGE(outcome.status == 1, asked << where);
      CHECK(outcome.err.find("standard output") != std::string::npos);
    }
  }
}
