#include "quern/model.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>

#include "convert/convert.h"
#include "formats/json.h"
#include "formats/quern_file.h"
#include "formats/quern_writer.h"
#include "quern/log.h"
#include "quern/session.h"
#include "support.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::test;
using formats::Json;

namespace {

/// A `.quern` file of a golden in `folder`.
std::string quern_file(const testing::TempDir& folder, const std::string& source) {
  const std::string path = folder.file("model.quern");
  convert::ConvertOptions options;
  options.threads = 1;
  const auto report = convert::convert(source, path, options);
  if (!report.ok()) FAIL(report.error().describe());
  return path;
}

/// The same file with another configuration, and optionally without one tensor; all sealed anew.
Result<Model> reopened(const formats::QuernFile& file, const Json& config,
                       const std::string& without = "") {
  formats::MemorySink sink("changed.quern");
  QUERN_TRY(writer, formats::QuernWriter::to_sink(sink, formats::dump_json(config)));
  std::vector<const formats::TensorEntry*> kept;
  for (const formats::TensorEntry& tensor : file.tensors()) {
    if (tensor.name == without) continue;
    kept.push_back(&tensor);
    QUERN_CHECK(writer.declare_tensor(
        tensor.name, tensor.encoding, tensor.layout,
        std::span(tensor.dims.data(), static_cast<std::size_t>(tensor.n_dims))));
  }
  QUERN_CHECK(writer.begin());
  for (const formats::TensorEntry* tensor : kept) QUERN_CHECK(writer.write(tensor->data));
  QUERN_CHECK(writer.finish());
  auto owner = std::make_shared<formats::MemoryImage>(std::move(sink).take());
  const std::span<const std::byte> bytes = std::as_const(*owner).bytes();
  ModelOptions options;
  options.threads = 1;
  return Model::from_memory(owner, bytes, "changed.quern", options);
}

}  // namespace

TEST_CASE("a converted file verifies, and a flipped weight is told by name") {
  const auto source = golden_model("qwen3");
  if (!source) return;
  const testing::TempDir folder;
  const std::string path = quern_file(folder, *source);
  auto model = Model::open(path);
  REQUIRE(model.ok());
  std::uint64_t last = 0;
  auto report = model->verify([&](std::uint64_t done, std::uint64_t total) {
    CHECK(done <= total);
    last = done;
    return true;
  });
  REQUIRE(report.ok());
  CHECK(report->problems.empty());
  CHECK(report->tensors_checked == model->tensors().size());
  CHECK(report->logits_checked == 1);
  CHECK(report->weights_hash == model->weights_hash());
  CHECK(last > 0);
  const auto cancelled = model->verify([](std::uint64_t, std::uint64_t) { return false; });
  REQUIRE_FALSE(cancelled.ok());
  CHECK(code_of(cancelled) == ErrorCode::kCancelled);

  std::string bytes = folder.read("model.quern");
  const TensorInfo tensor = model->tensors().front();
  bytes[tensor.offset + tensor.bytes / 2] ^= 4;
  auto broken = Model::open(folder.write("broken.quern", bytes));
  REQUIRE(broken.ok());  // Opening reads no weights.
  report = broken->verify();
  REQUIRE(report.ok());
  REQUIRE(report->problems.size() == 1);
  CHECK(report->problems.front().find(tensor.name) != std::string::npos);
}

TEST_CASE("a hostile configuration is a typed error, whatever key and value") {
  const auto source = golden_model("gemma3_text");
  if (!source) return;
  const testing::TempDir folder;
  const auto file = formats::QuernFile::open(quern_file(folder, *source));
  REQUIRE(file.ok());
  const auto config = formats::parse_json(file->config_json(), "config");
  REQUIRE(config.ok());
  REQUIRE(reopened(*file, *config).ok());
  int refused = 0;
  for (const auto& entry : config->items()) {
    const std::string key = entry.key;
    if (key == "provenance") continue;
    for (const Json& hostile :
         {Json(0), Json(-1), Json(1), Json(2147483648), Json(9223372036854775807),
          Json(-9223372036854775807), Json(1e308), Json(-1e308), Json(0.5), Json(true), Json("x"),
          Json(nullptr), Json::array(), Json::array({-1, "y"}), Json::object()}) {
      Json changed = *config;
      changed[key] = hostile;
      const auto model = reopened(*file, changed);
      CAPTURE(key);
      CAPTURE(formats::dump_json(hostile));
      if (!model.ok()) {
        ++refused;
        CHECK_FALSE(model.error().message.empty());
        CHECK(model.error().code != ErrorCode::kInternal);
        continue;
      }
      // What is accepted must run, or be refused by the session.
      SessionOptions options;
      options.context = std::min<std::int64_t>(8, model->max_seq_len());
      auto session = Session::create(*model, options);
      if (session.ok())
        CHECK(session->step(std::vector<TokenId>{1, 2, 3}).ok() == (options.context >= 3));
      (void)model->plan({});
    }
    Json without = *config;
    without.erase(key);
    if (!reopened(*file, without).ok()) ++refused;
  }
  CHECK(refused > 50);
}

