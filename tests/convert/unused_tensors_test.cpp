// A tensor that nothing in a family uses may be a bias that the answers would lack: it is an error,
// but for buffers, copies and the parts of published checkpoints that are left out by design.
#include <doctest/doctest.h>

#include <algorithm>
#include <utility>

#include "fixtures.h"
#include "formats/byte_reader.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"

namespace quern::convert::test {
namespace {

struct Extra {
  std::string name;
  std::vector<std::uint64_t> shape = {4};
  std::string copy_of = {};  ///< A tensor whose shape and bits it has.
};

/// A golden with further tensors, in a folder of its own.
class Extended {
 public:
  Extended(const std::string& source, const std::vector<Extra>& extras) {
    for (const auto& entry : std::filesystem::directory_iterator(source)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("golden") && name != "model.safetensors")
        std::filesystem::copy(entry.path(), folder_.file(name));
    }
    const auto file = must(formats::SafetensorsFile::open(source + "/model.safetensors"));
    auto writer = must(formats::SafetensorsWriter::create(folder_.file("model.safetensors")));
    for (const formats::SafeTensor& tensor : file.tensors())
      REQUIRE(writer.declare_tensor(tensor.name, *tensor.dtype, tensor.shape).ok());
    std::vector<std::string> added;
    for (const Extra& extra : extras) {
      const formats::SafeTensor* like = file.find(extra.copy_of);
      const formats::SafeTensor& any = like != nullptr ? *like : file.tensors().front();
      std::uint64_t bytes = any.data.size();
      for (const std::uint64_t n : any.shape) bytes /= n;
      for (const std::uint64_t n : extra.shape) bytes *= n;
      added.emplace_back(like != nullptr ? any.data.size() : bytes, '\1');
      if (like != nullptr)
        std::copy(any.data.begin(), any.data.end(),
                  reinterpret_cast<std::byte*>(added.back().data()));
      REQUIRE(
          writer.declare_tensor(extra.name, *any.dtype, like != nullptr ? any.shape : extra.shape)
              .ok());
    }
    REQUIRE(writer.begin().ok());
    for (const formats::SafeTensor& tensor : file.tensors())
      REQUIRE(writer.write(tensor.data).ok());
    for (const std::string& bytes : added) REQUIRE(writer.write(formats::as_bytes(bytes)).ok());
    REQUIRE(writer.finish().ok());
  }
  const TempFolder& folder() const { return folder_; }
  std::string path() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

/// How many warnings name `text`.
std::ptrdiff_t tellings(const ConvertPlan& plan, const std::string& text) {
  return std::count_if(plan.warnings.begin(), plan.warnings.end(), [&](const std::string& warning) {
    return warning.find(text) != std::string::npos;
  });
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kFlag = "`quern convert --ignore-unused`";

/// That conversion, planning and opening all say the same and leave nothing behind.
Error expect_stray(const std::string& source, const TempFolder& folder) {
  const auto before = folder.names();
  const auto converted = convert(source, folder.file("out.quern"), plain_options());
  const auto planned = plan(source, folder.file("out.quern"), plain_options());
  const auto opened = open_any(source);
  CHECK(folder.names() == before);
  REQUIRE_FALSE(converted.ok());
  REQUIRE_FALSE(planned.ok());
  REQUIRE_FALSE(opened.ok());
  CHECK(converted.error().code == ErrorCode::kUnsupported);
  CHECK(planned.error().describe() == converted.error().describe());
  CHECK(opened.error().describe() == converted.error().describe());
  CHECK(has(converted.error().describe(), kFlag));
  return converted.error();
}

ConvertOptions ignoring(const std::string& encoding = "keep") {
  ConvertOptions options = plain_options(encoding);
  options.ignore_unused = true;
  return options;
}

}  // namespace

TEST_CASE("one stray tensor of a checkpoint is refused, and left out where that is asked for") {
  const auto base = golden("llama3");
  if (!base) return;
  const std::string name = "model.layers.0.self_attn.q_norm.bias";
  const Extended source(*base, {{name}});
  const Error error = expect_stray(source.path(), source.folder());
  CHECK(has(error.message, "1 tensor of the source is not used: \"" + name + "\""));
  CHECK(error.file == source.path());

  const TempFolder out;
  const auto report = must(convert(source.path(), out.file("a.quern"), ignoring()));
  CHECK(tellings(report.plan, "1 tensor of the source is not used: \"" + name + "\"") == 1);
  CHECK(tellings(report.plan, "--ignore-unused") == 0);
  const std::vector<TokenId> ids = {1, 5, 9, 2};
  CHECK(logits_of(must(open_any(out.file("a.quern"))), ids) ==
        logits_of(must(open_any(*base)), ids));
}

TEST_CASE("many strays are counted, and the first eight named") {
  const auto base = golden("qwen3");
  if (!base) return;
  std::vector<Extra> extras;
  for (int i = 0; i < 9; ++i) extras.push_back({"model.stray" + std::to_string(i)});
  const Extended source(*base, extras);
  const Error error = expect_stray(source.path(), source.folder());
  CHECK(has(error.message, "9 tensors of the source are not used: "));
  CHECK(has(error.message, "\"model.stray7\", …"));
  CHECK_FALSE(has(error.message, "stray8"));
}

TEST_CASE("a stray tensor of a GGUF file is refused; rotary factors that were read are none") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(path, {.extra = {"blk.0.attn_output_norm.weight", "blk.0.ffn_sub_norm.weight"}});
  const Error error = expect_stray(path, folder);
  CHECK(has(error.message,
            "2 tensors of the source are not used: \"blk.0.attn_output_norm.weight\", "
            "\"blk.0.ffn_sub_norm.weight\""));
  CHECK(must(convert(path, folder.file("b.quern"), ignoring())).plan.warnings.size() == 1);

