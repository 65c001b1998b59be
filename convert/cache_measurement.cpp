#include "convert/cache_measurement.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

#include "convert/output_distance.h"
#include "convert/self_test_maker.h"
#include "quern/evaluation.h"
#include "runtime/prompt_values.h"

namespace quern::convert {
namespace {

constexpr std::int64_t kTokens = 512;
constexpr std::size_t kLeastTokens = 32;
/// How much further than an f16 cache an int8 one may move the answers.
constexpr double kHarmless = 2.0;

/// What people give a model to read: a story, an explanation, a list, code, another language.
constexpr std::string_view kText =
    R"(The mill stood at the bend of the river, where the water ran fast even in August. Anna's
grandfather had built the wheel with his own hands, and every spring he climbed down the wet ladder
to look at the paddles, one after the other, and to say a word to each of them. "Wood listens," he
used to tell her, "but it forgets quickly." When he died in the winter of 1962 she was eleven years
old, and nobody climbed down the ladder any more. The wheel turned for two years, then it stopped on
a Tuesday in March, while the church bell was ringing, and the village noticed the silence only on
the next day.

How does a water wheel turn the weight of a river into work? Water that falls by one metre gives up
about ten joules for each kilogram. A stream of 200 kilograms a second and a drop of three metres
therefore offer six kilowatts, of which an overshot wheel takes some 70 percent. The axle turns
slowly, six to ten times a minute, so that gears must bring the stone to its speed of a hundred
turns or more. Before 1800 these gears were made of apple wood, because it wears evenly and does not
need grease.

To bake a plain loaf you need:
1. 500 g of flour, half of it wholemeal
2. 350 ml of lukewarm water
3. 10 g of salt and 5 g of dry yeast
Mix everything, wait for twelve hours, fold the dough twice, and bake it at 240 degrees for 45
minutes.

def mean(values):
    """Returns the arithmetic mean of a list of numbers."""
    if not values:
        raise ValueError("the mean of nothing is not defined")
    total = 0.0
    for value in values:
        total += value
    return total / len(values)

Als der Müller am Morgen die Tür öffnete, lag Schnee auf dem Rad, und der Bach war unter dem Eis kaum
noch zu hören. Er setzte sich auf die Bank, zündete seine Pfeife an und wartete, bis die Sonne über
den Wald kam. "Es hat Zeit", sagte er zu dem Hund, der neben ihm saß und anderer Meinung war.

The question for the committee is simple: should the town repair the mill, sell it, or let the river
have it? Repairs would cost about 84,000 euros, which is more than the town spends on its school in
a year. On the other hand, visitors)";

/// What the model reads.
Result<std::vector<TokenId>> window_of(const Model& model) {
  std::vector<TokenId> ids;
  if (model.has_tokenizer()) {
    QUERN_TRY(encoded, model.encode(kText));
    ids = std::move(encoded);
  } else {
    ids = self_test_prompt(runtime::prompt_vocabulary(model), kTokens);
  }
  ids.resize(std::min<std::size_t>(ids.size(), kTokens));
  return ids;
}

/// Whether an f16 cache is what the model takes by itself and int8 would be another one. A model
/// that reads less than the text gains nothing from a small cache.
Result<bool> may_choose(const Model& model) {
  if (!model.can_run() || model.is_encoder() || model.vocab_size() < 1) return false;
  if (model.max_seq_len() < kTokens) return false;
  std::array<std::uint64_t, 3> bytes{};
  constexpr std::array kinds{KvType::kAuto, KvType::kF16, KvType::kQ8};
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    SessionOptions options;
    options.context = 1;
    options.kv = kinds[i];
    QUERN_TRY(plan, model.plan(options));
    bytes[i] = plan.kv_bytes;
  }
  return bytes[0] == bytes[1] && bytes[1] != bytes[2];
}

/// Three digits: what the last ones of a libm say must not enter a file.
double rounded(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                 std::chars_format::scientific, 2);
  std::from_chars(text.data(), end.ptr, value);
  return value;
}

using Measured = std::optional<formats::CacheChoice>;

}  // namespace

Result<Measured> measure_cache(const Model& model) {
  QUERN_TRY(open_question, may_choose(model));
  if (!open_question) return Measured();
  QUERN_TRY(window, window_of(model));
  if (window.size() < kLeastTokens) return Measured();
  formats::CacheChoice choice;
  choice.tokens = static_cast<std::int64_t>(window.size() - first_scored(window.size()));
  QUERN_TRY(distance, OutputDistance::create(model, {std::move(window)}, KvType::kF32));
  for (auto [kv, found] : {std::pair{KvType::kF16, &choice.f16}, {KvType::kQ8, &choice.q8}}) {
    QUERN_CHECK(distance.change_cache(kv));
    QUERN_TRY(moved, distance.measure());
    if (!std::isfinite(moved)) return Measured();
    *found = rounded(moved);
  }
  choice.kv = choice.q8 <= kHarmless * choice.f16 ? KvType::kQ8 : KvType::kF16;
  return Measured(choice);
}

}  // namespace quern::convert