TEST_CASE("a missing tensor is named, an unknown architecture too") {
  const auto source = golden_model("llama3");
  if (!source) return;
  const testing::TempDir folder;
  const auto file = formats::QuernFile::open(quern_file(folder, *source));
  REQUIRE(file.ok());
  auto config = formats::parse_json(file->config_json(), "config");
  REQUIRE(config.ok());
  for (const formats::TensorEntry& tensor : file->tensors()) {
    const auto model = reopened(*file, *config, std::string(tensor.name));
    CAPTURE(tensor.name);
    if (model.ok()) continue;  // Optional ones: an untied output, say.
    CHECK(code_of(model) == ErrorCode::kMissing);
    CHECK(field_of(model) == tensor.name);
  }
  (*config)["architecture"] = "no-such-thing";
  const auto unknown = reopened(*file, *config);
  REQUIRE_FALSE(unknown.ok());
  CHECK(code_of(unknown) == ErrorCode::kUnsupported);
  CHECK(unknown.error().found == "no-such-thing");
}

TEST_CASE("a vocabulary alone encodes and refuses sessions") {
  const auto source = handbook_model();
  if (!source) return;
  ModelOptions options;
  options.vocabulary_only = true;
  auto model = convert::open_any(*source + "/tokenizer.json", options);
  if (!model.ok()) FAIL(model.error().describe());
  CHECK(model->has_tokenizer());
  CHECK_FALSE(model->can_run());
  CHECK(model->encode("Hello").ok());
  CHECK(code_of(Session::create(*model)) == ErrorCode::kInvalidArgument);
  CHECK(code_of(model->plan({})) == ErrorCode::kInvalidArgument);
  CHECK(code_of(model->graph_text()) == ErrorCode::kInvalidArgument);
}

TEST_CASE("paths that hold no model are errors of their kind") {
  CHECK(code_of(Model::open("/no/such/file")) == ErrorCode::kIo);
  const testing::TempDir folder;
  CHECK_FALSE(Model::open(folder.path()).ok());
  CHECK(code_of(Model::open(folder.write("empty", ""))) == ErrorCode::kTruncated);
  CHECK_FALSE(Model::open(folder.write("text", std::string(5000, 'x'))).ok());
  CHECK(Model::from_memory(nullptr, {}, "nothing").error().file == "nothing");
}

TEST_CASE("a template of no model renders, raises, and refuses what it lacks") {
  const std::string conversation =
      R"({"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true})";
  const auto prompt = render_template(
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}",
      conversation, {.bos_token = "<s>", .eos_token = "", .now = ""});
  REQUIRE(prompt.ok());
  CHECK(prompt->text == "<s>[user]Hi");
  CHECK(render_template("{{ raise_exception('no') }}", conversation).error().message == "no");
  CHECK(code_of(render_template("{{ raise_exception('no') }}", conversation)) ==
        ErrorCode::kTemplateRaised);
  CHECK_FALSE(render_template("{% for %}", conversation).ok());
  CHECK_FALSE(render_template("x", "[1]").ok());
  CHECK_FALSE(render_template("x", "{").ok());
}

TEST_CASE("the log tells what was loaded, to the sink alone") {
  const auto source = golden_model("llama2");
  if (!source) return;
  std::vector<std::string> lines;
  set_log_sink([&](std::string_view topic, std::string_view line) {
    lines.push_back(std::string(topic) + ": " + std::string(line));
  });
  ModelOptions options;
  options.threads = 1;
  REQUIRE(convert::open_any(*source, options).ok());
  set_log_sink([](std::string_view, std::string_view) { throw 1; });
  CHECK(convert::open_any(*source, options).ok());
  set_log_sink({});
  bool told = false;
  for (const std::string& line : lines) told |= line.find("load: ") == 0;
  CHECK(told);
}
