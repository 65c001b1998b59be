// The arrows of DESIGN.md section 2, read from every #include.
#include <doctest/doctest.h>
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "structure/source_tree.h"

namespace quern::structure {
namespace {

/// A layer's folder and the layers below that it may include (itself is always allowed).
struct Layer {
  std::string folder;
  std::string include_prefix;
  std::set<std::string> may_include;
};

const std::vector<Layer>& layers() {
  static const std::vector<Layer> table = {
      {"include/quern", "quern/", {}},
      {"lib/base", "base/", {"include/quern"}},
      {"formats", "formats/", {"include/quern", "lib/base"}},
      {"lib/quant", "quant/", {"include/quern", "lib/base"}},
      {"lib/kernels", "kernels/", {"include/quern", "lib/base", "lib/quant"}},
      {"lib/graph", "graph/", {"include/quern", "lib/base", "lib/quant"}},
      {"lib/backends",
       "backends/",
       {"include/quern", "lib/base", "lib/quant", "lib/kernels", "lib/graph"}},
      {"lib/models", "models/", {"include/quern", "lib/base", "lib/quant", "lib/graph", "formats"}},
      {"lib/text", "text/", {"include/quern", "lib/base", "formats"}},
      {"lib/runtime",
       "runtime/",
       {"include/quern", "lib/base", "lib/quant", "lib/kernels", "lib/graph", "lib/backends",
        "lib/models", "lib/text", "formats"}},
      {"convert",
       "convert/",
       {"include/quern", "lib/base", "lib/quant", "lib/kernels", "lib/graph", "lib/backends",
        "lib/models", "lib/text", "lib/runtime", "formats"}},
      // Of convert/ the examples see convert.h alone; the test below says so.
      {"examples", "", {"include/quern", "convert"}},
  };
  return table;
}

const Layer* layer_of_file(const SourceFile& file) {
  for (const Layer& layer : layers()) {
    if (file.is_under(layer.folder)) {
      return &layer;
    }
  }
  return nullptr;
}

const Layer* layer_of_include(const std::string& target) {
  for (const Layer& layer : layers()) {
    if (!layer.include_prefix.empty() && target.rfind(layer.include_prefix, 0) == 0) {
      return &layer;
    }
  }
  return nullptr;
}

/// The file of the tree that an include means, or "".
std::string resolve(const SourceFile& from, const std::string& target,
                    const std::set<std::string>& paths) {
  const std::string folder = from.path.substr(0, from.path.rfind('/') + 1);
  for (const std::string& candidate :
       {folder + target, "include/" + target, "lib/" + target, target, "examples/" + target}) {
    const std::string path = std::filesystem::path(candidate).lexically_normal().generic_string();
    if (paths.count(path) != 0) {
      return path;
    }
  }
  return "";
}

using Graph = std::map<std::string, std::vector<std::string>>;

/// Depth-first search; `state` is 1 on the way down and 2 when done.
void find_cycles(const Graph& graph, const std::string& node, std::map<std::string, int>& state,
                 std::vector<std::string>& cycles) {
  state[node] = 1;
  const auto arrows = graph.find(node);
  if (arrows != graph.end()) {
    for (const std::string& next : arrows->second) {
      if (state[next] == 1) {
        cycles.push_back(node + " includes " + next + ", which includes it");
      } else if (state[next] == 0) {
        find_cycles(graph, next, state, cycles);
      }
    }
  }
  state[node] = 2;
}

}  // namespace

TEST_CASE("every include points down the list of layers") {
  std::vector<std::string> wrong;
  size_t n_seen = 0;
  for (const SourceFile& file : source_tree()) {
    const Layer* from = file.is_cpp() ? layer_of_file(file) : nullptr;
    if (from == nullptr) {
      continue;
    }
    for (const Include& include : file.includes()) {
      const Layer* to = layer_of_include(include.target);
      if (to == nullptr || to == from) {
        continue;
      }
      ++n_seen;
      const bool is_inner_convert = from->folder == "examples" && to->folder == "convert" &&
                                    include.target != "convert/convert.h";
      if (from->may_include.count(to->folder) == 0 || is_inner_convert) {
        wrong.push_back(at(file, static_cast<size_t>(include.line) - 1,
                           from->folder + " may not include " + include.target));
      }
    }
  }
  CHECK(n_seen > 0);
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("a quoted include names a file of this repository by its path from a root") {
  std::set<std::string> paths;
  for (const SourceFile& file : source_tree()) {
    paths.insert(file.path);
  }
  std::vector<std::string> wrong;
  for (const SourceFile& file : source_tree()) {
    if (layer_of_file(file) == nullptr || !file.is_cpp()) {
      continue;
    }
    for (const Include& include : file.includes()) {
      const bool climbs = include.target.find("..") != std::string::npos;
      if (include.is_quoted && (climbs || resolve(file, include.target, paths).empty())) {
        wrong.push_back(at(file, static_cast<size_t>(include.line) - 1, include.target));
      }
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("no header includes itself by a detour") {
  std::set<std::string> paths;
  for (const SourceFile& file : source_tree()) {
    paths.insert(file.path);
  }
  Graph graph;
  for (const SourceFile& file : source_tree()) {
    for (const Include& include : file.is_cpp() ? file.includes() : std::vector<Include>()) {
      const std::string path = resolve(file, include.target, paths);
      if (include.is_quoted && !path.empty()) {
        graph[file.path].push_back(path);
      }
    }
  }
  std::map<std::string, int> state;
  std::vector<std::string> cycles;
  for (const auto& [path, arrows] : graph) {
    if (state[path] == 0) {
      find_cycles(graph, path, state, cycles);
    }
  }
  CHECK_MESSAGE(cycles.empty(), joined(cycles));
}

TEST_CASE("each foreign header is included only where the design puts its library") {
  struct Place {
    std::string header;
    std::vector<std::string> folders;
  };
  const std::vector<Place> places = {
      {"CLI/", {"examples"}},
      {"CLI11", {"examples"}},
      {"nlohmann/", {"formats", "examples"}},
      {"pcre2", {"lib/text"}},
      {"utf8proc", {"lib/text"}},
      {"omp.h", {"lib/base"}},
      {"xsimd/", {"lib/kernels"}},
      {"immintrin.h", {"lib/kernels", "lib/base"}},
      {"arm_neon.h", {"lib/kernels", "lib/base"}},
      {"oneapi/", {"lib/backends"}},
      {"dnnl", {"lib/backends"}},
      {"cuda", {"lib/backends/cuda"}},
      {"cblas", {"convert"}},
      {"lapack", {"convert"}},
      {"doctest", {}},
  };
  std::vector<std::string> wrong;
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp() || file.is_under("tests") || file.is_under("bench")) {
      continue;
    }
    for (const Include& include : file.includes()) {
      for (const Place& place : places) {
        const bool is_here = std::any_of(place.folders.begin(), place.folders.end(),
                                         [&](const std::string& f) { return file.is_under(f); });
        if (!include.is_quoted && include.target.rfind(place.header, 0) == 0 && !is_here) {
          wrong.push_back(at(file, static_cast<size_t>(include.line) - 1, include.target));
        }
      }
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

}  // namespace quern::structure
