#include "text/jinja/strftime.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <string_view>

namespace quern::text::jinja {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

std::string padded(int number, std::size_t width, char fill = '0') {
  std::string text = std::to_string(number);
  if (text.size() < width) text.insert(0, width - text.size(), fill);
  return text;
}

bool is_leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int days_of(int year, int month) {
  static constexpr int kLength[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 1 && is_leap(year) ? 29 : kLength[month];
}

/// Fills in the days of week and year.
void complete(std::tm& time) {
  const int year = time.tm_year + 1900;
  time.tm_yday = time.tm_mday - 1;
  for (int month = 0; month < time.tm_mon; ++month) time.tm_yday += days_of(year, month);
  const int past = year - 1;
  time.tm_wday = (1 + past * 365 + past / 4 - past / 100 + past / 400 + time.tm_yday) % 7;
}

/// ISO 8601 week; \return its year in `year`.
int iso_week(const std::tm& time, int& year) {
  year = time.tm_year + 1900;
  const int weekday = (time.tm_wday + 6) % 7;  // Monday is 0.
  const auto weeks_in = [](int y) {
    const auto dec31 = [](int x) { return (x + x / 4 - x / 100 + x / 400) % 7; };
    return dec31(y) == 4 || dec31(y - 1) == 3 ? 53 : 52;
  };
  const int week = (time.tm_yday - weekday + 10) / 7;
  if (week < 1) return weeks_in(--year);
  if (week > weeks_in(year)) {
    ++year;
    return 1;
  }
  return week;
}

std::string date(const std::tm& t, char directive);

std::string time_of_day(const std::tm& t, char directive) {
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  switch (directive) {
    case 'H':
      return padded(t.tm_hour, 2);
    case 'k':
      return padded(t.tm_hour, 2, ' ');
    case 'I':
      return padded(hour12, 2);
    case 'l':
      return padded(hour12, 2, ' ');
    case 'M':
      return padded(t.tm_min, 2);
    case 'S':
      return padded(t.tm_sec, 2);
    case 'p':
      return t.tm_hour < 12 ? "AM" : "PM";
    case 'P':
      return t.tm_hour < 12 ? "am" : "pm";
    case 'R':
      return padded(t.tm_hour, 2) + ":" + padded(t.tm_min, 2);
    case 'T':
    case 'X':
      return time_of_day(t, 'R') + ":" + padded(t.tm_sec, 2);
    case 'r':
      return padded(hour12, 2) + ":" + padded(t.tm_min, 2) + ":" + padded(t.tm_sec, 2) + " " +
             time_of_day(t, 'p');
    default:
      return "";
  }
}

std::string week_of(const std::tm& t, char directive) {
  int year = 0;
  const int week = iso_week(t, year);
  switch (directive) {
    case 'U':
      return padded((t.tm_yday + 7 - t.tm_wday) / 7, 2);
    case 'W':
      return padded((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7, 2);
    case 'V':
      return padded(week, 2);
    case 'G':
      return std::to_string(year);
    case 'g':
      return padded(year % 100, 2);
    default:
      return "";
  }
}

std::string date(const std::tm& t, char directive) {
  const int year = t.tm_year + 1900;
  const auto day = kDays[static_cast<std::size_t>(t.tm_wday)];
  const auto month = kMonths[static_cast<std::size_t>(t.tm_mon)];
  switch (directive) {
    case 'a':
      return std::string(day.substr(0, 3));
    case 'A':
      return std::string(day);
    case 'b':
    case 'h':
      return std::string(month.substr(0, 3));
    case 'B':
      return std::string(month);
    case 'd':
      return padded(t.tm_mday, 2);
    case 'e':
      return padded(t.tm_mday, 2, ' ');
    case 'm':
      return padded(t.tm_mon + 1, 2);
    case 'j':
      return padded(t.tm_yday + 1, 3);
    case 'y':
      return padded(year % 100, 2);
    case 'Y':
      return std::to_string(year);
    case 'C':
      return padded(year / 100, 2);
    case 'u':
      return std::to_string(t.tm_wday == 0 ? 7 : t.tm_wday);
    case 'w':
      return std::to_string(t.tm_wday);
    case 'D':
    case 'x':
      return padded(t.tm_mon + 1, 2) + "/" + padded(t.tm_mday, 2) + "/" + padded(year % 100, 2);
    case 'F':
      return std::to_string(year) + "-" + padded(t.tm_mon + 1, 2) + "-" + padded(t.tm_mday, 2);
    case 'c':
      return date(t, 'a') + " " + date(t, 'b') + " " + date(t, 'e') + " " + time_of_day(t, 'T') +
             " " + std::to_string(year);
    default:
      return "";
  }
}

/// \return what a directive yields; nothing for an unknown one.
std::optional<std::string> directive_text(const Clock& clock, char directive, bool unpadded) {
  std::string text;
  switch (directive) {
    case '%':
      return "%";
    case 'n':
      return "\n";
    case 't':
      return "\t";
    case 'f':
      return padded(clock.microseconds, 6);
    case 'z':
    case 'Z':
      return "";  // A moment without time zone has neither, as in Python.
    default:
      break;
  }
  text = date(clock.time, directive);
  if (text.empty()) text = time_of_day(clock.time, directive);
  if (text.empty()) text = week_of(clock.time, directive);
  if (text.empty()) return std::nullopt;
  if (unpadded) {
    const std::size_t begin = text.find_first_not_of("0 ");
    text.erase(0, begin == std::string::npos ? text.size() - 1 : begin);
  }
  return text;
}

/// Reads exactly `width` digits at `at`, advancing it. \return -1 if they are not there.
int read_digits(std::string_view text, std::size_t& at, std::size_t width) {
  int number = 0;
  if (at + width > text.size()) return -1;
  for (const std::size_t end = at + width; at < end; ++at) {
    if (text[at] < '0' || text[at] > '9') return -1;
    number = number * 10 + (text[at] - '0');
  }
  return number;
}

std::optional<Clock> parse_clock(std::string_view text) {
  Clock clock;
  std::size_t at = 0;
  const auto mark = [&](std::string_view marks) {
    return at < text.size() && marks.find(text[at]) != std::string_view::npos ? (++at, true)
                                                                              : false;
  };
  const int year = read_digits(text, at, 4);
  const int month = mark("-") ? read_digits(text, at, 2) : -1;
  const int day = mark("-") ? read_digits(text, at, 2) : -1;
  const bool is_date = at == text.size();  // Then its first moment is meant.
  const int hour = mark("T ") ? read_digits(text, at, 2) : is_date ? 0 : -1;
  const int minute = mark(":") ? read_digits(text, at, 2) : is_date ? 0 : -1;
  const int second = mark(":") ? read_digits(text, at, 2) : 0;
  if (mark(".")) {
    const std::size_t begin = at;
    int fraction = 0;
    for (int unit = 100000; unit > 0 && at < text.size() && text[at] >= '0' && text[at] <= '9';
         unit /= 10) {
      fraction += (text[at++] - '0') * unit;
    }
    if (at == begin) return std::nullopt;
    clock.microseconds = fraction;
  }
  // Templates show the time as it is written: the zone changes nothing, but must be one.
  if (!is_date && !mark("Z") && mark("+-")) {
    const int zone_hour = read_digits(text, at, 2);
    const int zone_minute = mark(":") || at < text.size() ? read_digits(text, at, 2) : 0;
    if (zone_hour < 0 || zone_hour > 23 || zone_minute < 0 || zone_minute > 59) return std::nullopt;
  }
  if (at != text.size() || year < 1 || month < 1 || month > 12 || day < 1 ||
      day > days_of(year, month - 1) || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 59) {
    return std::nullopt;
  }
  clock.time.tm_year = year - 1900;
  clock.time.tm_mon = month - 1;
  clock.time.tm_mday = day;
  clock.time.tm_hour = hour;
  clock.time.tm_min = minute;
  clock.time.tm_sec = second;
  complete(clock.time);
  return clock;
}

}  // namespace

Result<Clock> clock_of(const std::optional<std::string>& iso8601) {
  if (iso8601.has_value()) {
    const auto parsed = parse_clock(*iso8601);
    if (parsed.has_value()) return *parsed;
    return Error(ErrorCode::kInvalidArgument, "the clock is no moment")
        .of("now_iso8601")
        .want("YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS");
  }
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  Clock clock;
#ifdef _WIN32
  localtime_s(&clock.time, &seconds);
#else
  localtime_r(&seconds, &clock.time);
#endif
  const auto since =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  clock.microseconds = static_cast<int>(((since % 1000000) + 1000000) % 1000000);
  return clock;
}

Status append_time(TextBuilder& out, const Text& format, const Clock& clock) {
  const std::string& bytes = format.bytes();
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t percent = std::min(bytes.find('%', at), bytes.size());
    out.append(format, at, percent);
    if (percent == bytes.size()) break;
    const bool unpadded = percent + 1 < bytes.size() && bytes[percent + 1] == '-';
    const std::size_t letter = percent + (unpadded ? 2 : 1);
    const auto text =
        letter < bytes.size() ? directive_text(clock, bytes[letter], unpadded) : std::nullopt;
    if (!text.has_value())
      return Error(ErrorCode::kUnsupported, "an unknown directive of strftime_now");
    out.append(*text, format.trusted_at(percent));
    at = letter + 1;
  }
  return {};
}

}  // namespace quern::text::jinja
