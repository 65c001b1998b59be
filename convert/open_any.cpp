// Foreign checkpoints converted into memory, so that the core knows one format.
#include <chrono>
#include <memory>
#include <utility>

#include "base/guard.h"
#include "base/log.h"
#include "convert/convert.h"
#include "convert/model_output.h"
#include "convert/unused_tensors.h"

namespace quern::convert {
namespace {

using formats::MemoryImage;

Result<std::shared_ptr<Executor>> executor_of(const ModelOptions& options) {
  if (options.executor) return options.executor;
  QUERN_TRY(made, make_executor(options.threads));
  return std::shared_ptr<Executor>(std::move(made));
}

/// What opening a foreign file cost, and what of it was left out.
void log_conversion(const std::string& path, const ModelPlan& plan, std::uint64_t bytes,
                    std::chrono::steady_clock::time_point start) {
  if (!base::logging()) return;
  for (const std::string& warning : plan.shown.warnings)
    base::log("load", path + ": warning: " + warning);
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  base::log("time", "converting into memory took " + std::to_string(spent.count()) + " ms and " +
                        std::to_string(bytes) + " bytes, every time: quern convert does it once");
}

}  // namespace

Result<MemoryImage> write_into_memory(const SourceModel& source, const ModelPlan& plan,
                                      Executor& executor) {
  QUERN_TRY(sections, make_quern_sections(source, "keep"));
  formats::MemorySink sink(source.path());
  QUERN_TRY(writer, prepare_quern(sections, plan, sink));
  QUERN_CHECK(writer.begin());
  const auto write = [&](std::span<const std::byte> bytes) { return writer.write(bytes); };
  QUERN_CHECK(write_tensors(source, plan, executor, {}, write));
  QUERN_CHECK(writer.finish());
  return std::move(sink).take();
}

Result<Model> open_in_memory(const SourceModel& source, const EncodingPolicy& policy,
                             const std::shared_ptr<Executor>& executor) {
  QUERN_TRY(plan, make_plan(source, OutputFormat::kQuern, policy));
  QUERN_TRY(image, write_into_memory(source, plan, *executor));
  auto owner = std::make_shared<MemoryImage>(std::move(image));
  const std::span<const std::byte> bytes = std::as_const(*owner).bytes();
  ModelOptions options;
  options.executor = executor;
  return Model::from_memory(std::move(owner), bytes, source.path(), options);
}

Result<Model> open_model(const std::string& path, const ModelOptions& options, bool ignore_unused) {
  QUERN_TRY(format, sniff_source(path));
  if (format == SourceFormat::kQuern) return Model::open(path, options);
  const auto start = std::chrono::steady_clock::now();
  QUERN_TRY(source, open_source(path, options.vocabulary_only));
  ModelPlan plan;
  if (!options.vocabulary_only) {
    QUERN_TRY(made, make_plan(*source, OutputFormat::kQuern, {}));
    if (!ignore_unused) QUERN_CHECK(refuse_strays(path, made.strays));
    plan = std::move(made);
  }
  QUERN_TRY(executor, executor_of(options));
  QUERN_TRY(image, write_into_memory(*source, plan, *executor));
  log_conversion(path, plan, image.bytes().size(), start);
  auto owner = std::make_shared<MemoryImage>(std::move(image));
  const std::span<const std::byte> bytes = std::as_const(*owner).bytes();
  return Model::from_memory(std::move(owner), bytes, path, options);
}

Result<Model> open_any(const std::string& path, const ModelOptions& options) {
  return base::guarded([&]() -> Result<Model> { return open_model(path, options, false); });
}

}  // namespace quern::convert
