// What the compiler made of the kernels, by its own account (.cmake/cuda.cmake keeps what ptxas
// says): on every architecture of the build the kernels have registers enough.
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

/// What ptxas says of a kernel on one architecture. Bytes of a thread.
struct Resources {
  int registers = 0, stack_bytes = 0, spill_store_bytes = 0, spill_load_bytes = 0;
};
/// By name of the kernel and of the architecture.
using AllResources = std::map<std::pair<std::string, std::string>, Resources>;

/// The word of a line behind `before` and a quote.
std::string quoted(const std::string& line, const std::string& before) {
  const std::size_t at = line.find(before + "'");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + before.size() + 1;
  return line.substr(begin, line.find('\'', begin) - begin);
}

void read_resources(const std::filesystem::path& path, AllResources& all) {
  std::ifstream file(path);
  Resources* current = nullptr;
  for (std::string line; std::getline(file, line);) {
    const std::string kernel = quoted(line, "Compiling entry function ");
    if (!kernel.empty()) current = &all[{kernel, quoted(line, " for ")}];
    if (current == nullptr) continue;
    std::sscanf(line.c_str(), " %d bytes stack frame, %d bytes spill stores, %d bytes spill loads",
                &current->stack_bytes, &current->spill_store_bytes, &current->spill_load_bytes);
    const std::size_t used = line.find("Used ");
    if (used != std::string::npos)
      std::sscanf(line.c_str() + used, "Used %d registers", &current->registers);
  }
}

AllResources read_all() {
  AllResources all;
  for (const auto& entry : std::filesystem::directory_iterator(QUERN_CUDA_MODULES_DIR)) {
    if (entry.path().extension() == ".resources") read_resources(entry.path(), all);
  }
  return all;
}

}  // namespace

TEST_CASE("no kernel of this build keeps in memory what belongs into registers") {
  const AllResources all = read_all();
  std::set<std::string> kernels, architectures;
  for (const auto& entry : all) {
    const auto& which = entry.first;
    const Resources& resources = entry.second;
    const std::string &kernel = which.first, &architecture = which.second;
    CAPTURE(kernel);
    CAPTURE(architecture);
    kernels.insert(kernel);
    architectures.insert(architecture);
    CHECK(resources.registers > 0);
    CHECK(resources.spill_store_bytes == 0);
    CHECK(resources.spill_load_bytes == 0);
    CHECK(resources.stack_bytes == 0);
  }
  CHECK(all.size() == kernels.size() * architectures.size());
  for (const char* hot : {"quern_linear_few_q4_k", "quern_linear_many_q4_k", "quern_linear_few_qr4",
                          "quern_linear_many_qr4", "quern_attention_q8", "quern_scan"}) {
    CAPTURE(hot);
    CHECK(kernels.count(hot) == 1);
  }
}
