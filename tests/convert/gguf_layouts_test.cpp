// What GGUF keeps in another form than Hugging Face: latent attention's heads, layers without
// attention, and the names and numbers that llama.cpp asks for.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <optional>

#include "convert/panel_encoder.h"
#include "fixtures.h"
#include "formats/byte_reader.h"
#include "formats/gguf_reader.h"
#include "formats/json_value.h"
#include "quern/model.h"

namespace quern::convert::test {
namespace {

using formats::GgufFile;
using Shape = std::vector<std::uint64_t>;

const std::vector<TokenId> kIds = {1, 5, 77, 200, 258, 7, 201, 0, 34, 35, 99};

std::vector<float> logits_in(const std::string& path) {
  return logits_of(must(open_any(path)), kIds);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}

/// A copy of a golden whose configuration is edited.
void copy_golden(const std::string& folder, const TempFolder& to,
                 const std::vector<std::pair<std::string, std::string>>& edits) {
  std::string config = read_bytes(folder + "/config.json");
  for (const auto& [from, with] : edits) config = replaced(config, from, with);
  write_bytes(to.file("config.json"), config);
  std::filesystem::copy_file(folder + "/model.safetensors", to.file("model.safetensors"));
}

Shape shape_in(const GgufFile& file, const std::string& name) {
  const formats::GgufTensor* tensor = file.find_tensor(name);
  REQUIRE_MESSAGE(tensor != nullptr, name);
  return {tensor->ne.begin(), tensor->ne.begin() + tensor->n_dims};
}

float float_at(std::span<const std::byte> data, std::size_t i) {
  return formats::load_le<float>(data.data() + i * sizeof(float));
}

/// A tensor to write in the place of others.
struct NewTensor {
  std::string name;
  Shape ne;
  std::string bytes;
};

/// Writes a GGUF file anew: integer keys of `numbers` and tensors of `more` in the place of what
/// has the name, or beside it; keys and tensors that begin with a word of `without` are left out.
void rewrite(const std::string& from, const std::string& to,
             const std::vector<std::pair<std::string, std::uint32_t>>& numbers,
             const std::vector<NewTensor>& more, const std::vector<std::string>& without) {
  const auto file = must(GgufFile::open(from));
  auto writer = must(formats::GgufWriter::create(to));
  const auto left_out = [&](std::string_view name) {
    for (const std::string& word : without)
      if (name.find(word) != std::string_view::npos) return true;
    for (const auto& number : numbers)
      if (name == number.first) return true;
    return false;
  };
  for (const auto& entry : file.entries())
    if (!left_out(entry.key)) REQUIRE(writer.add_entry(entry).ok());
  for (const auto& [key, value] : numbers) REQUIRE(writer.add_unsigned(key, value).ok());
  for (const auto& tensor : file.tensors()) {
    const Shape ne(tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims);
    if (!left_out(tensor.name)) REQUIRE(writer.declare_tensor(tensor.name, ne, *tensor.type).ok());
  }
  const auto& f32 = *formats::ggml_type_of(Encoding::kF32);
  for (const NewTensor& tensor : more)
    REQUIRE(writer.declare_tensor(tensor.name, tensor.ne, f32).ok());
  REQUIRE(writer.begin().ok());
  for (const auto& tensor : file.tensors())
    if (!left_out(tensor.name)) REQUIRE(writer.write(tensor.data).ok());
  for (const NewTensor& tensor : more) REQUIRE(writer.write(formats::as_bytes(tensor.bytes)).ok());
  REQUIRE(writer.finish().ok());
}

std::string refusal_of(const std::string& from, const std::string& to) {
  const auto report = convert(from, to, plain_options());
  REQUIRE(!report.ok());
  return report.error().describe();
}

TEST_CASE("DeepSeek's GGUF has a matrix of keys and one of values per head, keys transposed") {
  const auto folder = golden("deepseek_v3");
  if (!folder) return;
  const TempFolder temp;
  must(convert(*folder, temp.file("a.quern"), plain_options()));
  must(convert(temp.file("a.quern"), temp.file("a.gguf"), plain_options()));
  must(convert(*folder, temp.file("b.gguf"), plain_options()));
  const auto file = must(GgufFile::open(temp.file("a.gguf")));
  CHECK(shape_in(file, "blk.0.attn_q_a.weight") == Shape{64, 28});
  CHECK(shape_in(file, "blk.0.attn_q_b.weight") == Shape{28, 96});
  CHECK(shape_in(file, "blk.0.attn_kv_a_mqa.weight") == Shape{64, 32});
  CHECK(shape_in(file, "blk.1.attn_k_b.weight") == Shape{16, 24, 4});
  CHECK(shape_in(file, "blk.1.attn_v_b.weight") == Shape{24, 16, 4});
  CHECK(shape_in(file, "blk.1.exp_probs_b.bias") == Shape{8});
  CHECK(shape_in(file, "blk.1.ffn_gate_exps.weight") == Shape{64, 32, 8});
  const std::pair<const char*, std::int64_t> numbers[] = {
      {"attention.head_count_kv", 1},     {"attention.key_length", 32},
      {"attention.value_length", 24},     {"attention.key_length_mla", 24},
      {"attention.value_length_mla", 16}, {"attention.q_lora_rank", 28},
      {"attention.kv_lora_rank", 24},     {"rope.dimension_count", 8},
      {"expert_gating_func", 2},          {"expert_group_count", 4},
      {"expert_group_used_count", 2},     {"leading_dense_block_count", 1},
      {"expert_shared_count", 1}};
  for (const auto& number : numbers) {
    CAPTURE(number.first);
    CHECK(must(file.config().integer(std::string("deepseek2.") + number.first)) == number.second);
  }
  // Both ways to a GGUF file give the same bytes.
  const auto direct = must(GgufFile::open(temp.file("b.gguf")));
  for (const auto& tensor : file.tensors()) {
    CAPTURE(tensor.name);
    const auto* other = direct.find_tensor(tensor.name);
    REQUIRE(other != nullptr);
    REQUIRE(tensor.data.size() == other->data.size());
    CHECK(std::memcmp(tensor.data.data(), other->data.data(), tensor.data.size()) == 0);
  }
  CHECK(logits_in(temp.file("b.gguf")) == logits_in(temp.file("a.quern")));
}

/// The matrix that older files have in the place of two: for every head its keys, its values.
NewTensor joined(const GgufFile& file, int layer, std::int64_t heads, std::int64_t plain,
                 std::int64_t value, std::int64_t rank) {
  const std::string block = "blk." + std::to_string(layer) + ".attn_";
  const auto keys = file.find_tensor(block + "k_b.weight")->data;
  const auto values = file.find_tensor(block + "v_b.weight")->data;
  NewTensor tensor{
      block + "kv_b.weight",
      {static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(heads * (plain + value))},
      {}};
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < plain; ++i)
      for (std::int64_t k = 0; k < rank; ++k)
        formats::append_le(tensor.bytes,
                           float_at(keys, static_cast<std::size_t>((h * rank + k) * plain + i)));
    for (std::int64_t i = 0; i < value * rank; ++i)
      formats::append_le(tensor.bytes,
                         float_at(values, static_cast<std::size_t>(h * value * rank + i)));
  }
  return tensor;
}

