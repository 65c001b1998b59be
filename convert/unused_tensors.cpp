#include "convert/unused_tensors.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "formats/byte_reader.h"

namespace quern::convert {
namespace {

constexpr std::size_t kNamed = 8;

/// Of which sources a row speaks.
enum class Of : std::uint8_t {
  kHuggingFace,
  kGguf,
  kEncoders,  ///< Of texts: states, embeddings, classes.
  kDecoders,  ///< And encoder–decoders.
};

/// A buffer or an unread table by the end of its name.
struct Buffer {
  std::string_view ending;
  Of of;
  std::string_view architecture;  ///< Empty: any.
};

/// What its values say stands in the configuration, or the architecture reads it nowhere.
constexpr Buffer kBuffers[] = {
    {".inv_freq", Of::kHuggingFace, ""},         // Rotary frequencies, of checkpoints before 2023.
    {"attn.masked_bias", Of::kHuggingFace, ""},  // What masked scores were set to; GPT-2, GPT-J.
    {"attention.masked_bias", Of::kHuggingFace, "gpt_neox"},
    {"attn.embed_positions", Of::kHuggingFace, "gptj"},          // Sines and cosines.
    {"position_ids", Of::kHuggingFace, ""},                      // 0, 1, 2, … of BERT's kind.
    {"embeddings.token_type_ids", Of::kHuggingFace, ""},         // Zeros.
    {"encoder.version", Of::kHuggingFace, "bart"},               // fairseq's.
    {"decoder.version", Of::kHuggingFace, "bart"},               // fairseq's.
    {"encoder.version", Of::kHuggingFace, "bart_classifier"},    // fairseq's.
    {"decoder.version", Of::kHuggingFace, "bart_classifier"},    // fairseq's.
    {"decoder.version", Of::kHuggingFace, "opt"},                // fairseq's.
    {"final_logits_bias", Of::kHuggingFace, "bart_classifier"},  // Of the output for words: zeros.
    // Of the table of distances, where the configuration has positions that are not relative.
    {"encoder.LayerNorm.weight", Of::kHuggingFace, "deberta_v2"},
    {"encoder.LayerNorm.bias", Of::kHuggingFace, "deberta_v2"},
    // Cross-attention of T5's first layer has a table that no version of it has read.
    {".EncDecAttention.relative_attention_bias.weight", Of::kHuggingFace, "t5"},
    {".cross_attn_rel_b.weight", Of::kGguf, "t5"},
    {".attn_rot_embd.weight", Of::kGguf, ""},  // Rotary frequencies in llama.cpp's first files.
};

/// A causal mask in the shape [1, 1, n, n], which only its shape tells from a bias.
constexpr std::string_view kMasks[] = {".attn.bias", ".attention.bias", ".crossattention.bias"};

/// A part of published checkpoints by the beginning of its tensors' names, alone or behind one
/// further word ("model.", "bert."). It is left out only as a whole: where one tensor of it is
/// used, the others are strays.
struct Part {
  std::string_view beginning;
  Of of;
  std::string_view architecture;  ///< Empty: any.
  std::string_view what;
};

constexpr std::string_view kTowers = "parts for pictures and sound: the result takes text alone";
constexpr std::string_view kMorePredicted =
    "layers that predict further tokens: the result predicts one at a time";
constexpr std::string_view kOtherHead = "heads that the result does not have";

constexpr Part kParts[] = {
    {"vision_tower.", Of::kDecoders, "gemma3", kTowers},
    {"multi_modal_projector.", Of::kDecoders, "gemma3", kTowers},
    {"vision_tower.", Of::kDecoders, "gemma3n", kTowers},
    {"audio_tower.", Of::kDecoders, "gemma3n", kTowers},
    {"embed_vision.", Of::kDecoders, "gemma3n", kTowers},
    {"embed_audio.", Of::kDecoders, "gemma3n", kTowers},
    {"mtp.", Of::kDecoders, "", kMorePredicted},
    {"v_head.", Of::kDecoders, "", "the value head of reinforcement learning (TRL)"},
    {"pooler.", Of::kEncoders, "", kOtherHead},
    {"cls.predictions.", Of::kEncoders, "", kOtherHead},
    {"cls.seq_relationship.", Of::kEncoders, "", kOtherHead},
    {"lm_head.", Of::kEncoders, "", kOtherHead},
    {"classifier.", Of::kEncoders, "", kOtherHead},
    {"pre_classifier.", Of::kEncoders, "distilbert", kOtherHead},
    {"vocab_transform.", Of::kEncoders, "distilbert", kOtherHead},
    {"vocab_layer_norm.", Of::kEncoders, "distilbert", kOtherHead},
    {"vocab_projector.", Of::kEncoders, "distilbert", kOtherHead},
    {"qa_outputs.", Of::kEncoders, "", kOtherHead},
    {"discriminator_predictions.", Of::kEncoders, "electra", kOtherHead},
    {"generator_predictions.", Of::kEncoders, "electra", kOtherHead},
    {"generator_lm_head.", Of::kEncoders, "electra", kOtherHead},
    {"lm_predictions.", Of::kEncoders, "deberta_v2", kOtherHead},
    {"mask_predictions.", Of::kEncoders, "deberta_v2", kOtherHead},
    {"head.", Of::kEncoders, "modernbert", kOtherHead},
    {"decoder.", Of::kEncoders, "modernbert", kOtherHead},
    {"classification_head.", Of::kDecoders, "bart", kOtherHead},
    // DeBERTa's positions are relative; where no others are asked for, v2 and v3 hold some still.
    {"embeddings.position_embeddings.", Of::kEncoders, "deberta_v2",
     "a table of absolute positions: this model's are relative"},
    {"decoder.", Of::kEncoders, "t5_encoder", "the decoder: the class is the encoder alone"},
    {"dec.", Of::kGguf, "t5_encoder", "the decoder: the class is the encoder alone"},
    {"output.", Of::kGguf, "t5_encoder", "the decoder: the class is the encoder alone"},
};

/// Tables of positions that are sines here: the configuration says that they are not learned.
constexpr std::string_view kSines[] = {"encoder.embed_positions.weight",
                                       "decoder.embed_positions.weight"};

/// Families whose layers beyond the last predict further tokens.
constexpr std::string_view kWithMoreLayers[] = {"deepseek_v3", "deepseek_v2"};

bool starts_part(std::string_view name, std::string_view beginning) {
  if (name.starts_with(beginning)) return true;
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && name.substr(dot + 1).starts_with(beginning);
}

class Sorter {
 public:
  Sorter(const SourceModel& source, const TensorSet& used, const TensorSet& copies)
      : source_(source), used_(used), copies_(copies) {
    architecture_ = source.architecture() == nullptr ? "" : source.architecture()->name;
    encoder_ = source.config().has("head.sequence");
  }

