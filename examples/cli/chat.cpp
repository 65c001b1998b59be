// quern chat: a conversation at the terminal.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat_log.h"
#include "command.h"
#include "line_reader.h"
#include "model_flags.h"
#include "model_path.h"
#include "quern/conversation.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct ChatOptions {
  ModelFlags model;
  GenerationFlags generation;
  std::string system, session_file;
};

constexpr const char* kHelp =
    "/help          this list\n"
    "/reset         forgets the conversation (the system message stays)\n"
    "/system TEXT   sets the system message; without TEXT shows it\n"
    "/save FILE     writes the conversation\n"
    "/load FILE     replaces the conversation\n"
    "/exit          ends the chat (so does Ctrl-D)\n"
    "A line that ends in \\ goes on; a line of \"\"\" opens a block and closes it.\n"
    "Ctrl-C stops a reply and keeps the chat; at the prompt it ends the program.\n";

/// One chat: history, session, file. Thread rule: one thread.
class Chat {
 public:
  Chat(const ChatOptions& options, Session session)
      : options_(options), session_(std::move(session)) {}

  Status open_log();
  void set_system(const std::string& text);
  /// Answers one message. \return an error only where the chat cannot go on.
  Status answer(const std::string& text);
  /// Carries out a line that begins with a slash. \return whether the chat goes on.
  bool command(const std::string& line);

 private:
  bool has_system() const { return !messages_.empty() && messages_.front().role == "system"; }
  Result<std::vector<TokenId>> prompt_ids();
  void replace(std::vector<Message> messages);
  void save(const std::string& path);
  void load(const std::string& path);

  const ChatOptions& options_;
  Session session_;
  std::vector<Message> messages_;
  std::size_t left_out_ = 0;  ///< Oldest messages that no longer fit into the context.
  std::optional<ChatLog> log_;
};

Status Chat::open_log() {
  if (options_.session_file.empty()) return {};
  std::string note;
  QUERN_TRY(log, ChatLog::open(options_.session_file, messages_, note));
  log_.emplace(std::move(log));
  if (!note.empty()) tell(note);
  if (note.empty() && !messages_.empty())
    tell("going on with " + std::to_string(messages_.size()) + " messages of " +
         options_.session_file);
  return {};
}

void Chat::replace(std::vector<Message> messages) {
  messages_ = std::move(messages);
  left_out_ = 0;
  if (!log_) return;
  const Status written = log_->replace(messages_);
  if (!written.ok()) tell(written.error().describe());
}

void Chat::set_system(const std::string& text) {
  std::vector<Message> messages = messages_;
  if (has_system())
    messages.front().content = text;
  else
    messages.insert(messages.begin(), {"system", text});
  replace(std::move(messages));
}

/// Renders what fits: where the context is too short, the oldest turns are left out.
Result<std::vector<TokenId>> Chat::prompt_ids() {
  const std::size_t fixed = has_system() ? 1 : 0;
  for (;; left_out_ += 2) {
    Conversation conversation;
    for (std::size_t i = 0; i < messages_.size(); ++i)
      if (i < fixed || i >= fixed + left_out_)
        conversation.add(messages_[i].role, messages_[i].content);
    std::vector<TokenId> ids;
    if (session_.model().chat_template().empty()) {
      QUERN_TRY(plain, session_.model().encode(conversation.messages().back().content));
      ids = std::move(plain);
    } else {
      QUERN_TRY(prompt, session_.model().render(conversation.json()));
      QUERN_TRY(encoded, session_.model().encode(prompt));
      ids = std::move(encoded);
    }
    // A reply needs room too: an eighth of the context.
    const std::int64_t room = session_.context() - session_.context() / 8;
    const bool last_turn = fixed + left_out_ + 2 >= messages_.size();
    if (static_cast<std::int64_t>(ids.size()) <= room || last_turn) return ids;
    if (left_out_ == 0) tell("the context is full: the oldest turns are left out from here on");
  }
}