  write_toy_gguf(path, {.extra = {"rope_factors_long.weight"}});  // Of a Llama without them.
  CHECK_FALSE(plan(path, folder.file("c.quern"), plain_options()).ok());
}

TEST_CASE("adapters, an evaluation and a target go on with what is left out") {
  const auto base = golden("gpt2");
  if (!base) return;
  const Extended source(*base, {{"transformer.h.0.attn.stray"}});
  const TempFolder out;
  ConvertOptions options = ignoring();
  options.adapters = {{*base + "/../gpt2_lora", 1.0F}};
  CHECK(tellings(must(convert(source.path(), out.file("a.quern"), options)).plan, "stray") == 1);
  options = ignoring("");
  options.target_bits = 8.5;
  options.encoding = "keep";
  options.ignore_unused = false;
  const auto refused = convert(source.path(), out.file("b.quern"), options);
  REQUIRE_FALSE(refused.ok());
  CHECK(has(refused.error().describe(), kFlag));
}

namespace {

/// What a published checkpoint may hold beside the weights, and how it is told.
struct Known {
  std::string golden;
  std::vector<Extra> extras;
  std::string told;  ///< Of the one warning; empty: nothing is said.
};

}  // namespace

TEST_CASE("buffers and copies are accepted in silence, whole parts with a warning") {
  const std::vector<Known> cases = {
      {"llama2", {{"model.layers.0.self_attn.rotary_emb.inv_freq"}}, ""},
      {"gpt2", {{"h.0.attn.bias", {1, 1, 8, 8}}, {"h.0.attn.masked_bias", {}}}, ""},
      {"gpt2", {{"v_head.summary.weight"}, {"v_head.summary.bias"}}, "value head"},
      {"gpt_neox",
       {{"gpt_neox.layers.0.attention.bias", {1, 1, 8, 8}},
        {"gpt_neox.layers.0.attention.masked_bias", {}}},
       ""},
      {"gptj", {{"transformer.h.0.attn.bias", {1, 1, 8, 8}}}, ""},
      {"opt", {{"decoder.version", {1}}}, ""},
      {"gemma3_text",
       {{"vision_tower.vision_model.encoder.layers.0.layer_norm1.bias"},
        {"multi_modal_projector.mm_soft_emb_norm.weight"}},
       "pictures and sound"},
      {"gemma3n_text",
       {{"model.vision_tower.timm_model.conv_stem.bn.weight"},
        {"model.embed_audio.embedding.weight"}},
       "pictures and sound"},
      {"deepseek_v3", {{"model.layers.99.eh_proj.weight"}}, "further tokens"},
      {"qwen3", {{"mtp.fc.weight"}}, "further tokens"},
      {"t5",
       {{"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"},
        {"encoder.embed_tokens.weight", {}, "shared.weight"},
        {"decoder.embed_tokens.weight", {}, "shared.weight"}},
       ""},
      {"bart", {{"model.encoder.version", {1}}, {"model.decoder.version", {1}}}, ""},
      {"bert",
       {{"embeddings.position_ids"},
        {"cls.seq_relationship.weight"},
        {"cls.predictions.bias"},
        {"cls.predictions.decoder.weight"}},
       "heads that the result does not have"},
      {"bert_mlm", {{"bert.pooler.dense.weight"}, {"cls.seq_relationship.bias"}}, "heads"},
      {"bert_mlm", {{"cls.predictions.decoder.bias", {}, "cls.predictions.bias"}}, ""},
      {"roberta", {{"roberta.embeddings.position_ids"}, {"lm_head.dense.weight"}}, "heads"},
      {"distilbert", {{"vocab_transform.weight"}, {"pre_classifier.bias"}}, "heads"},
      {"electra", {{"discriminator_predictions.dense.weight"}}, "heads"},
      {"mpnet", {{"lm_head.layer_norm.weight"}}, "heads"},
      {"modernbert", {{"head.dense.weight"}, {"decoder.bias"}}, "heads"},
      {"deberta_v2",
       {{"lm_predictions.lm_head.dense.weight"}, {"mask_predictions.dense.weight"}},
       "heads"},
      {"nomic_bert", {{"cls.predictions.transform.dense.weight"}}, "heads"},
  };
  for (const Known& known : cases) {
    CAPTURE(known.golden);
    CAPTURE(known.extras.front().name);
    const auto base = golden(known.golden);
    if (!base) return;
    const auto plain = must(plan(*base, "x.quern", plain_options()));
    const Extended source(*base, known.extras);
    const auto made = must(plan(source.path(), "x.quern", plain_options()));
    CHECK(made.tensors.size() == plain.tensors.size());
    const bool more = !known.told.empty() && tellings(plain, known.told) == 0;
    CHECK(made.warnings.size() == plain.warnings.size() + (more ? 1 : 0));
    if (!known.told.empty()) CHECK(tellings(made, known.told) == 1);
  }
}

TEST_CASE(
    "the encoder of a whole T5 is read without its decoder, copies of the embedding included") {
  const std::string base = fixture("../encoder_decoders/t5_encoder");
  const Extended source(base, {{"decoder.embed_tokens.weight", {}, "shared.weight"},
                               {"decoder.block.0.layer.0.SelfAttention.q.weight"},
                               {"decoder.final_layer_norm.weight"},
                               {"lm_head.weight"}});
  const auto made = must(plan(source.path(), "x.quern", plain_options()));
  CHECK(tellings(made, "2 tensors of the source are not used: \"decoder.") == 1);
  CHECK(tellings(made, "1 tensor of the source is not used: \"lm_head.weight\"") == 1);
  CHECK(tellings(made, "embed_tokens") == 0);
}

TEST_CASE("BART's shared table is used, or a buffer where nothing is tied") {
  const auto base = golden("bart");
  if (!base) return;
  const std::vector<std::uint64_t> shape =
      must(formats::SafetensorsFile::open(*base + "/model.safetensors"))
          .find("model.shared.weight")
          ->shape;
  const Extended source(*base, {{"model.encoder.embed_tokens.weight", shape},
                                {"model.decoder.embed_tokens.weight", shape},
                                {"lm_head.weight", shape}});
  expect_stray(source.path(), source.folder());  // Copies of the shared one would be none.

  const std::string path = source.folder().file("config.json");
  std::string config = read_bytes(path);
  const std::string tied = "\"tie_word_embeddings\": true";
  REQUIRE(has(config, tied));
  config.replace(config.find(tied), tied.size(), "\"tie_word_embeddings\": false");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  write_bytes(path, config);
  const auto planned = must(plan(source.path(), source.folder().file("a.quern"), plain_options()));
  CHECK(tellings(planned, "shared") == 0);
}

TEST_CASE("what looks like a buffer, a copy or a part, and may be a weight, is refused") {
  const std::vector<std::pair<std::string, Extra>> cases = {
      {"gpt2", {"h.0.attn.bias", {64}}},                           // No mask: one row.
      {"llama2", {"lm_head.scale"}},                               // A head of decoders runs.
      {"llama2", {"model.layers.99.mlp.up_proj.weight"}},          // A layer too many.
      {"bert_mlm", {"cls.predictions.transform.extra.weight"}},    // Of a head that runs.
      {"bert_reranker", {"classifier.out.bias"}},                  // The same.
      {"bert", {"encoder.layer.0.attention.self.extra.bias"}},     // In a layer.
      {"t5", {"encoder.embed_tokens.weight", {4}}},                // No copy.
      {"bart", {"model.encoder.layers.0.self_attn.version"}},      // In a layer.
      {"bart", {"lm_head.bias"}},                                  // Of the output.
      {"gemma3_text", {"audio_tower.conv.weight"}},                // Gemma 3 has no ears.
      {"mixtral", {"model.layers.0.block_sparse_moe.gate.bias"}},  // A router's.
      {"mamba", {"backbone.layers.0.mixer.B_norm.weight"}},        // Falcon Mamba's.
  };
  for (const auto& row : cases) {
    const std::string& name = row.first;
    const Extra& extra = row.second;
    CAPTURE(name);
    CAPTURE(extra.name);
    const auto base = golden(name);
    if (!base) return;
    const Extended source(*base, {extra});
    const auto made = plan(source.path(), "x.quern", plain_options());
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::kUnsupported);
    CHECK(has(made.error().message, "\"" + extra.name + "\""));
  }
}

}  // namespace quern::convert::test
