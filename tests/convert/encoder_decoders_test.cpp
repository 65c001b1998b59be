// Encoder–decoders through the converter against transformers: the encoder's states, the decoder's
// logits, greedy and beam search; the same bits however they are evaluated and after a way through
// GGUF. The checkpoints are the goldens' and those that encoder_decoders/make.py made.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "fixtures.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "models/architecture.h"
#include "quern/encoder.h"
#include "quern/evaluation.h"
#include "quern/quern.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-4;  // Of the values' standard deviation.
const std::filesystem::path kOwn =
    std::filesystem::path(QUERN_SOURCE_DIR) / "tests/convert/encoder_decoders";

/// One checkpoint with what transformers made of it.
struct Reference {
  std::string folder;
  std::vector<TokenId> source, target;
  std::vector<float> states, logits;
  formats::Json about;

  explicit Reference(const std::filesystem::path& path) : folder(path.string()) {
    const auto file = formats::SafetensorsFile::open(folder + "/golden.safetensors");
    const auto json = formats::read_json_file(folder + "/golden.json");
    REQUIRE(file.ok());
    REQUIRE(json.ok());
    about = *json;
    source = values_of<std::int64_t, TokenId>(*file, "input_ids");
    target = values_of<std::int64_t, TokenId>(*file, "decoder_input_ids");
    states = values_of<float, float>(*file, "encoder_last_hidden_state");
    logits = values_of<float, float>(*file, "logits");
  }
};

std::vector<Reference> references() {
  std::vector<Reference> all;
  for (const char* name : {"mbart", "marian", "marian_apart", "pegasus", "mt5", "umt5"})
    all.emplace_back(kOwn / name);
  for (const char* name : {"t5", "t5_gated", "bart"}) {
    if (const auto folder = golden(name)) all.emplace_back(*folder);
  }
  return all;
}

double worst_of_deviation(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return INFINITY;
  double sum = 0, squares = 0, worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto e = static_cast<double>(expected[i]);
    const double difference = std::fabs(static_cast<double>(found[i]) - e);
    worst = difference <= worst ? worst : difference;  // NaN becomes the worst.
    sum += e;
    squares += e * e;
  }
  const auto n = static_cast<double>(found.size());
  return worst / std::sqrt(squares / n - sum / n * (sum / n));
}

std::string converted(const std::string& from, const TempFolder& temp, const char* name,
                      ConvertOptions options = plain_options()) {
  must(convert(from, temp.file(name), options));
  return temp.file(name);
}

struct Evaluated {
  std::vector<float> states, logits;
  bool operator==(const Evaluated&) const = default;
};

/// \param chunk rows of a step of the decoder.
Evaluated evaluate(const Model& model, const Reference& reference, std::int64_t chunk = 64) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(reference.target.size());
  options.batch_rows = options.output_rows = chunk;
  Session session = must(Session::create(model, options));
  const auto states = must(session.read_source(reference.source));
  Evaluated out{{states.begin(), states.end()}, {}};
  const Status done =
      session.step_all(reference.target, [&](std::int64_t, std::span<const float> rows) {
        out.logits.insert(out.logits.end(), rows.begin(), rows.end());
        return Status();
      });
  REQUIRE(done.ok());
  return out;
}

TEST_CASE("encoder–decoders give transformers' states and logits") {
  for (const Reference& reference : references()) {
    CAPTURE(reference.folder);
    const TempFolder temp;
    ConvertOptions options = plain_options();
    options.self_test = true;
    const Model model = must(Model::open(converted(reference.folder, temp, "a.quern", options)));
    CHECK(model.is_encoder_decoder());
    const Evaluated found = evaluate(model, reference);
    CHECK(worst_of_deviation(found.states, reference.states) <= kTolerance);
    CHECK(worst_of_deviation(found.logits, reference.logits) <= kTolerance);
    const auto verified = must(model.verify());
    CHECK(verified.problems.empty());
    CHECK(verified.logits_checked == 1);
  }
}

