/// \file
/// Recursive descent over the tokens of a template, depth-limited. Grammar: Jinja 3.1 with
/// loopcontrols, `do` and `generation`; inheritance, inclusion and imports are kUnsupported.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace quern::text::jinja {

/// \return the statements of a template. Errors carry line and column in `field`: kMalformed for
/// bad syntax, kUnsupported for what this interpreter lacks, kLimit for nesting beyond `max_depth`.
Result<Body> parse_template(std::string_view source, int max_depth);

class Parser {
 public:
  Parser(std::vector<Token> tokens, int max_depth)
      : tokens_(std::move(tokens)), max_depth_(max_depth) {}
  Result<Body> parse();

 private:
  /// Counts one level of nesting while it lives.
  struct Nesting {
    explicit Nesting(Parser& p) : parser(p) { ++parser.depth_; }
    ~Nesting() { --parser.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Parser& parser;
  };
  struct EndWords {
    std::string_view words[3];
  };
  using Rule = Result<ExprPtr> (Parser::*)();

  // Statements (parser_statements.cpp).
  Result<Body> parse_body(const EndWords& end);
  Result<Body> parse_block(const EndWords& end, bool drop_end);
  Status parse_statement(Body& body);
  Status parse_for(Stmt& stmt);
  Status parse_if(Stmt& stmt);
  Status parse_set(Stmt& stmt);
  Status parse_with(Stmt& stmt);
  Status parse_macro(Stmt& stmt);
  Status parse_call_block(Stmt& stmt);
  Status parse_filter_block(Stmt& stmt);
  Status parse_print(const Stmt& stmt, Body& body);
  Status parse_scope(Stmt& stmt, std::string_view end);
  Status parse_signature(MacroSyntax& macro);
  Status parse_macro_body(MacroSyntax& macro, std::string_view end);
  Result<Target> parse_target(bool with_namespace);
  Result<Target> parse_target_part(bool with_namespace);

  // Expressions (parser_expressions.cpp).
  Result<ExprPtr> parse_expression(bool with_condition = true);
  Result<ExprPtr> parse_tuple(bool with_condition, bool in_parentheses);
  Result<ExprPtr> parse_condition();
  Result<ExprPtr> parse_or();
  Result<ExprPtr> parse_and();
  Result<ExprPtr> parse_not();
  Result<ExprPtr> parse_compare();
  Result<ExprPtr> parse_sum();
  Result<ExprPtr> parse_concat();
  Result<ExprPtr> parse_product();
  Result<ExprPtr> parse_power();
  Result<ExprPtr> parse_unary_with_filters();
  Result<ExprPtr> parse_unary(bool with_filters);
  Result<ExprPtr> parse_primary();
  Result<ExprPtr> parse_name();
  Result<ExprPtr> parse_list();
  Result<ExprPtr> parse_dict();
  Result<ExprPtr> parse_logic(ExprKind kind, std::string_view word, Rule operand);
  Result<ExprPtr> parse_chain(Rule operand, std::string_view operators);
  Result<ExprPtr> parse_postfix(ExprPtr operand, bool subscripts, bool filters);
  Result<ExprPtr> parse_subscript(ExprPtr operand);
  Result<ExprPtr> parse_subscripted();
  Result<ExprPtr> parse_call(ExprPtr operand);
  Result<ExprPtr> parse_filter(ExprPtr operand);
  Result<ExprPtr> parse_test(ExprPtr operand);
  Result<std::string> parse_dotted_name();
  Status parse_arguments(CallSyntax& call);
  Status parse_argument(CallSyntax& call);

  // Tokens and trees.
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  void next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool skip_operator(std::string_view op);
  bool skip_name(std::string_view name);
  Status expect_operator(std::string_view op);
  Status expect(TokenKind kind, std::string_view what);
  Result<std::string> expect_name();
  Status enter() const;
  Error fail(std::string message) const;
  Error unexpected() const;
  ExprPtr make(ExprKind kind, Position at) const;
  /// Computes the height of a finished node; kLimit beyond the maximum.
  Result<ExprPtr> finish(ExprPtr expr) const;
  Result<ExprPtr> unary(ExprKind kind, Position at, ExprPtr operand) const;
  void resolve(Expr& expr, const Builtin* found, std::string_view what);

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int max_depth_;
  int depth_ = 0;
  int loops_ = 0;        ///< Loops around, within the innermost macro.
  int conditional_ = 0;  ///< Conditions around: unknown filters are errors only when reached.
  /// The first unknown filter or test outside of conditions; reported at the end, because a
  /// condition may still follow it: `x|unknown if …`.
  std::optional<Error> unknown_;
  std::vector<MacroSyntax*> macros_;
};

}  // namespace quern::text::jinja
