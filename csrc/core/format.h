// Numbers as Python's format() writes them.
#pragma once

#include <cstdint>
#include <string>

namespace ringmeter {

// Appends f"{value:.{digits}f}".
void append_fixed(std::string* out, double value, int digits);

// Appends f"{value:.{digits}e}".
void append_scientific(std::string* out, double value, int digits);

// Appends repr(value) of a finite one: the shortest text that reads as the same number.
void append_repr(std::string* out, double value);

// Appends str(datetime.timedelta(seconds=seconds)): "0:01:05", "2 days, 3:04:05".
void append_duration(std::string* out, std::int64_t seconds);

}  // namespace ringmeter