  UnusedTensors sort() const {
    UnusedTensors unused;
    std::map<std::string_view, std::vector<std::string>> parts;
    for (const SourceTensor& tensor : source_.tensors()) {
      if (used_.count(&tensor) != 0 || copies_.count(&tensor) != 0 || is_buffer(tensor)) continue;
      const std::string_view part = part_of(tensor.name);
      (part.empty() ? unused.strays : parts[part]).push_back(tensor.name);
    }
    for (const auto& [what, names] : parts)
      unused.left_out.push_back(describe_strays(names) + " (" + std::string(what) + ")");
    return unused;
  }

 private:
  bool speaks(Of of, std::string_view architecture) const {
    if (!architecture.empty() && architecture != architecture_) return false;
    switch (of) {
      case Of::kHuggingFace:
        return source_.naming() == Naming::kHuggingFace;
      case Of::kGguf:
        return source_.naming() == Naming::kGguf;
      case Of::kEncoders:
        return encoder_;
      case Of::kDecoders:
        return !encoder_;
    }
    return false;
  }

  bool is_buffer(const SourceTensor& tensor) const {
    const std::string_view name = tensor.name;
    for (const Buffer& buffer : kBuffers) {
      if (name.ends_with(buffer.ending) && speaks(buffer.of, buffer.architecture)) return true;
    }
    const auto ends = [&](std::string_view ending) { return name.ends_with(ending); };
    const bool hugging_face = source_.naming() == Naming::kHuggingFace;
    const auto& shape = tensor.shape;
    const bool square = shape.size() == 4 && shape[0] == 1 && shape[1] == 1 && shape[2] == shape[3];
    if (hugging_face && square && std::any_of(std::begin(kMasks), std::end(kMasks), ends))
      return true;
    if (hugging_face && architecture_ == "bart") {
      if (!is_set("learned_positions", true) &&
          std::any_of(std::begin(kSines), std::end(kSines), ends))
        return true;
      // Where nothing is tied, the class still has the table that the stacks would share.
      if (is_set("own_embedding", false) && name.ends_with("shared.weight")) return true;
    }
    return is_rotary_factors(name);
  }

