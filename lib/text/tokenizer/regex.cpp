#include "text/tokenizer/regex.h"

#include <algorithm>
#include <mutex>
#include <string>

#include "text/tokenizer/regex_translate.h"
#include "text/tokenizer/stand_ins.h"
#include "text/tokenizer/utf8.h"

#ifdef QUERN_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

namespace quern::text {

#ifdef QUERN_HAVE_PCRE2
namespace {

struct CodeFree {
  void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
};
struct DataFree {
  void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
};
struct ContextFree {
  void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
};
struct StackFree {
  void operator()(pcre2_jit_stack* p) const noexcept { pcre2_jit_stack_free(p); }
};
struct CompileFree {
  void operator()(pcre2_compile_context* p) const noexcept { pcre2_compile_context_free(p); }
};

constexpr std::size_t kJitStackStart = 32u << 10, kJitStackMost = 1u << 20;
constexpr std::uint32_t kHeapKib = 512u << 10;  // Of the matcher without JIT.

std::string pcre2_text(int code) {
  PCRE2_UCHAR buffer[160];
  const int n = pcre2_get_error_message(code, buffer, sizeof buffer);
  return n < 0 ? "unknown" : std::string(reinterpret_cast<const char*>(buffer));
}

}  // namespace

struct Regex::Impl {
  std::unique_ptr<pcre2_code, CodeFree> code;
  NativeMatcher native = nullptr;
  mutable std::once_flag jit_once;  // The JIT costs more than opening a model may.

  /// Compiles for the JIT at the first use; where there is none, the interpreter serves.
  void ensure_jit() const {
    std::call_once(jit_once, [this] { (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE); });
  }
};

namespace {

/// One thread's matching of one text.
class Matching {
 public:
  Matching(const pcre2_code* code, std::string_view text) : code_(code), text_(text) {
    data_.reset(pcre2_match_data_create(1, nullptr));
    context_.reset(pcre2_match_context_create(nullptr));
    stack_.reset(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr));
    if (data_ == nullptr || context_ == nullptr) throw std::bad_alloc();
    if (stack_ != nullptr) pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
    const std::size_t work = 10'000'000 + 64 * text.size();
    pcre2_set_match_limit(context_.get(),
                          static_cast<std::uint32_t>(std::min<std::size_t>(work, 0xffffffffu)));
    pcre2_set_heap_limit(context_.get(), kHeapKib);
    pcre2_set_depth_limit(context_.get(), 0xffffffffu);
  }

  /// \return 1 with a match from `at` on, 0 without, else PCRE2's error. The text was checked
  /// before, so that no call walks it whole.
  int find(std::size_t at, ByteRange& match, std::string_view& mark) {
    int rc = once(at, PCRE2_NO_UTF_CHECK);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = once(at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) return rc;
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data_.get());
    match = {ends[0], ends[1]};
    const PCRE2_SPTR name = pcre2_get_mark(data_.get());
    mark = name == nullptr ? std::string_view() : reinterpret_cast<const char*>(name);
    return 1;
  }

 private:
  int once(std::size_t at, std::uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), at, options,
                       data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  std::unique_ptr<pcre2_match_data, DataFree> data_;
  std::unique_ptr<pcre2_match_context, ContextFree> context_;
  std::unique_ptr<pcre2_jit_stack, StackFree> stack_;
};

template <class Take>
Status each_match(const Regex::Impl& impl, std::string_view text, Take take) {
  impl.ensure_jit();
  Matching matching(impl.code.get(), text);
  std::size_t at = 0;
  std::size_t last_end = static_cast<std::size_t>(-1);
  while (at <= text.size()) {
    ByteRange match;
    std::string_view mark;
    const int rc = matching.find(at, match, mark);
    if (rc == 0) break;
    if (rc < 0) {
      return Error(ErrorCode::kLimit, "a pre-tokenizer pattern needs too much work for this text")
          .of("pattern")
          .got(pcre2_text(rc));
    }
    if (match.begin == match.end && match.end == last_end) {
      at += std::max<std::size_t>(1, decode_char(text, at).bytes);
      continue;
    }
    // \K could move the start back; what was passed is never matched again.
    if (match.end < at || match.begin > match.end) break;
    at = last_end = match.end;
    take(match, mark);
  }
  return {};
}

}  // namespace

Result<Regex> Regex::compile_pcre2(std::string_view pattern) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  std::unique_ptr<pcre2_compile_context, CompileFree> context(
      pcre2_compile_context_create(nullptr));
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  auto impl = std::make_unique<Impl>();
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &code, &offset, context.get()));
  if (impl->code == nullptr) {
    return Error(ErrorCode::kMalformed, "a pre-tokenizer pattern does not compile")
        .at(offset)
        .of("pattern")
        .want(pcre2_text(code))
        .got(std::string(pattern.substr(0, 120)));
  }
  return Regex(std::move(impl));
}

Result<Regex> Regex::compile(std::string_view oniguruma) {
  QUERN_TRY(pattern, translate_regex(oniguruma));
  QUERN_TRY(regex, compile_pcre2(pattern));
  regex.impl_->native = native_matcher(oniguruma);
  return regex;
}

Status Regex::find_all(std::string_view text, std::vector<ByteRange>& out) const {
  if (impl_->native != nullptr) {
    impl_->native(text, out);
    return {};
  }
  std::string buffer;
  return each_match(*impl_, with_stand_ins(text, buffer),
                    [&out](ByteRange range, std::string_view) { out.push_back(range); });
}

Status Regex::find_marked(std::string_view text, std::vector<Marked>& out) const {
  return each_match(*impl_, text, [&out](ByteRange range, std::string_view mark) {
    out.push_back({range, mark});
  });
}

#else

struct Regex::Impl {};

Result<Regex> Regex::compile_pcre2(std::string_view pattern) {
  return Error(ErrorCode::kUnsupported, "this tokenizer needs regular expressions")
      .of("pattern")
      .want("quern built with QUERN_WITH_PCRE2")
      .got(std::string(pattern.substr(0, 120)));
}
Result<Regex> Regex::compile(std::string_view oniguruma) { return compile_pcre2(oniguruma); }
Status Regex::find_all(std::string_view, std::vector<ByteRange>&) const { return {}; }
Status Regex::find_marked(std::string_view, std::vector<Marked>&) const { return {}; }

#endif

Regex::Regex(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

}  // namespace quern::text
