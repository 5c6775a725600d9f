// Lines of JSON whose keys are known beforehand and whose values are all numbers.
#pragma once

#include <string_view>
#include <vector>

namespace ringmeter {

// Reads a line such as {"loss": 0.5, "iter": 1}, its values into `values`, one for each key.
//
// True if the line is exactly that: those keys in that order, however it is spaced, and numbers that a double
// can hold; NaN, Infinity and -Infinity are numbers too. `keys` are as in the line, in their quotes.
bool parse_json_row(std::string_view line, const std::vector<std::string_view>& keys, double* values);

}  // namespace ringmeter
