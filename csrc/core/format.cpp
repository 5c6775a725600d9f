#include "core/format.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <system_error>

namespace ringmeter {

namespace {

void append(std::string* out, double value, std::chars_format format, int digits) {
  if (std::isnan(value)) {  // to_chars would show its sign
    *out += "nan";
    return;
  }
  char short_text[64];
  std::to_chars_result result =
      std::to_chars(short_text, short_text + sizeof short_text, value, format, digits);
  if (result.ec == std::errc()) {
    out->append(short_text, result.ptr);
    return;
  }
  // The longest: sign, 309 digits of the largest double, point, `digits`.
  std::string long_text(312 + static_cast<std::size_t>(digits), '\0');
  result = std::to_chars(long_text.data(), long_text.data() + long_text.size(), value, format, digits);
  out->append(long_text.data(), result.ptr);
}

}  // namespace

void append_fixed(std::string* out, double value, int digits) {
  append(out, value, std::chars_format::fixed, digits);
}

void append_scientific(std::string* out, double value, int digits) {
  append(out, value, std::chars_format::scientific, digits);
}

void append_duration(std::string* out, std::int64_t seconds) {
  constexpr std::int64_t kDay = 24 * 60 * 60;
  std::int64_t days = seconds / kDay;
  std::int64_t rest = seconds % kDay;
  if (rest < 0) {  // as timedelta: only the days are negative
    rest += kDay;
    --days;
  }
  if (days != 0) {
    *out += std::to_string(days);
    *out += days == 1 || days == -1 ? " day, " : " days, ";
  }
  const auto two_digits = [out](std::int64_t number) {
    *out += static_cast<char>('0' + number / 10);
    *out += static_cast<char>('0' + number % 10);
  };
  *out += std::to_string(rest / 3600);
  *out += ':';
  two_digits(rest / 60 % 60);
  *out += ':';
  two_digits(rest % 60);
}

}  // namespace ringmeter
