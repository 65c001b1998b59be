// Gemma 3n inside a checkpoint of text, pictures and sound; what its configuration may not say.
#include <doctest/doctest.h>

#include <cstring>

#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "quern/model.h"

namespace quern::convert::test {
namespace {

/// The golden's weights under other names, and what `more` adds.
void write_weights(const std::string& golden_folder, const std::string& path,
                   const std::string& prefix, bool with_more) {
  const auto file = formats::SafetensorsFile::open(golden_folder + "/model.safetensors");
  REQUIRE(file.ok());
  auto writer = formats::SafetensorsWriter::create(path);
  REQUIRE(writer.ok());
  const std::string old_prefix = "model.";
  const auto renamed = [&](const std::string& name) {
    return prefix + (name.starts_with(old_prefix) ? name.substr(old_prefix.size()) : name);
  };
  const auto& any = *file->find("model.norm.weight");
  // Published files hold keys of layers that read others', and the towers.
  const std::vector<std::string> more = {prefix + "layers.3.self_attn.k_norm.weight",
                                         "model.vision_tower.timm_model.conv_stem.conv.weight"};
  for (const formats::SafeTensor& tensor : file->tensors())
    REQUIRE(writer->declare_tensor(renamed(tensor.name), *tensor.dtype, tensor.shape).ok());
  for (const std::string& name : more) {
    if (with_more) REQUIRE(writer->declare_tensor(name, *any.dtype, any.shape).ok());
  }
  REQUIRE(writer->begin().ok());
  for (const formats::SafeTensor& tensor : file->tensors())
    REQUIRE(writer->write(tensor.data).ok());
  for (std::size_t i = 0; with_more && i < more.size(); ++i) REQUIRE(writer->write(any.data).ok());
  REQUIRE(writer->finish().ok());
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE(
    "the text part of a Gemma 3n checkpoint with towers is converted, and the rest is named") {
  const auto folder = golden("gemma3n_text");
  if (!folder) return;
  const TempFolder source, temp;
  write_weights(*folder, source.file("model.safetensors"), "model.language_model.", true);
  const std::string text = read_bytes(*folder + "/config.json");
  write_bytes(source.file("config.json"),
              "{\"architectures\": [\"Gemma3nForConditionalGeneration\"], \"text_config\": " +
                  text + ", \"vision_config\": {\"hidden_size\": 8}, \"audio_config\": {}}");
  const auto whole = convert(source.path(), temp.file("whole.quern"), plain_options());
  REQUIRE_MESSAGE(whole.ok(), (whole.ok() ? "" : whole.error().describe()));
  const auto alone = convert(*folder, temp.file("alone.quern"), plain_options());
  REQUIRE(alone.ok());
  CHECK(whole->weights_hash == alone->weights_hash);
  std::string warnings;
  for (const std::string& warning : whole->plan.warnings) warnings += warning + "\n";
  CHECK(warnings.find("text alone") != std::string::npos);
  CHECK(warnings.find("vision_tower") != std::string::npos);
  CHECK(warnings.find("k_norm") == std::string::npos);  // Of layers that read others' keys.
}

/// The golden with an embedding per layer for the first `rows` tokens alone.
void write_narrow(const std::string& golden_folder, const TempFolder& to, std::uint64_t rows) {
  const auto file = must(formats::SafetensorsFile::open(golden_folder + "/model.safetensors"));
  auto writer = must(formats::SafetensorsWriter::create(to.file("model.safetensors")));
  const auto is_table = [](const formats::SafeTensor& tensor) {
    return tensor.name.find("embed_tokens_per_layer") != std::string::npos;
  };
  for (const formats::SafeTensor& tensor : file.tensors()) {
    auto shape = tensor.shape;
    if (is_table(tensor)) shape[0] = rows;
    REQUIRE(writer.declare_tensor(tensor.name, *tensor.dtype, shape).ok());
  }
  REQUIRE(writer.begin().ok());
  for (const formats::SafeTensor& tensor : file.tensors()) {
    const std::size_t row = tensor.data.size() / tensor.shape[0];
    const auto data = is_table(tensor) ? tensor.data.first(rows * row) : tensor.data;
    REQUIRE(writer.write(data).ok());
  }
  REQUIRE(writer.finish().ok());
  write_bytes(
      to.file("config.json"),
      replaced(read_bytes(golden_folder + "/config.json"), "\"vocab_size_per_layer_input\": 259",
               "\"vocab_size_per_layer_input\": " + std::to_string(rows)));
}

TEST_CASE("Gemma 3n's GGUF has the tensors that llama.cpp asks for, and the same logits") {
  const auto folder = golden("gemma3n_text");
  if (!folder) return;
  const TempFolder source, temp;
  write_narrow(*folder, source, 200);
  must(convert(source.path(), temp.file("a.quern"), plain_options()));
  must(convert(temp.file("a.quern"), temp.file("a.gguf"), plain_options()));
  const auto report = must(convert(temp.file("a.gguf"), temp.file("b.quern"), plain_options()));
  for (const std::string& warning : report.plan.warnings)
    CHECK(warning.find("not used") == std::string::npos);
  // Tokens from 200 on have the embedding of token 0 there.
  const std::vector<TokenId> ids = {1, 5, 199, 200, 258, 7, 201, 0};
  const auto expected = logits_of(must(Model::open(temp.file("a.quern"))), ids);
  CHECK(logits_of(must(Model::open(temp.file("b.quern"))), ids) == expected);
  CHECK(logits_of(must(open_any(source.path())), ids) == expected);

  const auto gguf = must(formats::GgufFile::open(temp.file("a.gguf")));
  const auto shape_of = [&](const std::string& name) {
    const formats::GgufTensor* tensor = gguf.find_tensor(name);
    std::vector<std::uint64_t> shape;
    if (tensor != nullptr) shape.assign(tensor->ne.begin(), tensor->ne.begin() + tensor->n_dims);
    return shape;
  };
  using Shape = std::vector<std::uint64_t>;
  for (int layer = 0; layer < 4; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    CHECK(shape_of(block + "attn_k.weight") == Shape{64, 32});
    CHECK(shape_of(block + "attn_v.weight") == Shape{64, 32});
    CHECK(shape_of(block + "attn_k_norm.weight") == Shape{16});
  }
  CHECK(shape_of("per_layer_token_embd.weight") == Shape{48, 259});
  CHECK(shape_of("altup_proj.weight") == Shape{64, 64, 2});
  CHECK(shape_of("altup_unembd_proj.weight") == Shape{64, 64, 2});
}

TEST_CASE("what Gemma 3n's configuration may not say is refused by name") {
  const auto folder = golden("gemma3n_text");
  if (!folder) return;
  const std::string config = read_bytes(*folder + "/config.json");
  const auto check = [&](const std::string& from, const std::string& to, ErrorCode code,
                         const std::string& field) {
    CAPTURE(to);
    const TempFolder source, temp;
    write_weights(*folder, source.file("model.safetensors"), "model.", false);
    write_bytes(source.file("config.json"), replaced(config, from, to));
    const auto report = convert(source.path(), temp.file("a.quern"), plain_options());
    REQUIRE(!report.ok());
    CHECK(report.error().code == code);
    CHECK(report.error().describe().find(field) != std::string::npos);
  };
  check("    80,\n    80\n", "    80,\n    96\n", ErrorCode::kUnsupported, "intermediate_size");
  check("    80,\n    80\n", "    80\n", ErrorCode::kMismatch, "intermediate_size");
  check("    0.8,\n    0.0\n", "    0.8\n", ErrorCode::kMismatch, "activation_sparsity_pattern");
  check("    0.8,\n", "    1.0,\n", ErrorCode::kOutOfRange, "activation_sparsity_pattern");
  check("\"num_kv_shared_layers\": 2", "\"num_kv_shared_layers\": 4", ErrorCode::kOutOfRange,
        "n_shared_kv");
  check("\"num_kv_shared_layers\": 2", "\"num_kv_shared_layers\": 3", ErrorCode::kUnsupported,
        "layer_types");
  check("\"altup_active_idx\": 0", "\"altup_active_idx\": 3", ErrorCode::kOutOfRange,
        "altup_active_idx");
  check("\"altup_num_inputs\": 3", "\"altup_num_inputs\": 4", ErrorCode::kMissing,
        "altup_projections.2");
  check("\"rope_type\": \"default\"\n    }\n  }", "\"rope_type\": \"linear\"\n    }\n  }",
        ErrorCode::kUnsupported, "sliding_attention.rope_type");
}

}  // namespace
}  // namespace quern::convert::test
