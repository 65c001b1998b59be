// A complete chat: history, streaming, errors. Usage: minimal-cpp MODEL.quern
#include <iostream>
#include <string>

#include "quern/quern.hpp"

namespace {

int fail(const quern::Error& error) {
  std::cerr << error.describe() << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto model = quern::Model::open(argc > 1 ? argv[1] : "model.quern");
  if (!model.ok()) return fail(model.error());
  auto session = quern::Session::create(*model);
  if (!session.ok()) return fail(session.error());

  quern::GenerateOptions options;
  options.sampling = model->default_sampling();
  options.max_tokens = 200;
  options.on_text = [](std::string_view text) { return bool(std::cout << text << std::flush); };
  quern::Conversation chat;
  for (std::string line; std::cout << "> " << std::flush && std::getline(std::cin, line);) {
    chat.add("user", line);
    const auto prompt = model->render(chat.json());
    if (!prompt.ok()) return fail(prompt.error());
    const auto ids = model->encode(*prompt);
    if (!ids.ok()) return fail(ids.error());
    const auto reply = session->generate(*ids, options);
    if (!reply.ok()) return fail(reply.error());
    std::cout << '\n';
    chat.add("assistant", reply->text);
  }
}
