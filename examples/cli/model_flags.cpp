#include "model_flags.h"

#include <algorithm>
#include <utility>

#include "convert/convert.h"
#include "flag_checks.h"
#include "model_path.h"

namespace quern::cli {
namespace {

std::string above_zero_to_one(const std::string& text) {
  float value = 0;
  if (CLI::detail::lexical_cast(text, value) && value > 0.0F && value <= 1.0F) return {};
  return "the value must lie above 0 and be at most 1, not " + text;
}

Result<AdapterUse> read_adapter(const std::string& text, const Model& base) {
  const auto [file, weight] = split_adapter(text);
  QUERN_TRY(adapter, convert::open_adapter(file, base));
  return AdapterUse{std::move(adapter), weight};
}

}  // namespace

std::pair<std::string, float> split_adapter(const std::string& text) {
  float weight = 1.0F;
  const std::size_t at = text.rfind('=');
  if (at != std::string::npos && CLI::detail::lexical_cast(text.substr(at + 1), weight))
    return {text.substr(0, at), weight};
  return {text, 1.0F};
}

void add_adapter_option(CLI::App& command, std::vector<std::string>& adapters) {
  command
      .add_option("--adapter", adapters,
                  "A PEFT directory, a GGUF adapter or a .safetensors file of vectors; =WEIGHT "
                  "behind it scales it; may be repeated")
      ->type_name("FILE[=WEIGHT]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void ModelFlags::add_path_to(CLI::App& command, const char* what) {
  command
      .add_option(
          what, path,
          "A .quern, .gguf or .safetensors file, a Hugging Face checkpoint directory, or - (stdin)")
      ->required();
}

void ModelFlags::add_to(CLI::App& command) {
  add_path_to(command);
  command.add_option("--threads", threads, "Threads; 0: the cores that affinity and quota leave")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  std::vector<std::string> names;
  for (const KvType type : kKvTypes) names.emplace_back(kv_name(type));
  command
      .add_option("--kv", kv,
                  "Key/value cache; auto: what was measured to fit the file, or its weights; of an "
                  "encoder f32")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  command.add_option("--device", device, "Where the model runs; auto: CUDA where there is some")
      ->check(CLI::IsMember(std::vector<std::string>{"cpu", "cuda", "auto"}))
      ->capture_default_str();
  command
      .add_option("--gpu-layers", gpu_layers,
                  "Last layers that the device has, the rest being the processor's; -1: all")
      ->check(CLI::Range(-1, 100000))
      ->capture_default_str();
  command.add_flag("--fast", fast, "Relaxes the numerics law (bits may depend on the machine)");
  add_adapter_option(command, adapters);
}

Result<Model> ModelFlags::open(bool vocabulary_only) const {
  ModelOptions options;
  options.threads = threads;
  options.fast = fast;
  options.gpu_layers = gpu_layers;
  if (device == "cuda") options.device = DeviceChoice::kCuda;
  if (device == "auto") options.device = DeviceChoice::kAuto;
  options.vocabulary_only = vocabulary_only;
  QUERN_TRY(opened, model_path(path));
  QUERN_TRY(base, convert::open_any(opened, options));
  if (adapters.empty() || vocabulary_only) return base;
  std::vector<AdapterUse> uses;
  for (const std::string& text : adapters) {
    QUERN_TRY(use, read_adapter(text, base));
    uses.push_back(std::move(use));
  }
  return with_adapters(base, uses);
}

KvType ModelFlags::kv_type() const {
  const auto found = std::find_if(kKvTypes.begin(), kKvTypes.end(),
                                  [&](KvType type) { return kv == kv_name(type); });
  return found == kKvTypes.end() ? KvType::kAuto : *found;
}

void GenerationFlags::add_to(CLI::App& command) {
  command
      .add_option("-n,--max-tokens", max_tokens,
                  "Most tokens of a reply; default: up to the context")
      ->check(from_zero());
  command
      .add_option("--ctx", context, "Positions kept; default: the model's longest, at most 8192")
      ->check(above_zero());
  command.add_option("--temp", temperature, "Temperature; 0 is greedy")->check(between(0.0, 1e6));
  command.add_option("--top-k", top_k, "Keep the k most likely tokens; 0: off")->check(from_zero());
  command.add_option("--top-p", top_p, "Keep the most likely tokens up to this mass; 1: off")
      ->check(CLI::Validator(above_zero_to_one, "(0 - 1]"));
  command.add_option("--min-p", min_p, "Keep tokens above this share of the best one; 0: off")
      ->check(between(0.0, 1.0));
  command.add_option("--repeat-penalty", repeat_penalty, "Divides logits of recent tokens; 1: off")
      ->check(between(1e-6, 1e6));
  command.add_option("--seed", seed, "Same seed, same text, on every machine")
      ->capture_default_str()
      ->check(within_64_bits());
  command.add_flag("--greedy", greedy, "Always the most likely token");
  command
      .add_option("--stop", stop,
                  "Text that ends the reply, besides the model's own stop strings; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_flag("--ignore-eos", ignore_eos,
                   "Goes on after the model's end tokens and stop strings");
  command.add_flag("--no-speculation", no_speculation,
                   "Evaluates one token at a time (the reply is the same)");
}

void GenerationFlags::add_beams_to(CLI::App& command) {
  command
      .add_option("--beams", beams,
                  "Beam search over so many hypotheses; 1: none (default: the model's own)")
      ->check(CLI::Range(1, 256));
  command
      .add_option("--length-penalty", length_penalty,
                  "A hypothesis counts as its log-probability over length^F")
      ->check(between(-100.0, 100.0));
}

bool GenerationFlags::searches(const Model& model) const {
  if (beams) return *beams > 1;
  const bool chooses = greedy || temperature || top_k || top_p || min_p || repeat_penalty;
  return !chooses && model.default_beams().beams > 1;
}

BeamOptions GenerationFlags::beam_options(const Model& model) const {
  BeamOptions options = model.default_beams();
  if (beams) options.beams = *beams;
  if (length_penalty) options.length_penalty = *length_penalty;
  if (max_tokens >= 0) options.max_tokens = max_tokens;
  options.stop = stop;
  return options;
}

SamplingOptions GenerationFlags::sampling(const Model& model) const {
  SamplingOptions options = model.default_sampling();
  if (temperature) options.temperature = *temperature;
  if (top_k) options.top_k = *top_k;
  if (top_p) options.top_p = *top_p;
  if (min_p) options.min_p = *min_p;
  if (repeat_penalty) options.repeat_penalty = *repeat_penalty;
  if (greedy) options.temperature = 0.0F;
  options.seed = seed;
  return options;
}

GenerateOptions GenerationFlags::options(const Model& model) const {
  GenerateOptions options;
  options.sampling = sampling(model);
  options.max_tokens = max_tokens;
  options.stop = stop;
  options.ignore_end_tokens = ignore_eos;
  options.speculate = !no_speculation;
  return options;
}

const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kContextFull:
      return "context_full";
  }
  return "";
}

}  // namespace quern::cli
