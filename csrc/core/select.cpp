#include "core/select.h"

#include <algorithm>
#include <limits>

namespace ringmeter {

Neighbours nearest(std::vector<double>& values, std::size_t k) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(values.begin(), at, values.end());
  const double upper = k + 1 < values.size() ? *std::min_element(at + 1, values.end()) : *at;
  return {*at, upper};
}

Selection::Selection(std::vector<double> sample, std::uint64_t n, std::uint64_t k) : n_(n), k_(k) {
  const double margin = 80.0;  // over 3 standard deviations of the rank in a sample of 2048
  const double infinity = std::numeric_limits<double>::infinity();
  // NaNs last: they would break the order, and with one in the window the bracket does not matter.
  const auto numbers = std::partition(sample.begin(), sample.end(), [](double v) { return v == v; });
  std::sort(sample.begin(), numbers);
  const double size = static_cast<double>(sample.size());
  const double rank = static_cast<double>(k) / static_cast<double>(n) * size;
  low_ = rank < margin ? -infinity : sample[static_cast<std::size_t>(rank - margin)];
  high_ = rank + margin >= size ? infinity : sample[static_cast<std::size_t>(rank + margin)];
  inside_.reserve(static_cast<std::size_t>(n / 8));
}

void Selection::visit(const double* values, std::size_t n) {
  const std::size_t before = inside_.size();
  inside_.resize(before + n);
  double* kept = inside_.data() + before;
  for (std::size_t i = 0; i < n; ++i) {
    const double value = values[i];
    *kept = value;
    kept += static_cast<std::size_t>((value >= low_) & (value <= high_));
    below_ += static_cast<std::uint64_t>(value < low_);
    nans_ += static_cast<std::uint64_t>(value != value);
  }
  inside_.resize(static_cast<std::size_t>(kept - inside_.data()));
}

bool Selection::found() const {
  const std::uint64_t last = std::min(k_ + 1, n_ - 1);
  return below_ <= k_ && last - below_ < inside_.size();
}

}  // namespace ringmeter
