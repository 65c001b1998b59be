#include <bit>
#include <string>
#include <utility>

#include "base/guard.h"
#include "formats/checksum.h"
#include "formats/self_test.h"
#include "kernels/kernel_table.h"
#include "runtime/model_state.h"
#include "runtime/prompt_values.h"

namespace quern {
namespace {

using formats::SelfTest;

/// Collects problems; a failed question is one sentence, and the next is asked.
class Replay {
 public:
  Replay(const Model& model, VerifyReport& report) : model_(model), report_(report) {}

  void texts(const std::vector<SelfTest::Text>& texts);
  void renderings(const std::vector<SelfTest::Rendering>& renderings);
  void logits(const std::vector<SelfTest::Logits>& tests);

 private:
  void problem(std::string sentence) { report_.problems.push_back(std::move(sentence)); }
  Status one_logits(const SelfTest::Logits& test);

  const Model& model_;
  VerifyReport& report_;
};

void Replay::texts(const std::vector<SelfTest::Text>& texts) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const SelfTest::Text& test = texts[i];
    const std::string which = "self-test string " + std::to_string(i);
    const auto ids = model_.encode(test.text, {test.add_special, test.parse_special});
    if (!ids.ok())
      problem(which + " cannot be encoded: " + ids.error().describe());
    else if (*ids != test.ids)
      problem(which + " becomes other ids than when the file was made");
    const auto text = model_.decode(test.ids, false);
    if (!text.ok())
      problem(which + " cannot be decoded: " + text.error().describe());
    else if (*text != test.decoded)
      problem(which + " decodes to another text than when the file was made");
    ++report_.strings_checked;
  }
}

void Replay::renderings(const std::vector<SelfTest::Rendering>& renderings) {
  for (std::size_t i = 0; i < renderings.size(); ++i) {
    const SelfTest::Rendering& test = renderings[i];
    const std::string which = "self-test conversation " + std::to_string(i);
    TemplateOptions options;
    options.now = test.now;
    const auto prompt = model_.render(test.conversation_json, options);
    if (!prompt.ok())
      problem(which + " cannot be rendered: " + prompt.error().describe());
    else if (prompt->text != test.text)
      problem(which + " renders to another prompt than when the file was made");
    ++report_.templates_checked;
  }
}

Status Replay::one_logits(const SelfTest::Logits& test) {
  formats::Xxh64 hash;
  std::vector<SelfTest::Logits::Top> top;
  QUERN_CHECK(runtime::evaluate_prompt(model_, test.prompt, test.kv,
                                       [&](std::span<const float> row) -> Status {
                                         hash.add(std::as_bytes(row));
                                         top = formats::top_logits(row);
                                         return {};
                                       }));
  if (hash.digest() != test.hash)
    return Error(ErrorCode::kMismatch, top == test.top
                                           ? "the logits differ in some bits"
                                           : "the logits differ, also among the largest");
  return {};
}

void Replay::logits(const std::vector<SelfTest::Logits>& tests) {
  for (std::size_t i = 0; i < tests.size(); ++i) {
    const Status status = one_logits(tests[i]);
    if (!status.ok())
      problem("self-test prompt " + std::to_string(i) + ": " + status.error().describe());
    ++report_.logits_checked;
  }
}

/// Why other logits than the file's would be no fault; empty: they would.
std::string why_not_compared(const SelfTest& test, bool fast) {
  if (fast) return "fast mode promises no bits";
  if (test.numerics == kernels::kNumericsRevision) return {};
  return "they were made under revision " + std::to_string(test.numerics) +
         " of quern's arithmetic, this program has " + std::to_string(kernels::kNumericsRevision) +
         "; a file converted anew has logits to compare";
}

}  // namespace

Result<VerifyReport> Model::verify(const Progress& progress) const {
  return base::guarded([&]() -> Result<VerifyReport> {
    VerifyReport report;
    report.weights_hash = weights_hash();
    const Status checksums = state_->file.verify_checksums(progress);
    if (!checksums.ok()) {
      const ErrorCode code = checksums.error().code;
      if (code != ErrorCode::kChecksum && code != ErrorCode::kMalformed) return checksums.error();
      report.problems.push_back(checksums.error().describe());
      return report;  // Bytes that are wrong would only repeat themselves in the self-test.
    }
    report.tensors_checked = state_->file.tensors().size();
    report.bytes_checked = state_->file.file_bytes();
    QUERN_TRY(test, formats::read_self_test(state_->file.self_test(), path()));
    Replay replay(*this, report);
    replay.texts(test.texts);
    // A template that was mended in the tail answers otherwise on purpose.
    if (!state_->file.tail().chat_template) replay.renderings(test.renderings);
    if (can_run() && !test.logits.empty()) {
      report.logits_skipped = why_not_compared(test, state_->options.fast);
      if (report.logits_skipped.empty()) replay.logits(test.logits);
    }
    return report;
  });
}

}  // namespace quern
