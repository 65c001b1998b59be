#include "convert/self_test_texts.h"

namespace quern::convert {
namespace {

constexpr std::string_view kTexts[] = {
    "",
    " ",
    "   three spaces before, two behind  ",
    "\n",
    "line one\nline two\r\nline three\n\n\nend",
    "\ttabs\t\tand\vother\fspace",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "it's we're I'll you'd THEY'VE",
    "camelCaseWords and snake_case_words",
    "0 1 12 123 1234 12345 1234567890",
    "3.14159, -2e10, 0x1F, 1,000,000",
    "Prices: $5, €6, £7, ¥8.",
    "a@b.example https://example.org/path?q=1#top",
    "for (int i = 0; i < n; ++i) { x[i] += y[i]; }",
    "def f(x):\n    return x ** 2  # square\n",
    "<div class=\"a\">&amp;</div>",
    "{\"key\": [1, 2.5, null, true]}",
    "!!! ??? ... --- === ###",
    "(((([[[[{{{{<<<<",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Grüße aus Köln, Straße, ÄÖÜ",
    "Le cœur déçu mais l'âme plutôt naïve",
    "El pingüino Wenceslao hizo kilómetros",
    "Zażółć gęślą jaźń",
    "Съешь же ещё этих мягких французских булок",
    "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "דג סקרן שט בים",
    "نص حكيم له سر قاطع",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "天地玄黃，宇宙洪荒。",
    "いろはにほへと ちりぬるを カタカナ",
    "다람쥐 헌 쳇바퀴에 타고파",
    "e\xCC\x81 and \xC3\xA9 are alike",
    "\xEF\xAC\x81ne \xC2\xBD \xE2\x85\xA7 \xEF\xBC\xA1",
    "\xF0\x9F\x98\x80 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB "
    "\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA",
    "zero\xE2\x80\x8Bwidth\xC2\xA0no-break\xE3\x80\x80wide",
    "<s> </s> <unk> <pad> <|im_start|>user<|im_end|> [CLS] [MASK]",
    "\xE2\x96\x81lower one eighth block\xE2\x96\x81",
};

}  // namespace

std::span<const std::string_view> self_test_texts() noexcept { return kTexts; }

}  // namespace quern::convert
