#include "core/json_row.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <limits>
#include <system_error>

namespace ringmeter {

namespace {

bool skip(std::string_view* text, std::string_view expected) {
  if (text->substr(0, expected.size()) != expected) return false;
  text->remove_prefix(expected.size());
  return true;
}

void skip_space(std::string_view* text) {
  text->remove_prefix(std::min(text->find_first_not_of(" \t\n\r"), text->size()));
}

// Takes a character that JSON allows space around.
bool skip_mark(std::string_view* text, const char mark) {
  skip_space(text);
  if (text->empty() || text->front() != mark) return false;
  text->remove_prefix(1);
  skip_space(text);
  return true;
}

bool is_digit(std::string_view text, const std::size_t at) {
  return at < text.size() && text[at] >= '0' && text[at] <= '9';
}

bool take_not_finite(std::string_view* text, double* value) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (skip(text, "NaN")) {
    *value = std::numeric_limits<double>::quiet_NaN();
  } else if (skip(text, "Infinity")) {
    *value = infinity;
  } else if (skip(text, "-Infinity")) {
    *value = -infinity;
  } else {
    return false;
  }
  return true;
}

// A number by JSON's grammar, which is narrower than that of from_chars: not 01, nor 1. without a digit.
bool take_number(std::string_view* text, double* value) {
  const std::size_t first = !text->empty() && text->front() == '-';
  if (!is_digit(*text, first)) return take_not_finite(text, value);
  if ((*text)[first] == '0' && is_digit(*text, first + 1)) return false;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *value);
  if (error != std::errc()) return false;
  const std::string_view number = text->substr(0, static_cast<std::size_t>(end - text->data()));
  const std::size_t point = number.find('.');
  if (point != std::string_view::npos && !is_digit(number, point + 1)) return false;
  text->remove_prefix(number.size());
  return true;
}

}  // namespace

bool parse_json_row(std::string_view line, const std::vector<std::string_view>& keys, double* values) {
  char before = '{';
  for (const std::string_view key : keys) {
    if (!skip_mark(&line, before) || !skip(&line, key) || !skip_mark(&line, ':') ||
        !take_number(&line, values++))
      return false;
    before = ',';
  }
  return skip_mark(&line, '}') && line.empty();
}

}  // namespace ringmeter
