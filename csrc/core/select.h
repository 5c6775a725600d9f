// Order statistics: of values at hand, and of values that are only passed by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ringmeter {

// The order statistics `k` and `k + 1` of some values (`k` twice when it is the last).
struct Neighbours {
  double lower;
  double upper;
};

// Of values at hand, without NaN; reorders them.
Neighbours nearest(std::vector<double>& values, std::size_t k);

// Of `n` values that are visited twice: a sample of them first, then each once. After Floyd and Rivest
// (1975): two order statistics of the sample bracket the wanted ones, and only what lies between them
// is kept (some 7 % with the default sample) and searched. The bracket may miss, which found() tells;
// the answer never depends on the sample.
class Selection {
 public:
  static constexpr std::size_t kSample = 2048;

  Selection(std::vector<double> sample, std::uint64_t n, std::uint64_t k);

  void visit(const double* values, std::size_t n);
  bool has_nan() const { return nans_ != 0; }
  bool found() const;
  Neighbours result() { return nearest(inside_, static_cast<std::size_t>(k_ - below_)); }

 private:
  const std::uint64_t n_;
  const std::uint64_t k_;
  double low_;
  double high_;
  std::vector<double> inside_;
  std::uint64_t below_ = 0;
  std::uint64_t nans_ = 0;
};

}  // namespace ringmeter
