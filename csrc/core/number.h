// A real number as it was given: a double, and what was lost when an integer became one.
#pragma once

#include <cstdint>

namespace ringmeter {

// The dtype of a history, in the order in which numpy promotes: bool < int < float.
enum class NumberKind : std::uint8_t { kBool = 0, kInt = 1, kFloat = 2 };

inline NumberKind promote(NumberKind a, NumberKind b) { return a < b ? b : a; }

// The value is `high + low` exactly. `low` is zero but for integers beyond 2^53.
struct Number {
  double high = 0.0;
  double low = 0.0;
  NumberKind kind = NumberKind::kFloat;

  static Number real(double value) { return {value, 0.0, NumberKind::kFloat}; }
  static Number boolean(bool value) { return {value ? 1.0 : 0.0, 0.0, NumberKind::kBool}; }

  static Number integer(std::int64_t value) {
    const double high = static_cast<double>(value);
    // 2^63 itself does not fit int64: compare before converting back.
    if (high >= 9223372036854775808.0) {
      return {high, static_cast<double>(value - INT64_MAX) - 1.0, NumberKind::kInt};
    }
    return {high, static_cast<double>(value - static_cast<std::int64_t>(high)), NumberKind::kInt};
  }

  static Number integer(std::uint64_t value) {
    if (value <= static_cast<std::uint64_t>(INT64_MAX)) {
      return integer(static_cast<std::int64_t>(value));
    }
    // Above 2^63 doubles are 2048 apart: split off the low bits, both halves are exact.
    const std::uint64_t low = value & 2047U;
    const double high = static_cast<double>(value - low);
    const double sum = high + static_cast<double>(low);
    return {sum, static_cast<double>(low) - (sum - high), NumberKind::kInt};
  }
};

}  // namespace ringmeter
