#include "line_reader.h"

#include <cstdio>
#include <iostream>

#include "terminal.h"

#ifdef QUERN_HAVE_LIBEDIT
#include <histedit.h>
#endif

namespace quern::cli {

#ifdef QUERN_HAVE_LIBEDIT

struct LineReader::Editor {
  EditLine* edit = nullptr;
  History* past = nullptr;
  std::string prompt;

  ~Editor() {
    if (edit != nullptr) el_end(edit);
    if (past != nullptr) history_end(past);
  }

  static char* show_prompt(EditLine* edit) {
    Editor* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }

  static std::unique_ptr<Editor> create() {
    auto editor = std::make_unique<Editor>();
    editor->edit = el_init("quern", stdin, stdout, stderr);
    editor->past = history_init();
    if (editor->edit == nullptr || editor->past == nullptr) return nullptr;
    HistEvent event;
    history(editor->past, &event, H_SETSIZE, 1000);
    el_set(editor->edit, EL_CLIENTDATA, editor.get());
    el_set(editor->edit, EL_PROMPT, &Editor::show_prompt);
    el_set(editor->edit, EL_EDITOR, "emacs");
    el_set(editor->edit, EL_HIST, history, editor->past);
    return editor;
  }

  std::optional<std::string> read(const char* with_prompt) {
    prompt = with_prompt;
    int count = 0;
    const char* text = el_gets(edit, &count);
    if (text == nullptr || count <= 0) return std::nullopt;
    std::string line(text, static_cast<std::size_t>(count));
    HistEvent event;
    if (line.size() > 1) history(past, &event, H_ENTER, line.c_str());
    return line;
  }
};

LineReader::LineReader() {
  if (stdin_is_terminal() && stdout_is_terminal()) editor_ = Editor::create();
}

#else

struct LineReader::Editor {
  std::optional<std::string> read(const char*) { return std::nullopt; }
};

LineReader::LineReader() = default;

#endif

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::line(const char* prompt) {
  if (editor_ != nullptr) {
    auto text = editor_->read(prompt);
    while (text && !text->empty() && (text->back() == '\n' || text->back() == '\r'))
      text->pop_back();
    return text;
  }
  if (stdin_is_terminal()) std::fputs(prompt, stderr);
  std::string text;
  if (!std::getline(std::cin, text)) return std::nullopt;
  if (!text.empty() && text.back() == '\r') text.pop_back();
  return text;
}

std::optional<std::string> LineReader::message() {
  auto first = line("> ");
  if (!first) return std::nullopt;
  if (*first == "\"\"\"") {
    std::string block;
    for (auto next = line("… "); next && *next != "\"\"\""; next = line("… ")) {
      if (!block.empty()) block += '\n';
      block += *next;
    }
    return block;
  }
  std::string message = *first;
  while (!message.empty() && message.back() == '\\') {
    message.back() = '\n';
    const auto next = line("… ");
    if (!next) break;
    message += *next;
  }
  return message;
}

}  // namespace quern::cli
