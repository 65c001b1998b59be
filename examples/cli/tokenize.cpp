// quern tokenize: text to ids, and with --decode ids to text.
#include <memory>
#include <string>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct TokenizeOptions {
  ModelFlags model;
  std::string jsonl;
  bool decode = false, json = false, show_special = false;
};

Error wrong_line(const char* message, const char* field, const char* wanted) {
  return Error(ErrorCode::kMalformed, message).of(field).want(wanted);
}

/// A boolean member, or its default where it is absent or null.
Result<bool> flag_of(const Json& line, const char* name, bool fallback) {
  const auto member = line.find(name);
  if (member == line.end() || member->is_null()) return fallback;
  if (!member->is_boolean()) return wrong_line("a member has another type", name, "true or false");
  return member->get<bool>();
}

Result<std::vector<TokenId>> ids_of(const Json& line) {
  const auto member = line.find("ids");
  if (member == line.end() || !member->is_array())
    return wrong_line("a line lacks its ids", "ids", "a list of whole numbers");
  std::vector<TokenId> ids;
  for (const Json& id : *member) {
    if (!id.is_number_integer() || id < 0 || id > 0x7FFFFFFF)
      return wrong_line("an id is no token", "ids", "whole numbers from 0");
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

Result<Json> encode_line(const Model& model, const Json& line) {
  const auto text = line.find("text");
  if (text == line.end() || !text->is_string())
    return wrong_line("a line lacks its text", "text", "a string");
  EncodeOptions options;
  QUERN_TRY(add_special, flag_of(line, "add_special", true));
  QUERN_TRY(parse_special, flag_of(line, "parse_special", true));
  options.add_special = add_special;
  options.parse_special = parse_special;
  QUERN_TRY(ids, model.encode(text->get_ref<const std::string&>(), options));
  return Json{{"ids", ids}};
}

Result<Json> decode_line(const Model& model, const Json& line, bool show_special) {
  QUERN_TRY(ids, ids_of(line));
  QUERN_TRY(skip_special, flag_of(line, "skip_special", !show_special));
  QUERN_TRY(text, model.decode(ids, skip_special));
  return Json{{"text", text}};
}

int tokenize_lines(const Model& model, const TokenizeOptions& options) {
  const auto input = read_input(options.jsonl);
  if (!input.ok()) return fail(input.error());
  std::uint64_t number = 0;
  std::string out;
  for (const std::string_view text : split_lines(*input)) {
    const std::string where = input_name(options.jsonl) + ", line " + std::to_string(++number);
    auto line = parse_json(text, where);
    if (line.ok() && !line->is_object())
      line = Error(ErrorCode::kMalformed, "a line is a JSON object").in_file(where);
    if (!line.ok()) return put(out), fail(line.error());
    auto answer = options.decode ? decode_line(model, *line, options.show_special)
                                 : encode_line(model, *line);
    if (!answer.ok()) {
      put(out);
      if (answer.error().file.empty()) answer.error().file = where;
      return fail(answer.error());
    }
    out += to_text(*answer) + "\n";
    if (out.size() > 65536 && !put(std::exchange(out, {}))) break;
  }
  put(out);
  return finish_stdout();
}

int encode_stdin(const Model& model, const std::string& text, const TokenizeOptions& options) {
  const auto ids = model.encode(text);
  if (!ids.ok()) return fail(ids.error());
  std::string out;
  if (options.json) {
    out = to_text(Json{{"ids", *ids}});
  } else {
    for (const TokenId id : *ids) out += (out.empty() ? "" : " ") + std::to_string(id);
  }
  put(out + "\n");
  return finish_stdout();
}

/// Ids as a plain list, or as the JSON that --json of the other direction writes.
Result<std::vector<TokenId>> ids_from(const std::string& text) {
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string::npos || text[start] != '{') return parse_ids(text);
  QUERN_TRY(document, parse_json(text, "stdin"));
  return ids_of(document);
}

int decode_stdin(const Model& model, const std::string& text, const TokenizeOptions& options) {
  const auto ids = ids_from(text);
  if (!ids.ok()) return fail(ids.error());
  const auto decoded = model.decode(*ids, !options.show_special);
  if (!decoded.ok()) return fail(decoded.error());
  put(options.json ? to_text(Json{{"text", *decoded}}) + "\n" : *decoded);
  return finish_stdout();
}

int tokenize(const TokenizeOptions& options) {
  if (stdin_twice({options.model.path, options.jsonl.empty() ? "-" : options.jsonl}))
    return usage("MODEL and the text cannot both be stdin; give the text with --jsonl FILE");
  const auto model = options.model.open(true);
  if (!model.ok()) return fail(model.error());
  if (!options.jsonl.empty()) return tokenize_lines(*model, options);
  const auto input = read_input("-");
  if (!input.ok()) return fail(input.error());
  return options.decode ? decode_stdin(*model, *input, options)
                        : encode_stdin(*model, *input, options);
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Text on stdin to token ids, or back");
  options->model.add_path_to(*command);
  command->add_option(
      "--jsonl", options->jsonl,
      "JSON Lines instead of stdin: text, add_special, parse_special in, ids out; with "
      "--decode ids, skip_special in, text out; - is stdin");
  command->add_flag("--decode", options->decode, "The other way: ids in, text out");
  command->add_flag("--show-special", options->show_special, "--decode keeps special tokens");
  command->add_flag("--json", options->json, "{\"ids\": [...]}, or {\"text\": ...} with --decode");
  command->footer(
      "A vocabulary-only GGUF or a tokenizer.json will do as MODEL.\n"
      "Example:\n  printf 'Hello' | quern tokenize smollm2.quern --json");
  on_chosen(command, options, action, tokenize);
}

}  // namespace quern::cli