TEST_CASE("an older DeepSeek GGUF with keys and values in one matrix is read and written as such") {
  const auto folder = golden("deepseek_v3");
  if (!folder) return;
  const TempFolder temp;
  must(convert(*folder, temp.file("a.gguf"), plain_options()));
  const auto file = must(GgufFile::open(temp.file("a.gguf")));
  std::vector<NewTensor> more;
  for (int layer = 0; layer < 3; ++layer) more.push_back(joined(file, layer, 4, 16, 16, 24));
  rewrite(temp.file("a.gguf"), temp.file("old.gguf"),
          {{"deepseek2.attention.key_length", 24},
           {"deepseek2.attention.value_length", 16},
           {"deepseek2.attention.head_count_kv", 4}},
          more, {"_mla", "attn_k_b", "attn_v_b"});
  // "_mla" leaves out the keys; "kv_a_mqa" has another ending.
  must(convert(temp.file("old.gguf"), temp.file("old.quern"), plain_options()));
  CHECK(logits_in(temp.file("old.quern")) == logits_in(temp.file("a.gguf")));
  must(convert(temp.file("old.quern"), temp.file("again.gguf"), plain_options()));
  const auto again = must(GgufFile::open(temp.file("again.gguf")));
  for (const NewTensor& tensor : more) {
    const auto* found = again.find_tensor(tensor.name);
    REQUIRE(found != nullptr);
    REQUIRE(found->data.size() == tensor.bytes.size());
    CHECK(std::memcmp(found->data.data(), tensor.bytes.data(), tensor.bytes.size()) == 0);
  }
  CHECK(must(again.config().integer("deepseek2.attention.head_count_kv")) == 4);
}

