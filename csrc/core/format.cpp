#include "core/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
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

// What value * scale is short of the exact product: Dekker, "A floating-point technique for extending the
// available precision" (1971). Neither factor may be beyond 2^995.
double product_error(double value, double scale, double product) {
  const auto upper_half = [](double number) {
    const double shifted = number * 134217729.0;  // 2^27 + 1
    return shifted - (shifted - number);
  };
  const double value_upper = upper_half(value);
  const double value_lower = value - value_upper;
  const double scale_upper = upper_half(scale);
  const double scale_lower = scale - scale_upper;
  return ((value_upper * scale_upper - product) + value_upper * scale_lower + value_lower * scale_upper) +
         value_lower * scale_lower;
}

// The same in a fifth of the time, for few digits of a number that is not large. False for others.
bool append_common(std::string* out, double value, int digits) {
  constexpr std::uint64_t kScales[] = {1, 10, 100, 1000, 10'000, 100'000, 1'000'000};
  if (digits >= static_cast<int>(std::size(kScales))) return false;
  const std::uint64_t scale = kScales[digits];
  const double magnitude = std::fabs(value);
  const double product = magnitude * static_cast<double>(scale);
  if (!(product < 0x1p52)) return false;
  // The nearest integer to the exact product, the even one when two are. Doubles of this size are multiples
  // of a power of two that divides 1/2, so the error decides only where `product` itself is half way.
  auto number = static_cast<std::uint64_t>(product);
  const double rest = product - static_cast<double>(number);
  if (rest > 0.5) ++number;
  if (rest == 0.5) {
    const double error = product_error(magnitude, static_cast<double>(scale), product);
    if (error > 0.0 || (error == 0.0 && number % 2 == 1)) ++number;
  }
  char text[32];
  char* at = text;
  if (std::signbit(value)) *at++ = '-';
  at = std::to_chars(at, text + sizeof text, number / scale).ptr;
  if (digits > 0) *at++ = '.';
  std::uint64_t fraction = number % scale;
  for (int i = digits; i-- > 0; fraction /= 10) at[i] = static_cast<char>('0' + fraction % 10);
  out->append(text, at + digits);
  return true;
}

}  // namespace

void append_fixed(std::string* out, double value, int digits) {
  if (!append_common(out, value, digits)) append(out, value, std::chars_format::fixed, digits);
}

void append_scientific(std::string* out, double value, int digits) {
  append(out, value, std::chars_format::scientific, digits);
}

void append_repr(std::string* out, double value) {
  char text[32];  // "-1.2345678901234567e-308"
  const char* const end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
  const char* first = text;
  if (*first == '-') *out += *first++;
  const char* const e = std::find(first, end, 'e');
  int exponent = 0;
  std::from_chars(e + (e[1] == '+' ? 2 : 1), end, exponent);
  if (exponent < -4 || exponent >= 16) {
    out->append(first, end);
    return;
  }
  if (exponent < 0) {
    *out += "0.";
    out->append(static_cast<std::size_t>(-exponent - 1), '0');
    *out += *first;
    if (e - first > 2) out->append(first + 2, e);
    return;
  }
  *out += *first;
  const char* const fraction = first + 1 == e ? e : first + 2;
  const char* const point = std::min(e, fraction + exponent);
  out->append(fraction, point);
  out->append(static_cast<std::size_t>(exponent - (point - fraction)), '0');
  *out += '.';
  if (point == e) {
    *out += '0';
  } else {
    out->append(point, e);
  }
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
