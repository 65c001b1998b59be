#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "formats/atomic_file.h"
#include "formats/byte_reader.h"
#include "formats/mapped_file.h"
#include "quern/checked.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

TEST_CASE("checked arithmetic gives nothing instead of a wrapped value") {
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  CHECK(checked_mul<std::uint64_t>(1u << 31, 2) == std::uint64_t{1} << 32);
  CHECK_FALSE(checked_mul<std::uint64_t>(kMax / 3 + 1, 3).has_value());
  CHECK(checked_mul<std::uint64_t>(0, kMax) == 0);
  CHECK(checked_add<std::uint64_t>(kMax, 0) == kMax);
  CHECK_FALSE(checked_add<std::uint64_t>(kMax, 1).has_value());
  CHECK(round_up<std::uint64_t>(65, 64) == 128);
  CHECK(round_up<std::uint64_t>(64, 64) == 64);
  CHECK_FALSE(round_up<std::uint64_t>(kMax, 64).has_value());
  CHECK_FALSE(round_up<std::uint64_t>(5, 0).has_value());
}

TEST_CASE("the bounded reader names the field and the absolute offset of a short read") {
  const std::string text("\1\2\3\4\5", 5);
  ByteReader in(as_bytes(text), "f", 100);
  CHECK(in.get<std::uint16_t>("a").value() == 0x0201);
  const auto short_read = in.get<std::uint32_t>("b");
  REQUIRE_FALSE(short_read.ok());
  CHECK(short_read.error().code == ErrorCode::kTruncated);
  CHECK(short_read.error().offset == 102u);
  CHECK(short_read.error().field == "b");
  CHECK(in.remaining() == 3);  // A failed read consumes nothing.
  CHECK_FALSE(in.expect_items(~std::uint64_t{0}, 2, "c").ok());
  CHECK_FALSE(in.take(4, "d").ok());
  CHECK(in.text(3, "e").value() == "\3\4\5");
  CHECK(quote("a\"\n\xff") == "\"a\\\"\\x0a\\xff\"");
}

TEST_CASE("a file appears complete or not at all") {
  const TempDir dir;
  const std::string path = dir.write("out", "old");
  {
    auto file = AtomicFile::create(path);
    REQUIRE(file.ok());
    REQUIRE(file->write_at(2, as_bytes("new")).ok());
    CHECK(dir.read("out") == "old");
    CHECK(dir.entries() == 2);
  }
  CHECK(dir.read("out") == "old");
  CHECK(dir.entries() == 1);
  auto file = AtomicFile::create(path);
  REQUIRE(file.ok());
  REQUIRE(file->write_at(2, as_bytes("new")).ok());
  REQUIRE(file->commit().ok());
  CHECK(dir.read("out") == std::string("\0\0new", 5));
  CHECK(dir.entries() == 1);
  CHECK_FALSE(file->commit().ok());
  CHECK_FALSE(file->write_at(0, as_bytes("x")).ok());
}

TEST_CASE("a symbolic link stays one, and the file behind it is replaced") {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("there"));
  const std::string target = dir.write("there/file", "old");
  std::filesystem::create_symlink("there/file", dir.file("link"));
  REQUIRE(write_file_atomically(dir.file("link"), as_bytes("new")).ok());
  CHECK(std::filesystem::is_symlink(dir.file("link")));
  CHECK(dir.read("there/file") == "new");
  CHECK(dir.entries() == 2);  // No temporary is left, here or there.
}

TEST_CASE("what a killed run left is removed by the next one, what a living run writes is not") {
  const TempDir dir;
  const std::string path = dir.file("out");
  const pid_t child = ::fork();
  if (child == 0) {
    auto file = AtomicFile::create(path);
    if (file.ok()) (void)file->write_at(0, as_bytes("half"));
    ::raise(SIGKILL);
  }
  REQUIRE(child > 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(dir.entries() == 1);
  auto first = AtomicFile::create(path);
  REQUIRE(first.ok());
  CHECK(dir.entries() == 1);  // The left-over is gone, ours is there.
  auto second = AtomicFile::create(path);
  REQUIRE(second.ok());
  CHECK(dir.entries() == 2);
  REQUIRE(first->write_at(0, as_bytes("first")).ok());
  REQUIRE(first->commit().ok());
  CHECK(dir.read("out") == "first");
}

TEST_CASE("a file that cannot grow, or fit, is a typed error and leaves nothing") {
  const TempDir dir;
  auto file = AtomicFile::create(dir.file("out"));
  REQUIRE(file.ok());
  const Status space = file->expect_bytes(std::uint64_t{1} << 60);
  REQUIRE_FALSE(space.ok());
  CHECK(space.error().code == ErrorCode::kLimit);
  CHECK(space.error().expected.find("needed") != std::string::npos);
  CHECK(space.error().found.find("free") != std::string::npos);
  // A limit on the size of files stands in for a full disk.
  const auto old_action = ::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{}, small{};
  ::getrlimit(RLIMIT_FSIZE, &old_limit);
  small = old_limit;
  small.rlim_cur = 1000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Status full = file->write_at(0, as_bytes(std::string(2000, 'x')));
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  ::signal(SIGXFSZ, old_action);
  REQUIRE_FALSE(full.ok());
  CHECK(full.error().code == ErrorCode::kLimit);
  CHECK_FALSE(AtomicFile::create("/dev/null").ok());
  CHECK_FALSE(AtomicFile::create(dir.file("absent/out")).ok());
  CHECK_FALSE(AtomicFile::create(dir.path() + "/").ok());
  *file = std::move(*AtomicFile::create(dir.file("other")));
}

TEST_CASE("one file under several names is recognised") {
  const TempDir dir;
  const std::string path = dir.write("a", "x"), other = dir.write("b", "x");
  std::filesystem::create_symlink(path, dir.file("soft"));
  std::filesystem::create_hard_link(path, dir.file("hard"));
  CHECK(same_file(path, path));
  CHECK(same_file(path, dir.file("./a")));
  CHECK(same_file(path, dir.file("soft")));
  CHECK(same_file(path, dir.file("hard")));
  CHECK_FALSE(same_file(path, other));
  CHECK_FALSE(same_file(path, dir.file("absent")));
  CHECK(is_regular_file(path));
  CHECK_FALSE(is_regular_file(dir.path()));
}

TEST_CASE("mapping, reading and limits of whole files") {
  const TempDir dir;
  const std::string text(100000, 'y');
  const std::string path = dir.write("a", text);
  auto mapped = MappedFile::open(path);
  REQUIRE(mapped.ok());
  mapped->release(mapped->bytes());
  CHECK(as_text(mapped->bytes()) == text);
  const MappedFile moved = std::move(*mapped);
  CHECK(as_text(moved.bytes()) == text);
  CHECK(read_file(path, 100000).value() == text);
  CHECK(read_file(path, 99999).error().code == ErrorCode::kLimit);
  CHECK(read_file(dir.write("empty", ""), 10).value().empty());
  // A named pipe must not block.
  REQUIRE(::mkfifo(dir.file("pipe").c_str(), 0600) == 0);
  CHECK(MappedFile::open(dir.file("pipe")).error().code == ErrorCode::kUnsupported);
}

TEST_CASE("a memory image grows with zeros") {
  MemoryImage image;
  REQUIRE(image.resize(10).ok());
  image.bytes()[9] = std::byte{1};
  REQUIRE(image.resize(5).ok());
  REQUIRE(image.resize(100000).ok());
  for (const std::byte b : image.bytes()) CHECK(b == std::byte{0});
  CHECK(image.resize(~std::uint64_t{0}).error().code == ErrorCode::kOutOfMemory);
}
