// Journals: what was noted is there again, whatever happened to the end of the file.
#include "formats/journal.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/temp_dir.h"

namespace quern::formats::test {

using quern::testing::TempDir;

TEST_CASE("a journal gives back what was noted, the last note of a key") {
  const TempDir dir;
  const std::string path = dir.file("notes");
  {
    auto journal = Journal::create(path);
    REQUIRE(journal.ok());
    REQUIRE(journal->add("a", "1").ok());
    REQUIRE(journal->add("b c", "").ok());
    REQUIRE(journal->add("a", "2\t3").ok());
    CHECK(journal->size() == 2);
    CHECK(journal->add("tab\t", "x").error().code == ErrorCode::kInvalidArgument);
    CHECK(journal->add("x", "two\nlines").error().code == ErrorCode::kInvalidArgument);
  }
  auto journal = Journal::open(path);
  REQUIRE(journal.ok());
  CHECK(journal->size() == 2);
  REQUIRE(journal->find("a") != nullptr);
  CHECK(*journal->find("a") == "2\t3");
  REQUIRE(journal->find("b c") != nullptr);
  CHECK(journal->find("b c")->empty());
  CHECK(journal->find("x") == nullptr);
  CHECK(Journal::open(dir.file("absent")).error().code == ErrorCode::kIo);
}

TEST_CASE("a journal cut or damaged anywhere keeps its good beginning and can be continued") {
  const TempDir dir;
  const std::string path = dir.file("notes");
  std::vector<std::size_t> ends;
  {
    auto journal = Journal::create(path);
    REQUIRE(journal.ok());
    for (int i = 0; i < 5; ++i) {
      REQUIRE(
          journal->add("key " + std::to_string(i), std::string(static_cast<std::size_t>(i), 'v'))
              .ok());
      ends.push_back(dir.read("notes").size());
    }
  }
  const std::string text = dir.read("notes");
  for (const bool cut : {true, false}) {
    for (std::size_t at = 0; at < text.size(); ++at) {
      std::string damaged = cut ? text.substr(0, at) : text;
      if (!cut) damaged[at] = static_cast<char>(damaged[at] ^ 4);
      dir.write("notes", damaged);
      std::size_t whole = 0;
      while (whole < ends.size() && ends[whole] <= at) ++whole;
      auto journal = Journal::open(path);
      REQUIRE(journal.ok());
      REQUIRE(journal->size() == whole);
      REQUIRE(journal->add("more", "x").ok());
      auto again = Journal::open(path);
      REQUIRE(again.ok());
      REQUIRE(again->size() == whole + 1);
    }
  }
}

TEST_CASE("numbers come back from a record with every bit") {
  const std::vector<std::uint64_t> words = {0, 1, 0xFFFFFFFFFFFFFFFFu, 0x3FF0000000000000u};
  CHECK(read_words(write_words(words)) == words);
  CHECK(read_words("") == std::vector<std::uint64_t>());
  for (const char* bad : {" ", "1 ", "1  2", "x", "1x", "-1", "10000000000000000"}) {
    CAPTURE(bad);
    CHECK_FALSE(read_words(bad).has_value());
  }
}

}  // namespace quern::formats::test