TEST_CASE("configurations of DeepSeek that GGUF says otherwise keep their logits") {
  const std::vector<std::vector<std::pair<std::string, std::string>>> edits = {
      {{"\"rope_interleave\": true", "\"rope_interleave\": false"}},
      {{"\"mscale\": 1.0", "\"mscale\": 0.707"}},
      {{"\"mscale_all_dim\": 1.0", "\"mscale_all_dim\": 0.0"}},
      {{"\"mscale\": 1.0,", ""}, {"\"mscale_all_dim\": 1.0,", "\"attention_factor\": 0.83,"}},
      {{"\"norm_topk_prob\": true", "\"norm_topk_prob\": false"}}};
  const auto folder = golden("deepseek_v3");
  if (!folder) return;
  for (const auto& edit : edits) {
    CAPTURE(edit.front().second);
    const TempFolder source, temp;
    copy_golden(*folder, source, edit);
    must(convert(source.path(), temp.file("a.quern"), plain_options()));
    must(convert(temp.file("a.quern"), temp.file("a.gguf"), plain_options()));
    must(convert(temp.file("a.gguf"), temp.file("b.quern"), plain_options()));
    CHECK(logits_in(temp.file("b.quern")) == logits_in(temp.file("a.quern")));
  }
}

TEST_CASE("a turned matrix of blocks has the values of its rows' columns") {
  constexpr std::int64_t kRows = 24, kCols = 64;  // Of each of two parts.
  const std::vector<float> values = weights(2 * kRows * kCols, 3);
  const std::string bytes = encode_rows(Encoding::kQ8_0, values, kCols);
  SourceTensor source;
  source.encoding = Encoding::kQ8_0;
  MatrixJob part;
  part.source = &source;
  part.rows = part.source_rows = kRows;
  part.cols = kCols;
  part.from = Encoding::kQ8_0;
  part.to = Encoding::kF32;
  part.layout = Layout::kPlain;
  MatrixJob job;
  job.source = &source;
  job.rows = 2 * kCols;
  job.cols = kRows;
  job.layout = Layout::kPlain;
  std::vector<float> expected(values.size());
  for (std::int64_t p = 0; p < 2; ++p) {
    part.data = formats::as_bytes(bytes).subspan(static_cast<std::size_t>(p) * bytes.size() / 2,
                                                 bytes.size() / 2);
    job.turned.push_back(part);
    const std::vector<float> block = must(job_values(part));
    for (std::int64_t r = 0; r < kRows; ++r)
      for (std::int64_t c = 0; c < kCols; ++c)
        expected[static_cast<std::size_t>((p * kCols + c) * kRows + r)] =
            block[static_cast<std::size_t>(r * kCols + c)];
  }
  CHECK(must(job_values(job)) == expected);
  double worst = 0;  // Of the blocks against what they were made of.
  for (std::int64_t r = 0; r < kRows; ++r)
    worst = std::max(worst, std::fabs(static_cast<double>(expected[static_cast<std::size_t>(r)]) -
                                      values[static_cast<std::size_t>(r * kCols)]));
  CHECK(worst > 0);
  CHECK(worst < 0.001);
}

