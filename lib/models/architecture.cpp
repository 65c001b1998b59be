#include "models/architecture.h"

#include <limits>

#include "models/sentence_modules.h"

namespace quern::models {
namespace {

constexpr std::int64_t kMaxDimension = std::int64_t{1} << 31;
constexpr std::int64_t kMaxLayers = 4096;

std::string with_layer(std::string_view pattern, std::int32_t layer) {
  std::string text(pattern);
  const std::size_t at = text.find("{}");
  if (at != std::string::npos) text.replace(at, 2, std::to_string(layer));
  return text;
}

Result<std::int64_t> factor_value(std::string_view word, const Config& config) {
  if (!word.empty() && word.front() >= '0' && word.front() <= '9') {
    std::int64_t value = 0;
    for (const char c : word) value = value * 10 + (c - '0');  // Literals of our own tables: short.
    return value;
  }
  return config.integer(word);
}

Error out_of_range(std::string_view what, std::int64_t found) {
  return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range")
      .of(std::string(what))
      .want("1 to 2^31 in all")
      .got(std::to_string(found));
}

Result<std::int64_t> evaluate_product(std::string_view expression, const Config& config) {
  std::int64_t product = 1;
  for (std::size_t at = 0; at <= expression.size();) {
    const std::size_t star = std::min(expression.find('*', at), expression.size());
    const std::string_view word = expression.substr(at, star - at);
    QUERN_TRY(value, factor_value(word, config));
    if (value < 1 || value > kMaxDimension || product > kMaxDimension / value)
      return out_of_range(word, value);
    product *= value;
    at = star + 1;
  }
  return product;
}

/// Checked so that no row of ours lies outside the fused tensor.
Result<RowRuns> evaluate_slice(const RowSlice& slice, std::int64_t rows, const Config& config) {
  if (slice.empty()) return RowRuns{};
  RowRuns runs;
  QUERN_TRY(total, evaluate_dimension(slice.total, config));
  runs.total = total;
  runs.run = rows;
  if (!slice.first.empty()) {
    QUERN_TRY(first, evaluate_dimension(slice.first, config));
    runs.first = first;
  }
  if (!slice.run.empty()) {
    QUERN_TRY(run, evaluate_dimension(slice.run, config));
    QUERN_TRY(stride, evaluate_dimension(slice.stride, config));
    runs.run = run;
    runs.stride = stride;
  }
  if (runs.first + runs.run > total || runs.source(rows - 1) >= total)
    return out_of_range(slice.total, total);
  return runs;
}

/// Whether the model has the tensor, and whether it must: {has, optional}.
Result<std::pair<bool, bool>> presence(const TensorRule& rule, std::int32_t layer,
                                       const Config& config) {
  if (rule.when.empty()) return std::pair(true, rule.optional);
  const bool contrary = rule.when.front() == '!', may = rule.when.back() == '?';
  std::string_view key = rule.when;
  key.remove_prefix(contrary ? 1 : 0);
  key.remove_suffix(may ? 1 : 0);
  const ConfigValue* value = config.find(key);
  if (value == nullptr || value->is_null()) return std::pair(true, rule.optional);
  if (const auto* list = std::get_if<ConfigList>(value)) {
    const auto at = static_cast<std::size_t>(layer);
    if (layer < 0 || at >= list->size())
      return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
          .of(std::string(key));
    value = &(*list)[at];
  }
  const auto* flag = std::get_if<bool>(value);
  if (flag == nullptr)
    return Error(ErrorCode::kMalformed, "a value of the configuration is neither true nor false")
        .of(std::string(key));
  return std::pair(*flag != contrary, may);
}

/// GGUF's name of a tensor, its rows, and what was done to it.
Status set_gguf_form(const TensorRule& rule, std::int64_t sliced, const Config& config,
                     ExpectedTensor& tensor) {
  const bool older = config.list("older_gguf") == ConfigList{ConfigValue(true)};
  if (older && !rule.older_gguf.empty()) {
    tensor.gguf_name = with_layer(rule.older_gguf, tensor.layer);
    QUERN_TRY(rows, evaluate_slice(rule.older_gguf_slice, sliced, config));
    tensor.gguf_rows = rows;
    return {};
  }
  tensor.gguf_name = with_layer(rule.gguf, tensor.layer);
  if (!rule.gguf_skipped_rows.empty()) {
    QUERN_TRY(skipped, config.integer_or(rule.gguf_skipped_rows, 0));
    if (skipped < 0 || skipped >= tensor.rows) return out_of_range(rule.gguf_skipped_rows, skipped);
    tensor.gguf_skipped_rows = skipped;
  }
  QUERN_TRY(rows, evaluate_slice(rule.gguf_slice, sliced, config));
  tensor.gguf_rows = rows;
  if (!rule.gguf_parts.empty()) {
    QUERN_TRY(parts, evaluate_dimension(rule.gguf_parts, config));
    tensor.gguf_parts = parts;
  }
  if (!rule.gguf_transform_unless.empty()) {
    QUERN_TRY(unless, config.boolean_or(rule.gguf_transform_unless, true));
    if (unless) return {};
  }
  tensor.gguf_transform = rule.gguf_transform;
  return {};
}

Result<ExpectedTensor> expect(const TensorRule& rule, std::int32_t layer, const Config& config) {
  QUERN_TRY(rows, evaluate_dimension(with_layer(rule.rows, layer), config));
  QUERN_TRY(cols, evaluate_dimension(with_layer(rule.cols, layer), config));
  ExpectedTensor tensor{&rule, layer, with_layer(rule.name, layer),
                        {},    {},    rule.role == Role::kVector ? 1 : rows,
                        cols,  1,     false,
                        {},    {}};
  if (!rule.gguf_filled_rows.empty()) {
    QUERN_TRY(filled, evaluate_dimension(rule.gguf_filled_rows, config));
    tensor.gguf_filled_rows = filled;
  }
  if (!rule.count.empty()) {
    QUERN_TRY(count, evaluate_dimension(rule.count, config));
    tensor.count = count;
  }
  // The rows of a vector in the sense of a slice are its elements.
  const std::int64_t sliced = rule.role == Role::kVector ? cols : rows;
  QUERN_TRY(hf_rows, evaluate_slice(rule.hf_slice, sliced, config));
  tensor.hf_rows = hf_rows;
  QUERN_CHECK(set_gguf_form(rule, sliced, config, tensor));
  for (const std::string& name : rule.hf) tensor.hf_names.push_back(with_layer(name, layer));
  return tensor;
}

bool per_layer(const TensorRule& rule) { return rule.name.find("{}") != std::string_view::npos; }

Result<std::int64_t> layer_count(std::string_view key, const Config& config) {
  QUERN_TRY(n_layers, config.integer(key));
  if (n_layers >= 1 && n_layers <= kMaxLayers) return n_layers;
  return Error(ErrorCode::kOutOfRange, "the number of layers is out of range")
      .of(std::string(key))
      .want("1 to " + std::to_string(kMaxLayers))
      .got(std::to_string(n_layers));
}

}  // namespace

Result<std::int64_t> evaluate_dimension(std::string_view expression, const Config& config) {
  std::int64_t sum = 0;
  for (std::size_t at = 0; at <= expression.size();) {
    const std::size_t plus = std::min(expression.find('+', at), expression.size());
    QUERN_TRY(product, evaluate_product(expression.substr(at, plus - at), config));
    sum += product;
    at = plus + 1;
  }
  if (sum < 1 || sum > kMaxDimension) return out_of_range(expression, sum);
  return sum;
}

namespace {

/// Calls visit(rule, layer) for every tensor of the rules, there or not, in the order of use: what
/// stands alone, and each stack layer by layer.
template <class Visit>
Status for_each_tensor(const std::vector<TensorRule>& rules, const Config& config,
                       const Visit& visit) {
  const auto append = [&](std::size_t begin, std::size_t end, std::int32_t layer) -> Status {
    for (std::size_t i = begin; i < end; ++i) QUERN_CHECK(visit(rules[i], layer));
    return {};
  };
  for (std::size_t first = 0; first < rules.size();) {
    std::size_t last = first + 1;
    if (!per_layer(rules[first])) {
      QUERN_CHECK(append(first, last, -1));
      first = last;
      continue;
    }
    while (last < rules.size() && per_layer(rules[last]) &&
           rules[last].layers == rules[first].layers) {
      ++last;
    }
    QUERN_TRY(n_layers, layer_count(rules[first].layers, config));
    for (std::int32_t layer = 0; layer < n_layers; ++layer) QUERN_CHECK(append(first, last, layer));
    first = last;
  }
  return {};
}

}  // namespace

Result<std::vector<ExpectedTensor>> expected_tensors(const Architecture& architecture,
                                                     const Config& config) {
  std::vector<ExpectedTensor> tensors;
  const auto visit = [&](const TensorRule& rule, std::int32_t layer) -> Status {
    QUERN_TRY(has, presence(rule, layer, config));
    if (!has.first) return {};
    QUERN_TRY(tensor, expect(rule, layer, config));
    tensor.optional = has.second;
    tensors.push_back(std::move(tensor));
    return {};
  };
  QUERN_CHECK(for_each_tensor(architecture.tensors(), config, visit));
  if (has_sentence_steps(config)) QUERN_CHECK(for_each_tensor(sentence_tensors(), config, visit));
  return tensors;
}

Result<std::vector<ExpectedTensor>> gguf_zero_tensors(const Architecture& architecture,
                                                      const Config& config) {
  std::vector<ExpectedTensor> tensors;
  QUERN_CHECK(for_each_tensor(architecture.tensors(), config,
                              [&](const TensorRule& rule, std::int32_t layer) -> Status {
                                if (!rule.gguf_wants_all) return {};
                                QUERN_TRY(has, presence(rule, layer, config));
                                if (has.first) return {};
                                QUERN_TRY(tensor, expect(rule, layer, config));
                                tensors.push_back(std::move(tensor));
                                return {};
                              }));
  return tensors;
}

}  // namespace quern::models