TEST_CASE("both spellings of T5's configuration mean the same") {
  for (const char* name : {"t5", "t5_gated"}) {
    const auto folder = golden(name);
    if (!folder) return;
    const TempFolder temp;
    std::filesystem::copy(*folder, temp.file("old"));
    std::filesystem::permissions(temp.file("old"), std::filesystem::perms::owner_all);
    std::filesystem::remove(temp.file("old/config.json"));
    std::filesystem::rename(temp.file("old/config_v4.json"), temp.file("old/config.json"));
    const Reference reference(*folder);
    const Model model = must(Model::open(converted(temp.file("old"), temp, "old.quern")));
    CHECK(worst_of_deviation(evaluate(model, reference).logits, reference.logits) <= kTolerance);
  }
}

TEST_CASE("an encoder–decoder's bits depend on neither threads nor steps, in any encoding") {
  for (const Reference& reference : references()) {
    CAPTURE(reference.folder);
    const TempFolder temp;
    for (const char* encoding : {"keep", "q8_0", "qr8", "qr4"}) {
      CAPTURE(encoding);
      ConvertOptions options = plain_options();
      options.encoding = encoding;
      const std::string path = converted(reference.folder, temp, encoding, options);
      const Evaluated whole = evaluate(must(Model::open(path, {.threads = 1})), reference);
      for (const int threads : {2, 3, 8}) {
        const Model model = must(Model::open(path, {.threads = threads}));
        CHECK(evaluate(model, reference, threads == 3 ? 1 : 7) == whole);
      }
    }
  }
}

TEST_CASE("T5 keeps its bits on the way through GGUF") {
  for (const Reference& reference : references()) {
    const TempFolder temp;
    const std::string path = converted(reference.folder, temp, "a.quern");
    const auto written = convert(path, temp.file("b.gguf"), plain_options());
    const Model model = must(Model::open(path));
    if (must(model.config().string("architecture")) != "t5") {
      REQUIRE(!written.ok());
      CHECK(written.error().code == ErrorCode::kUnsupported);
      continue;
    }
    CAPTURE(reference.folder);
    REQUIRE_MESSAGE(written.ok(), (written.ok() ? "" : written.error().describe()));
    const Model back = must(Model::open(converted(temp.file("b.gguf"), temp, "c.quern")));
    CHECK(evaluate(back, reference) == evaluate(model, reference));
    CHECK(std::ranges::equal(back.decoder_start(), model.decoder_start()));
  }
}

TEST_CASE("golden encoder–decoders reply greedily as transformers does") {
  for (const char* name : {"t5", "t5_gated", "bart"}) {
    const auto folder = golden(name);
    if (!folder) return;
    const Reference reference(*folder);
    const auto file = must(formats::SafetensorsFile::open(*folder + "/golden.safetensors"));
    const auto expected = values_of<std::int64_t, TokenId>(file, "greedy_ids");
    const TempFolder temp;
    const Model model = must(Model::open(converted(*folder, temp, "a.quern")));
    CHECK(model.default_sampling().temperature == 0.0F);
    Session session = must(Session::create(model, {.context = 64}));
    must(session.read_source(reference.source));
    GenerateOptions options;
    options.sampling = model.default_sampling();
    options.max_tokens = static_cast<std::int64_t>(expected.size());
    options.ignore_end_tokens = true;
    CHECK(must(session.generate(model.decoder_start(), options)).ids == expected);
  }
}

BeamOptions search_options(const formats::Json& settings) {
  BeamOptions options;
  options.beams = options.results = static_cast<std::int32_t>(settings["num_beams"].integer());
  options.max_tokens = 12;
  if (settings.contains("length_penalty"))
    options.length_penalty = static_cast<float>(settings["length_penalty"].number());
  options.early_stopping = settings["early_stopping"].boolean();
  options.no_repeat_ngram = static_cast<std::int32_t>(settings["no_repeat_ngram_size"].integer());
  options.min_tokens = settings["min_new_tokens"].integer();
  return options;
}

/// transformers' sequence up to its end token.
std::vector<TokenId> sequence_of(const formats::Json& ids, std::int64_t end_token) {
  std::vector<TokenId> sequence;
  for (const formats::Json& id : ids) {
    if (id.integer() == end_token) break;
    sequence.push_back(static_cast<TokenId>(id.integer()));
  }
  return sequence;
}