TEST_CASE("LFM 2's GGUF says by KV heads which layers have attention") {
  const auto folder = golden("lfm2");
  if (!folder) return;
  const TempFolder temp;
  must(convert(*folder, temp.file("a.gguf"), plain_options()));
  const auto file = must(GgufFile::open(temp.file("a.gguf")));
  const auto heads = must(file.find("lfm2.attention.head_count_kv")->array.integers());
  CHECK(std::vector<std::int64_t>(heads.begin(), heads.end()) ==
        std::vector<std::int64_t>{0, 0, 2, 0});
  CHECK(must(file.config().integer("lfm2.shortconv.l_cache")) == 3);
  CHECK(shape_in(file, "blk.0.shortconv.in_proj.weight") == Shape{64, 192});
  CHECK(shape_in(file, "blk.0.shortconv.conv.weight") == Shape{3, 64});
  CHECK(shape_in(file, "blk.0.shortconv.out_proj.weight") == Shape{64, 64});
  CHECK(shape_in(file, "token_embd_norm.weight") == Shape{64});
  CHECK(file.find_tensor("output_norm.weight") == nullptr);
  CHECK(file.find_tensor("blk.0.attn_q.weight") == nullptr);
  rewrite(temp.file("a.gguf"), temp.file("b.gguf"), {{"lfm2.attention.sliding_window", 16}}, {},
          {});
  CHECK(
      refusal_of(temp.file("b.gguf"), temp.file("b.quern")).find("lfm2.attention.sliding_window") !=
      std::string::npos);
}

TEST_CASE("Granite 4's GGUF names one MLP or experts beside a shared one") {
  for (const char* name : {"granitemoehybrid", "granitemoehybrid_dense"}) {
    const auto folder = golden(name);
    if (!folder) return;
    const bool dense = std::string(name) != "granitemoehybrid";
    const TempFolder temp;
    must(convert(*folder, temp.file("a.gguf"), plain_options()));
    const auto file = must(GgufFile::open(temp.file("a.gguf")));
    const Config& config = file.config();
    // Without scans it is Granite 3's.
    const std::string stem = dense ? "granite." : "granitehybrid.";
    CHECK(must(config.integer(stem + "feed_forward_length")) == (dense ? 200 : 40));
    CHECK(config.has(stem + "expert_count") == !dense);
    CHECK(config.has(stem + "expert_shared_feed_forward_length") == !dense);
    CHECK(config.has(stem + "rope.scaling.finetuned") == !dense);
    CHECK((file.find_tensor("blk.0.ffn_gate.weight") != nullptr) == dense);
    if (dense) continue;
    CHECK(must(config.integer(stem + "ssm.inner_size")) == 128);
    CHECK(must(config.integer(stem + "ssm.time_step_rank")) == 8);
    CHECK(shape_in(file, "blk.0.ssm_a") == Shape{1, 8});
    CHECK(shape_in(file, "blk.0.ssm_norm.weight") == Shape{64, 2});
    CHECK(shape_in(file, "blk.0.ssm_in.weight") == Shape{64, 328});
    CHECK(shape_in(file, "blk.1.attn_k.weight") == Shape{64, 32});
    CHECK(shape_in(file, "blk.1.ffn_up_shexp.weight") == Shape{64, 72});
  }
}

/// A golden and an edit of its configuration: what stands there, and what stands there instead.
struct Edited {
  const char* name;
  std::string from, to;
};

std::string rope(const std::string& values) {
  return "\"rope_parameters\": {" + values + "}, \"was\": {";
}

TEST_CASE("configurations beyond the goldens' own keep their logits through GGUF") {
  const std::string yarn = rope(
      "\"rope_type\": \"yarn\", \"rope_theta\": 10000.0, \"factor\": 3.3, "
      "\"original_max_position_embeddings\": 32, \"attention_factor\": 0.83, "
      "\"beta_fast\": 20.5, \"truncate\": false");
  const std::string llama3 = rope(
      "\"rope_type\": \"llama3\", \"rope_theta\": 306500.0, \"factor\": 4.904, "
      "\"low_freq_factor\": 0.613, \"high_freq_factor\": 5.4813, "
      "\"original_max_position_embeddings\": 33");
  const std::string old_rope = "\"rope_parameters\": {";
  const Edited edits[] = {
      {"llama2", old_rope, yarn},
      {"mixtral", old_rope, yarn},
      {"gpt_oss", "\"truncate\": false", "\"truncate\": true"},
      {"llama3", old_rope, llama3},
      {"granite", "\"logits_scaling\": ", "\"logits_scaling\": 13.7, \"was\": "},
      {"gemma3_text", "\"final_logit_softcapping\": null", "\"final_logit_softcapping\": 7.3"},
      {"exaone4",
       "\"sliding_attention\",\n    \"sliding_attention\",\n    \"full_attention\",\n"
       "    \"sliding_attention\"",
       "\"full_attention\", \"full_attention\", \"full_attention\", \"full_attention\""}};
  for (const Edited& edit : edits) {
    CAPTURE(std::string(edit.name));
    CAPTURE(edit.to);
    const auto folder = golden(edit.name);
    if (!folder) return;
    const TempFolder source, temp;
    copy_golden(*folder, source, {{edit.from, edit.to}});
    must(convert(source.path(), temp.file("a.gguf"), plain_options()));
    CHECK(logits_in(temp.file("a.gguf")) == logits_in(source.path()));
  }
}

