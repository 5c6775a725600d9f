#include "core/format.h"

#include <charconv>
#include <cmath>
#include <cstddef>

namespace ringmeter {

namespace {

void append(std::string* out, double value, std::chars_format format, int digits) {
  if (std::isnan(value)) {  // to_chars would show its sign
    *out += "nan";
    return;
  }
  // The longest: sign, 309 digits of the largest double, point, `digits`.
  const std::size_t before = out->size();
  out->resize(before + 312 + static_cast<std::size_t>(digits));
  const std::to_chars_result result =
      std::to_chars(out->data() + before, out->data() + out->size(), value, format, digits);
  out->resize(static_cast<std::size_t>(result.ptr - out->data()));
}

}  // namespace

void append_fixed(std::string* out, double value, int digits) {
  append(out, value, std::chars_format::fixed, digits);
}

void append_scientific(std::string* out, double value, int digits) {
  append(out, value, std::chars_format::scientific, digits);
}

}  // namespace ringmeter
