// Lines of JSON whose keys are known beforehand, with the kinds of their values.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace ringmeter {

struct JsonKey {
  std::string_view name;  // as in the line, in its quotes
  bool is_number;         // or else a text, true, false or null, which is passed over
};

// The keys of a line, in order: at least one.
using JsonSchema = std::vector<JsonKey>;

// Reads a line such as {"loss": 0.5, "phase": "warmup", "iter": 1}, its numbers into `numbers`.
//
// True if the line is exactly that: those keys in that order with such values, however it is spaced. Numbers
// are what a double can hold, NaN, Infinity and -Infinity too; texts are printable ASCII.
bool parse_json_row(std::string_view line, const JsonSchema& schema, double* numbers);

// Finds out which of several schemas a line has.
class JsonRowParser {
 public:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  explicit JsonRowParser(std::vector<JsonSchema> schemas);

  // Returns the number of the first schema that the line has, or kNone; appends its numbers to that schema's.
  std::size_t parse(std::string_view line);

  const std::vector<double>& numbers(std::size_t schema) const { return numbers_[schema]; }

 private:
  bool parse_as(std::size_t schema, std::string_view line);

  std::vector<JsonSchema> schemas_;
  std::vector<std::vector<double>> numbers_;
  std::vector<std::size_t> following_;  // the schema that followed each one the last time
  std::vector<double> row_;
  std::size_t newest_ = 0;
};

}  // namespace ringmeter