TEST_CASE("GGUF files have the names, shapes and keys that llama.cpp looks for") {
  const TempFolder temp;
  const auto written = [&](const char* name) {
    const auto folder = golden(name);
    if (!folder) return std::optional<GgufFile>();
    const std::string path = temp.file(std::string(name) + ".gguf");
    must(convert(*folder, path, plain_options()));
    return std::optional<GgufFile>(must(GgufFile::open(path)));
  };
  if (const auto file = written("phi3")) {
    // The factors of LongRoPE are all in its lists; another would divide the positions.
    CHECK(!file->config().has("phi3.rope.scaling.factor"));
    CHECK(file->config().has("phi3.rope.scaling.attn_factor"));
    // A file without a tokenizer has to say so.
    CHECK(must(file->config().string("tokenizer.ggml.model")) == "none");
  }
  if (const auto file = written("seed_oss")) {
    CHECK(file->find_tensor("blk.0.post_attention_norm.weight") != nullptr);
    CHECK(file->find_tensor("blk.0.ffn_norm.weight") == nullptr);
  }
  if (const auto file = written("gpt_oss")) {
    CHECK(shape_in(*file, "blk.0.ffn_gate_exps.bias") == Shape{48, 4});
    CHECK(shape_in(*file, "blk.0.ffn_down_exps.bias") == Shape{64, 4});
  }
  if (const auto file = written("qwen2_moe")) {  // Whose weights are bfloat16.
    CHECK(file->find_tensor("blk.0.ffn_gate_inp.weight")->type->encoding == Encoding::kF32);
    CHECK(file->find_tensor("blk.0.attn_q.weight")->type->encoding == Encoding::kBF16);
  }
}

TEST_CASE("a number that GGUF says layer by layer is read where it is one number") {
  const auto folder = golden("llama2");
  if (!folder) return;
  const TempFolder temp;
  must(convert(*folder, temp.file("a.gguf"), plain_options()));
  const auto file = must(GgufFile::open(temp.file("a.gguf")));
  const auto n_layers = must(file.config().integer("llama.block_count"));
  const auto heads = must(file.config().integer("llama.attention.head_count_kv"));
  std::vector<std::int64_t> list(static_cast<std::size_t>(n_layers), heads);
  const auto with_list = [&](const std::string& path) {
    auto writer = must(formats::GgufWriter::create(path));
    for (const auto& entry : file.entries()) {
      if (entry.key != "llama.attention.head_count_kv") REQUIRE(writer.add_entry(entry).ok());
    }
    REQUIRE(writer.add_integers("llama.attention.head_count_kv", list).ok());
    for (const auto& tensor : file.tensors()) {
      const Shape ne(tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims);
      REQUIRE(writer.declare_tensor(tensor.name, ne, *tensor.type).ok());
    }
    REQUIRE(writer.begin().ok());
    for (const auto& tensor : file.tensors()) REQUIRE(writer.write(tensor.data).ok());
    REQUIRE(writer.finish().ok());
  };
  with_list(temp.file("b.gguf"));
  CHECK(logits_in(temp.file("b.gguf")) == logits_in(temp.file("a.gguf")));
  list.back() *= 2;
  with_list(temp.file("c.gguf"));
  CHECK(refusal_of(temp.file("c.gguf"), temp.file("c.quern")).find("n_kv_heads") !=
        std::string::npos);
}

}  // namespace
}  // namespace quern::convert::test
