// The oracle for sums: an integer wide enough for any sum of doubles, and no floating-point addition at all.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ringmeter::tests {

// Exact for up to 2^30 finite doubles. Bit 0 is worth 2^-1074, the smallest double.
class FixedPointSum {
 public:
  void add(double value);
  void subtract(double value) { add(-value); }

  // Rounded to nearest, ties to even; an infinity when that is beyond the largest double.
  double rounded() const;
  bool is_zero() const;

 private:
  static constexpr std::size_t kLimbs = 70;  // of 32 bits: 2098 bits of doubles, and room to add them up
  using Limbs = std::array<std::int64_t, kLimbs>;

  // The limbs of the magnitude, each in [0, 2^32).
  Limbs magnitude(bool* negative) const;

  Limbs limbs_ = {};
};

// The correctly rounded sum; with a NaN or an infinity among the values, what plain addition gives.
double exact_sum(const std::vector<double>& values);

}  // namespace ringmeter::tests