Status Chat::answer(const std::string& text) {
  const InterruptScope scope;  // From here on Ctrl-C ends the reply alone.
  messages_.push_back({"user", text});
  auto ids = prompt_ids();
  Result<Generated> reply = Error(ErrorCode::kInternal, "no reply");
  if (ids.ok()) {
    GenerateOptions generate = options_.generation.options(session_.model());
    generate.cancel = &InterruptScope::flag();
    generate.on_text = [](std::string_view piece) { return put(piece); };
    reply = session_.generate(*ids, generate);
  } else {
    reply = std::move(ids).error();
  }
  if (!reply.ok()) {
    messages_.pop_back();  // The chat goes on without this turn.
    fail(reply.error());
    return {};
  }
  if (!put("\n")) return {};  // Nobody reads: `talk` ends the chat.
  if (interrupted()) tell("stopped");
  if (reply->reason == FinishReason::kContextFull)
    tell("the context is full: the reply was cut off");
  messages_.push_back({"assistant", reply->text});
  return log_ ? log_->append({messages_[messages_.size() - 2], messages_.back()}) : Status();
}

void Chat::save(const std::string& path) {
  if (path.empty()) return tell("/save needs the name of a file");
  const Status saved = save_chat(path, messages_);
  tell(saved.ok() ? "saved " + std::to_string(messages_.size()) + " messages to " + path
                  : saved.error().describe());
}

void Chat::load(const std::string& path) {
  if (path.empty()) return tell("/load needs the name of a file");
  auto chat = load_chat(path);
  if (!chat.ok()) return tell(chat.error().describe());
  if (!chat->whole) return tell(path + " is no saved chat, or damaged; nothing was loaded");
  replace(std::move(chat->messages));
  tell("loaded " + std::to_string(messages_.size()) + " messages from " + path);
}

bool Chat::command(const std::string& line) {
  const std::size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
  if (name == "/exit" || name == "/quit") return false;
  if (name == "/help") {
    std::fputs(kHelp, stderr);
  } else if (name == "/reset") {
    replace(has_system() ? std::vector<Message>{messages_.front()} : std::vector<Message>{});
    tell("the conversation is empty");
  } else if (name == "/system" && !rest.empty() && session_.model().chat_template().empty()) {
    tell("without a chat template there is no system message");
  } else if (name == "/system") {
    if (!rest.empty()) set_system(rest);
    tell(has_system() ? "system message: " + messages_.front().content
                      : "there is no system message");
  } else if (name == "/save") {
    save(rest);
  } else if (name == "/load") {
    load(rest);
  } else {
    tell("there is no command " + name + "; /help lists them");
  }
  return true;
}

int talk(Chat& chat) {
  LineReader reader;
  if (stdin_is_terminal()) std::fputs("/help lists the commands.\n", stderr);
  while (put("")) {
    const auto message = reader.message();
    if (!message) break;
    if (message->empty()) continue;
    if (message->front() == '/') {
      if (!chat.command(*message)) break;
      continue;
    }
    const Status answered = chat.answer(*message);
    if (!answered.ok()) return fail(answered.error());
  }
  if (stdin_is_terminal()) std::fputs("\n", stderr);
  return finish_stdout();
}

int chat(const ChatOptions& options) {
  if (stdin_twice({options.model.path, "-"}))
    return usage("a chat reads its messages from stdin, so MODEL cannot be stdin too");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  if (!model->has_tokenizer())
    return fail(Error(ErrorCode::kMissing, "the model has no tokenizer").in_file(model->path()));
  if (model->is_encoder_decoder())
    return fail(
        Error(ErrorCode::kUnsupported, "an encoder–decoder answers one text and keeps no chat")
            .in_file(model->path())
            .want("quern run"));
  SessionOptions session_options;
  session_options.context = options.generation.context;
  session_options.kv = options.model.kv_type();
  auto session = Session::create(*model, session_options);
  if (!session.ok()) return fail(session.error());
  if (model->chat_template().empty()) {
    if (!options.system.empty())
      return fail(Error(ErrorCode::kMissing, "without a chat template there is no system message")
                      .in_file(model->path())
                      .of("--system"));
    tell("the model has no chat template: every message is completed on its own");
  }
  Chat talker(options, std::move(*session));
  const Status opened = talker.open_log();
  if (!opened.ok()) return fail(opened.error());
  if (!options.system.empty()) talker.set_system(options.system);
  return talk(talker);
}

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "An interactive chat");
  options->model.add_to(*command);
  command->add_option("--system", options->system, "System message");
  command->add_option("--session", options->session_file,
                      "Keeps the chat in this file, turn by turn, and goes on with it");
  options->generation.add_to(*command);
  command->footer(
      std::string("Commands in the chat:\n") + kHelp +
      "Example:\n  quern chat smollm2.quern --system \"Be brief.\" --session chat.jsonl");
  on_chosen(command, options, action, chat);
}

}  // namespace quern::cli
