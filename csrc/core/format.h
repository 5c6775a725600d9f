// Numbers as Python's format() writes them.
#pragma once

#include <string>

namespace ringmeter {

// Appends f"{value:.{digits}f}".
void append_fixed(std::string* out, double value, int digits);

// Appends f"{value:.{digits}e}".
void append_scientific(std::string* out, double value, int digits);

}  // namespace ringmeter
