#include "core/json_row.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <limits>
#include <system_error>
#include <utility>

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

bool is_one_of(std::string_view text, const std::size_t at, std::string_view characters) {
  return at < text.size() && characters.find(text[at]) != std::string_view::npos;
}

// How long an escape in a text is; 0: it is none.
std::size_t escape_size(std::string_view text) {
  if (is_one_of(text, 1, "\"\\/bfnrt")) return 2;
  if (!is_one_of(text, 1, "u")) return 0;
  for (std::size_t at = 2; at < 6; ++at) {
    if (!is_one_of(text, at, "0123456789abcdefABCDEF")) return 0;
  }
  return 6;
}

bool skip_other(std::string_view* text) {
  if (skip(text, "true") || skip(text, "false") || skip(text, "null")) return true;
  if (!skip(text, "\"")) return false;
  while (!text->empty() && text->front() != '"') {
    if (text->front() < ' ' || text->front() > '~') return false;
    const std::size_t size = text->front() == '\\' ? escape_size(*text) : 1;
    if (size == 0) return false;
    text->remove_prefix(size);
  }
  return skip(text, "\"");
}

}  // namespace

bool parse_json_row(std::string_view line, const JsonSchema& schema, double* numbers) {
  char before = '{';
  for (const JsonKey& key : schema) {
    if (!skip_mark(&line, before) || !skip(&line, key.name) || !skip_mark(&line, ':')) return false;
    if (!(key.is_number ? take_number(&line, numbers++) : skip_other(&line))) return false;
    before = ',';
  }
  return before == ',' && skip_mark(&line, '}') && line.empty();
}

JsonRowParser::JsonRowParser(std::vector<JsonSchema> schemas)
    : schemas_(std::move(schemas)), numbers_(schemas_.size()), following_(schemas_.size()) {
  for (std::size_t schema = 0; schema < schemas_.size(); ++schema) following_[schema] = schema;
}

std::size_t JsonRowParser::parse(std::string_view line) {
  if (schemas_.empty()) return kNone;
  std::size_t found = following_[newest_];
  if (!parse_as(found, line)) {
    found = 0;
    while (found < schemas_.size() && !parse_as(found, line)) ++found;
    if (found == schemas_.size()) return kNone;
  }
  following_[newest_] = found;
  newest_ = found;
  return found;
}

bool JsonRowParser::parse_as(const std::size_t schema, const std::string_view line) {
  row_.resize(schemas_[schema].size());
  if (!parse_json_row(line, schemas_[schema], row_.data())) return false;
  std::size_t count = 0;
  for (const JsonKey& key : schemas_[schema]) count += key.is_number ? 1 : 0;
  numbers_[schema].insert(numbers_[schema].end(), row_.begin(),
                          row_.begin() + static_cast<std::ptrdiff_t>(count));
  return true;
}

}  // namespace ringmeter
