// quern convert and quern quantize: a readable model in, a .quern or .gguf file out.
#include "convert/convert.h"

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "flag_checks.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "output_file.h"
#include "quality_table.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct ConvertFlags {
  std::string source, output, encoding = "keep";
  int threads = 0;
  std::vector<std::string> adapters;  // convert only
  std::string base;
  bool dry_run = false, json = false, self_test = true, resume = false, ignore_unused = false;
  // quantize only
  std::string report, calibrate, evaluate;
  std::uint64_t target_size = 0;
  double target_bpw = 0;
  bool observe = false;
};

std::string encoding_name(Encoding encoding) {
  const EncodingInfo* info = find_encoding(encoding);
  return info != nullptr ? std::string(info->name) : "unknown";
}

Json plan_json(const convert::ConvertPlan& plan, bool with_tensors) {
  Json json;
  json["architecture"] = plan.architecture;
  json["source_kind"] = plan.source_kind;
  json["output_bytes"] = plan.output_bytes;
  json["bits_per_weight"] = plan.bits_per_weight;
  json["warnings"] = plan.warnings;
  if (!with_tensors) return json;
  json["tensors"] = Json::array();
  for (const convert::PlannedTensor& tensor : plan.tensors) {
    Json entry;
    entry["name"] = tensor.name;
    entry["source"] = tensor.source;
    entry["shape"] = tensor.shape;
    entry["source_encoding"] = tensor.source_encoding;
    entry["encoding"] = encoding_name(tensor.encoding);
    entry["source_bytes"] = tensor.source_bytes;
    entry["bytes"] = tensor.bytes;
    double elements = 1;
    for (const std::uint64_t dim : tensor.shape) elements *= static_cast<double>(dim);
    entry["bits_per_weight"] =
        elements > 0 ? static_cast<double>(tensor.bytes) * 8.0 / elements : 0.0;
    if (!tensor.transform.empty()) entry["transform"] = tensor.transform;
    json["tensors"].push_back(std::move(entry));
  }
  return json;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const std::uint64_t dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

std::string plan_text(const convert::ConvertPlan& plan) {
  std::string text;
  char line[512];
  for (const convert::PlannedTensor& tensor : plan.tensors) {
    std::snprintf(line, sizeof(line), "%-28s %-16s %-8s -> %-8s %12llu bytes  %s%s%s\n",
                  tensor.name.c_str(), shape_text(tensor.shape).c_str(),
                  tensor.source_encoding.c_str(), encoding_name(tensor.encoding).c_str(),
                  static_cast<unsigned long long>(tensor.bytes), tensor.source.c_str(),
                  tensor.transform.empty() ? "" : ": ", tensor.transform.c_str());
    text += line;
  }
  std::snprintf(line, sizeof(line), "%s (%s): %zu tensors, %llu bytes, %.3f bits per weight\n",
                plan.architecture.c_str(), plan.source_kind.c_str(), plan.tensors.size(),
                static_cast<unsigned long long>(plan.output_bytes), plan.bits_per_weight);
  return text + line;
}

void tell_warnings(const convert::ConvertPlan& plan) {
  for (const std::string& warning : plan.warnings) tell("warning: " + warning);
}

/// What was chosen and measured, in a few lines; the whole table is `inspect`'s.
void tell_quality(const Json& quality) {
  struct Sum {
    std::uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Sum> sums;
  for (const Json& tensor : quality["tensors"]) {
    Sum& sum = sums[tensor["encoding"].get<std::string>()];
    ++sum.tensors;
    sum.bytes += tensor["bytes"].get<std::uint64_t>();
  }
  char line[240];
  for (const auto& [encoding, sum] : sums) {
    std::snprintf(line, sizeof(line), "%s: %llu tensors, %.2f MB", encoding.c_str(),
                  static_cast<unsigned long long>(sum.tensors),
                  static_cast<double>(sum.bytes) / 1e6);
    tell(line);
  }
  if (quality.contains("choice")) {
    std::snprintf(line, sizeof(line),
                  "chosen for the least damage by what each matrix does to the answers; estimated: "
                  "%.4f (nats a token, of an encoder the relative squared error of its states)",
                  quality["choice"]["damage"].get<double>());
    tell(line);
  }
  if (quality.contains("own_words"))
    tell(
        "observed on what the model wrote itself: --calibrate TEXTFILE is better where the text is "
        "like what it will read");
  std::string summary = quality_summary({"quality", quality});
  summary.pop_back();
  tell(summary);
}

int dry_run(const ConvertFlags& flags, const std::string& source,
            const convert::ConvertOptions& options) {
  const auto plan = convert::plan(source, flags.output, options);
  if (!plan.ok()) return fail(plan.error());
  tell_warnings(*plan);
  put(flags.json ? to_text(plan_json(*plan, true)) + "\n" : plan_text(*plan));
  return finish_stdout();
}

int convert_model(const ConvertFlags& flags) {
  convert::ConvertOptions options;
  options.encoding = flags.encoding;
  options.self_test = flags.self_test;
  options.ignore_unused = flags.ignore_unused;
  options.threads = flags.threads;
  for (const std::string& text : flags.adapters) {
    auto [file, weight] = split_adapter(text);
    options.adapters.push_back({std::move(file), weight});
  }
  options.target_bytes = flags.target_size;
  options.target_bits = flags.target_bpw;
  options.calibration_text = flags.calibrate;
  options.observe = flags.observe;
  options.evaluation_text = flags.evaluate;
  options.resume = flags.resume;
  options.keep_cancelled = true;
  const auto source = model_path(flags.source);
  if (!source.ok()) return fail(source.error());
  if (flags.dry_run) return dry_run(flags, *source, options);
  Result<convert::ConvertReport> report = [&] {
    const InterruptScope scope;
    ProgressBar bar("converting");
    options.progress = bar.callback();
    return convert::convert(*source, flags.output, options);
  }();
  if (!report.ok()) {
    if (report.error().code == ErrorCode::kCancelled)
      tell("what is finished is kept beside " + flags.output +
           ": the same command with --resume continues it");
    return fail(report.error());
  }
  tell_warnings(report->plan);
  if (report->resumed_tensors > 0)
    tell("continued: " + std::to_string(report->resumed_tensors) + " of " +
         std::to_string(report->plan.tensors.size()) + " tensors had been finished");
  Json json = plan_json(report->plan, true);
  if (!report->quality_json.empty()) {
    auto quality = parse_json(report->quality_json, flags.output);
    if (!quality.ok()) return fail(quality.error());
    json["quality"] = std::move(*quality);
  }
  json["seconds"] = report->seconds;
  json["weights_hash"] = hex(report->weights_hash);
  if (!flags.report.empty()) {
    const Status written = write_file(flags.report, to_text(json, 2) + "\n");
    if (!written.ok()) return fail(written.error());
  }
  if (flags.json) {
    json.erase("tensors");
    json["output"] = flags.output;
    put(to_text(json) + "\n");
  } else {
    if (json.contains("quality")) tell_quality(json["quality"]);
    char line[160];
    std::snprintf(line, sizeof(line), ": %zu tensors, %llu bytes, %.3f bits per weight, %.1f s",
                  report->plan.tensors.size(),
                  static_cast<unsigned long long>(report->plan.output_bytes),
                  report->plan.bits_per_weight, report->seconds);
    tell("wrote " + flags.output + line);
  }
  return finish_stdout();
}

/// An adapter as a file of its own.
int convert_adapter(const ConvertFlags& flags) {
  ModelFlags base;
  base.path = flags.base;
  base.threads = flags.threads;
  const auto model = base.open();
  if (!model.ok()) return fail(model.error());
  const Status written = convert::convert_adapter(flags.source, *model, flags.output);
  if (!written.ok()) return fail(written.error());
  const auto adapter = Adapter::open(flags.output);
  if (!adapter.ok()) return fail(adapter.error());
  const Json json{{"output", flags.output},
                  {"pairs", adapter->pairs()},
                  {"scales", adapter->scales()},
                  {"vectors", adapter->vectors()}};
  if (flags.json) put(to_text(json) + "\n");
  if (!flags.json) tell("wrote " + flags.output);
  return finish_stdout();
}

int convert_source(const ConvertFlags& flags) {
  return flags.base.empty() ? convert_model(flags) : convert_adapter(flags);
}

int quantize(const ConvertFlags& flags) {
  const bool target = flags.target_size > 0 || flags.target_bpw > 0;
  if (!target && flags.encoding.empty())
    return usage(
        "quantize needs --encoding ENC, --target-size BYTES or --target-bpw F; see quern "
        "quantize --help");
  if (flags.report == flags.output)
    return usage("--report and --output name the same file; see quern quantize --help");
  ConvertFlags chosen = flags;
  if (target) chosen.encoding = "keep";
  return convert_model(chosen);
}

void add_common(CLI::App& command, ConvertFlags& flags, const char* source) {
  command
      .add_option(source, flags.source,
                  "A .quern, .gguf or .safetensors file, a checkpoint directory, or - (stdin)")
      ->required();
  command.add_option("-o,--output", flags.output, "The file to write; .gguf writes GGUF")
      ->required()
      ->check(output_name());
  command.add_option("--threads", flags.threads, "Threads; 0: what is left to the process")
      ->check(CLI::Range(0, 1024));
  command.add_flag("--ignore-unused", flags.ignore_unused,
                   "Leaves out tensors that the model's architecture does not use, which are an "
                   "error else");
  CLI::Option* dry =
      command.add_flag("--dry-run", flags.dry_run, "Prints what would be done and writes nothing");
  command
      .add_flag("--resume", flags.resume,
                "Continues what an interrupted run of the same arguments left; the same bytes")
      ->excludes(dry);
  command.add_flag("!--no-self-test", flags.self_test, "Leaves out what verify replays");
  command.add_flag("--json", flags.json, "One JSON document");
}

constexpr const char* kEncodings =
    "A source's own type (q4_1, q6_k, bf16, ...), a native encoding (qr8, qr6, qr5, qr4, qr3), "
    "a preset by bits (q8, q6, q5, q4, q3: that native encoding; where quantize observes the "
    "model, the best choice for every matrix in a file of that size), or keep";

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App* command = app.add_subcommand("convert", "Any readable model to .quern, or to .gguf");
  add_common(*command, *flags, "SRC");
  CLI::Option* encoding =
      command->add_option("--encoding", flags->encoding, kEncodings)->capture_default_str();
  add_adapter_option(*command, flags->adapters);
  command
      ->add_option("--base", flags->base,
                   "SRC is an adapter for this model and becomes a .quern file of its own")
      ->type_name("MODEL")
      ->excludes(encoding)
      ->excludes("--adapter")
      ->excludes("--dry-run");
  command->footer(
      "Adapters become part of the weights. What changes is encoded anew: quantized\n"
      "weights lose a little, so bake into the original checkpoint where there is one.\n"
      "Example:\n"
      "  quern convert SmolLM2-135M-Instruct.gguf -o smollm2.quern\n"
      "  quern convert Llama-3.2-1B --adapter my-lora=0.8 -o mine.quern --encoding q8");
  on_chosen(command, flags, action, convert_source);
}

void add_quantize(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ConvertFlags>();
  flags->encoding.clear();
  CLI::App* command = app.add_subcommand("quantize", "Re-encodes the weights of a model");
  add_common(*command, *flags, "MODEL");
  CLI::Option* encoding = command->add_option("--encoding", flags->encoding, kEncodings);
  CLI::Option* size =
      command
          ->add_option("--target-size", flags->target_size,
                       "Chooses each matrix's encoding so that the file has at most BYTES")
          ->type_name("BYTES")
          ->check(above_zero())
          ->excludes(encoding);
  command
      ->add_option("--target-bpw", flags->target_bpw,
                   "The same for bits per weight, all matrices together")
      ->type_name("F")
      ->check(above_zero())
      ->excludes(encoding)
      ->excludes(size);
  command
      ->add_option("--calibrate", flags->calibrate,
                   "A text on which the model is observed, for a better choice and better codes")
      ->type_name("TEXTFILE");
  command
      ->add_flag("--observe", flags->observe,
                 "Without a text: a decoder is observed on what it writes itself (where a size is "
                 "asked for it is anyway). Minutes in place of seconds, and better")
      ->excludes("--calibrate")
      ->excludes(size)
      ->excludes("--target-bpw");
  command
      ->add_option("--evaluate", flags->evaluate,
                   "A text on which the result is compared with its source, for the report")
      ->type_name("TEXTFILE");
  command->add_option("--report", flags->report, "Writes the quality report as JSON")
      ->type_name("FILE.json")
      ->check(output_name());
  command->footer(
      "Example:\n"
      "  quern quantize model.quern -o small.quern --encoding q4 --calibrate text.txt\n"
      "  quern quantize model.quern -o small.quern --target-bpw 4.5 --calibrate text.txt "
      "--evaluate other.txt");
  on_chosen(command, flags, action, quantize);
}

}  // namespace quern::cli
