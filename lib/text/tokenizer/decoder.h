/// \file
/// The decoders as a chain that takes one token at a time, so that streaming and decoding at once
/// are the same code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/step.h"

namespace quern::text {

/// One sequence of tokens on its way to text. Views the steps. Thread rule: one thread.
class DecodeChain {
 public:
  explicit DecodeChain(const std::vector<Step>& steps);

  /// Takes the text of the next token and appends the bytes that are certain now.
  void push(std::string_view token, std::string& out) { give(0, token, out); }
  /// Appends what is left. The chain is then at its beginning again.
  void finish(std::string& out);

  /// One decoder and what it remembers.
  struct Stage {
    const Step* step = nullptr;
    bool fused_input = false;  ///< Its input is one token that comes in parts.
    bool is_last = false;
    bool started = false;  ///< A token has come.
    bool given = false;    ///< Part of the one token has come.
    std::uint32_t stripped = 0;
    std::string held;
  };

 private:
  friend struct DecodeStages;
  /// Hands a token to stage `i`, or to the output behind the last one.
  void give(std::size_t i, std::string_view token, std::string& out);

  std::vector<Stage> stages_;
  bool any_ = false;
};

/// Lets only whole characters through. Thread rule: one thread.
class Utf8Gate {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);

 private:
  std::string held_;
};

}  // namespace quern::text
