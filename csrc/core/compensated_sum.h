// Sums of doubles to about twice their precision, and a correctly rounded one for when that is not enough.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace ringmeter {

// The sum as `high + low`, after Ogita, Rump and Oishi, "Accurate sum and dot product" (SISC 2005),
// algorithm Sum2. Adding is associative and commutative up to 2^-100 of the sum of magnitudes.
class CompensatedSum {
 public:
  void add(double value) {
    const double total = high_ + value;
    const double part = total - high_;
    low_ += (high_ - (total - part)) + (value - part);
    high_ = total;
    plain_ += value;
  }

  // Adds the sum `high + low` of other values.
  void add(double high, double low) {
    add(high);
    low_ += low;
  }

  // Makes `high` the sum rounded to nearest; what is left over stays in `low`.
  void normalise() {
    const double total = high_ + low_;
    low_ -= total - high_;
    high_ = total;
  }

  double high() const { return high_; }
  double low() const { return low_; }

  // NaN and infinities as plain addition gives them: the compensation turns inf into inf - inf.
  double value() const {
    const double total = high_ + low_;
    return std::isfinite(total) ? total : plain_;
  }

 private:
  double high_ = 0.0;
  double low_ = 0.0;
  double plain_ = 0.0;
};

// The correctly rounded sum of finite doubles, at O(n) cost and some 10 ns a value: Shewchuk, "Adaptive
// precision floating-point arithmetic" (1997), with the final rounding of CPython's math.fsum.
class ExactSum {
 public:
  void add(double value);
  double value() const;

 private:
  std::vector<double> partials_;  // non-overlapping, growing magnitude
};

}  // namespace ringmeter
