#include "core/json_row.h"

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

bool take_number(std::string_view* text, double* value) {
  const bool is_negative = !text->empty() && text->front() == '-';
  const char first = text->size() > is_negative ? (*text)[is_negative] : '\0';
  if (first < '0' || first > '9') {  // from_chars takes other spellings of these
    if (skip(text, "NaN")) {
      *value = std::numeric_limits<double>::quiet_NaN();
    } else if (skip(text, is_negative ? "-Infinity" : "Infinity")) {
      *value =
          is_negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
    } else {
      return false;
    }
    return true;
  }
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *value);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<std::size_t>(end - text->data()));
  return true;
}

}  // namespace

bool parse_json_row(std::string_view line, const std::vector<std::string_view>& keys, double* values) {
  std::string_view before = "{";
  for (const std::string_view key : keys) {
    if (!skip(&line, before) || !skip(&line, key) || !skip(&line, ": ") || !take_number(&line, values++))
      return false;
    before = ", ";
  }
  return skip(&line, "}") && (line.empty() || line == "\n" || line == "\r\n");
}

}  // namespace ringmeter