  /// Whether the configuration was read with this tensor's values.
  bool is_rotary_factors(std::string_view name) const {
    if (source_.naming() != Naming::kGguf) return false;
    const Config& config = source_.config();
    if (name == "rope_freqs.weight" || name == "rope_factors_short.weight")
      return config.has("rope.factors");
    return name == "rope_factors_long.weight" && config.has("rope.long_factors");
  }

  bool is_set(std::string_view key, bool silent) const {
    const auto value = source_.config().boolean_or(key, silent);
    return value.ok() ? *value : silent;
  }

  /// \return what the tensor is a part of, or nothing.
  std::string_view part_of(std::string_view name) const {
    for (const Part& part : kParts) {
      if (!starts_part(name, part.beginning) || !speaks(part.of, part.architecture)) continue;
      if (!uses(part.beginning)) return part.what;
    }
    return is_further_layer(name) ? kMorePredicted : std::string_view();
  }

  bool uses(std::string_view beginning) const {
    return std::any_of(used_.begin(), used_.end(), [&](const SourceTensor* tensor) {
      return starts_part(tensor->name, beginning);
    });
  }

  bool is_further_layer(std::string_view name) const {
    if (std::find(std::begin(kWithMoreLayers), std::end(kWithMoreLayers), architecture_) ==
        std::end(kWithMoreLayers))
      return false;
    const std::string_view stem = source_.naming() == Naming::kGguf ? "blk." : "model.layers.";
    if (!name.starts_with(stem)) return false;
    const std::string_view digits = name.substr(stem.size());
    std::int64_t layer = -1;
    std::from_chars(digits.data(), digits.data() + digits.size(), layer);
    const auto n_layers = source_.config().integer("n_layers");
    return n_layers.ok() && layer >= *n_layers;
  }

  const SourceModel& source_;
  const TensorSet &used_, &copies_;
  std::string_view architecture_;
  bool encoder_;
};

}  // namespace

UnusedTensors find_unused(const SourceModel& source, const TensorSet& used,
                          const TensorSet& copies) {
  return Sorter(source, used, copies).sort();
}

std::string describe_strays(const std::vector<std::string>& strays) {
  std::string names;
  for (std::size_t i = 0; i < std::min(strays.size(), kNamed); ++i)
    names += (names.empty() ? "" : ", ") + formats::quote(strays[i]);
  if (strays.size() > kNamed) names += ", …";
  const bool one = strays.size() == 1;
  return std::to_string(strays.size()) +
         (one ? " tensor of the source is not used: " : " tensors of the source are not used: ") +
         names;
}

Status refuse_strays(const std::string& file, const std::vector<std::string>& strays) {
  if (strays.empty()) return {};
  return Error(ErrorCode::kUnsupported,
               describe_strays(strays) +
                   "; weights that are left out change the answers: `quern convert "
                   "--ignore-unused` goes on without them")
      .in_file(file);
}

}  // namespace quern::convert