TEST_CASE("beam search finds transformers' hypotheses and scores") {
  for (const Reference& reference : references()) {
    if (!reference.about.contains("searches")) continue;
    CAPTURE(reference.folder);
    const TempFolder temp;
    std::filesystem::copy(reference.folder, temp.file("own"));
    const std::int64_t end = reference.about["end_token"].integer();
    write_bytes(temp.file("own/generation_config.json"),
                "{\"decoder_start_token_id\": " +
                    std::to_string(must(Model::open(converted(reference.folder, temp, "s.quern")))
                                       .decoder_start()
                                       .front()) +
                    ", \"eos_token_id\": " + std::to_string(end) + "}");
    const Model model = must(Model::open(converted(temp.file("own"), temp, "a.quern")));
    Session session = must(Session::create(model, {.context = 32}));
    must(session.read_source(reference.source));
    for (const formats::Json& search : reference.about["searches"]) {
      CAPTURE(formats::dump_json(search["settings"]));
      const auto found =
          must(session.beam_search(model.decoder_start(), search_options(search["settings"])));
      REQUIRE(found.size() == search["scores"].size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].ids == sequence_of(search["sequences"][i], end));
        CHECK(found[i].score == doctest::Approx(search["scores"][i].number()).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("an encoder–decoder through C") {
  const Reference reference(kOwn / "mbart");
  const TempFolder temp;
  const std::string path = converted(reference.folder, temp, "a.quern");
  quern_model* model = nullptr;
  quern_session* session = nullptr;
  REQUIRE(quern_model_open(path.data(), path.size(), nullptr, &model) == QUERN_OK);
  REQUIRE(quern_session_create(model, nullptr, &session) == QUERN_OK);
  const float* values = nullptr;
  std::size_t count = 0;
  REQUIRE(quern_session_read_source(session, reference.source.data(), reference.source.size(),
                                    &values, &count) == QUERN_OK);
  CHECK(worst_of_deviation({values, values + count}, reference.states) <= kTolerance);
  const quern_token* start = quern_model_decoder_start(model, &count);
  REQUIRE(count == 1);
  CHECK(*start == 2);
  REQUIRE(quern_session_step(session, reference.target.data(), 1, &values, &count) == QUERN_OK);
  const std::vector<float> first(reference.logits.begin(),
                                 reference.logits.begin() + static_cast<std::ptrdiff_t>(count));
  CHECK(worst_of_deviation({values, values + count}, first) <= kTolerance);
  quern_session_free(session);
  quern_model_free(model);
}

TEST_CASE("the perplexity of an encoder–decoder's windows is that of their second halves") {
  const Reference reference(kOwn / "mbart");
  const TempFolder temp;
  const Model model = must(Model::open(converted(reference.folder, temp, "a.quern")));
  Session session = must(Session::create(model, {.context = 32}));
  std::vector<TokenId> window = reference.source;
  const std::size_t half = first_scored(window.size());
  std::vector<float> scored;
  std::vector<std::size_t> places;
  const Status done =
      evaluate_window(session, window, [&](std::size_t first, std::span<const float> rows) {
        places.push_back(first);
        scored.insert(scored.end(), rows.begin(), rows.end());
        return Status();
      });
  REQUIRE(done.ok());
  CHECK(places.front() == half);
  Reference same = reference;
  same.source.resize(half);
  same.target.assign(window.begin() + static_cast<std::ptrdiff_t>(half) - 1, window.end() - 1);
  same.target.front() = model.decoder_start().front();
  CHECK(evaluate(model, same).logits == scored);
}

TEST_CASE("replies of an encoder–decoder are as likely as its logits say") {
  const Reference reference(kOwn / "marian");
  const TempFolder temp;
  const Model model = must(Model::open(converted(reference.folder, temp, "a.quern")));
  Session session = must(Session::create(model, {.context = 32}));
  const std::vector<std::vector<TokenId>> replies = {{7}, {5, 9, 11}, {5, 9, 12, 30}};
  const auto found = must(continuation_likelihoods(session, reference.source, replies));
  REQUIRE(found.size() == replies.size());
  for (std::size_t i = 0; i < replies.size(); ++i) {
    Reference read = reference;
    read.target.assign(model.decoder_start().begin(), model.decoder_start().end());
    read.target.insert(read.target.end(), replies[i].begin(), replies[i].end() - 1);
    const std::vector<float> logits = evaluate(model, read).logits;
    const std::size_t vocab = logits.size() / read.target.size();
    double sum = 0;
    for (std::size_t t = 0; t < replies[i].size(); ++t)
      sum += must(log_likelihood_of(std::span(logits).subspan(t * vocab, vocab), replies[i][t]));
    CHECK(found[i].log_likelihood == doctest::Approx(sum).epsilon(1e-9));
    CHECK(found[i].tokens == static_cast<std::int64_t>(replies[i].size()));
  }
}

TEST_CASE("a size is a target for an encoder–decoder too") {
  for (const char* name : {"mbart", "umt5"}) {
    const Reference reference(kOwn / name);
    const TempFolder temp;
    ConvertOptions options = plain_options();
    options.target_bits = 24;  // Rows so short are padded to several times their size.
    const std::string path = converted(reference.folder, temp, "a.quern", options);
    CHECK(std::filesystem::file_size(path) > 0);
    const Evaluated found = evaluate(must(Model::open(path)), reference);
    CHECK(worst_of_deviation(found.logits, reference.logits) < 1.0);
  }
}

TEST_CASE("the encoder of T5 alone is an encoder") {
  const std::string folder = (kOwn / "t5_encoder").string();
  const auto file = must(formats::SafetensorsFile::open(folder + "/golden.safetensors"));
  const TempFolder temp;
  const Model model = must(Model::open(converted(folder, temp, "a.quern")));
  REQUIRE(model.is_encoder());
  Encoder encoder = must(Encoder::create(model));
  const EncoderInput input{values_of<std::int64_t, TokenId>(file, "input_ids"), {}};
  const auto expected = values_of<float, float>(file, "last_hidden_state");
  const Status done = encoder.run({&input, 1}, [&](std::size_t, const EncoderOutput& output) {
    const std::vector<float> hidden(output.hidden.begin(), output.hidden.end());
    CHECK(worst_of_deviation(hidden, expected) <= kTolerance);
    return Status();
  });
  CHECK(done.ok());
}

TEST_CASE("a session wants a source of an encoder–decoder, and of no other model") {
  const Reference reference(kOwn / "mbart");
  const TempFolder temp;
  const Model model = must(Model::open(converted(reference.folder, temp, "a.quern")));
  Session session = must(Session::create(model, {.context = 16, .max_source_tokens = 8}));
  const auto early = session.step(reference.target);
  REQUIRE(!early.ok());
  CHECK(early.error().code == ErrorCode::kInvalidArgument);
  const std::vector<TokenId> source(reference.source.begin(), reference.source.begin() + 8);
  const auto longer = session.read_source(reference.source);
  REQUIRE(!longer.ok());
  CHECK(longer.error().code == ErrorCode::kLimit);
  CHECK(session.read_source(std::vector<TokenId>{40}).error().code == ErrorCode::kOutOfRange);
  CHECK(session.read_source({}).error().code == ErrorCode::kInvalidArgument);
  must(session.read_source(source));
  must(session.step(reference.target));
  // A new source begins a new reply.
  must(session.read_source(source));
  CHECK(session.position() == 0);
  CHECK(session.beam_search(model.decoder_start(), {.beams = 9}).error().code == ErrorCode::kLimit);
  CHECK(session.beam_search(model.decoder_start(), {.beams = 0}).error().code ==
        ErrorCode::kOutOfRange);

  if (const auto decoder = golden("llama2")) {
    const Model other = must(Model::open(converted(*decoder, temp, "b.quern")));
    Session plain = must(Session::create(other, {.context = 16}));
    CHECK(plain.read_source(source).error().code == ErrorCode::kUnsupported);
    CHECK(Session::create(other, {.max_source_tokens = 8}).error().code == ErrorCode::kOutOfRange);
  }
}

}  // namespace
}  // namespace quern::convert::test
