#include "core/compensated_sum.h"

#include <utility>

namespace ringmeter {

void ExactSum::add(double value) {
  std::size_t kept = 0;
  for (double partial : partials_) {
    if (std::fabs(value) < std::fabs(partial)) std::swap(value, partial);
    const double total = value + partial;
    const double error = partial - (total - value);
    if (error != 0.0) partials_[kept++] = error;
    value = total;
  }
  partials_.resize(kept);
  partials_.push_back(value);
}

double ExactSum::value() const {
  std::size_t left = partials_.size();
  if (left == 0) return 0.0;
  double total = partials_[--left];
  double error = 0.0;
  while (left > 0 && error == 0.0) {
    const double before = total;
    const double partial = partials_[--left];
    total = before + partial;
    error = partial - (total - before);
  }
  // Half-way cases: the remaining partials decide the direction of the rounding.
  if (left > 0 &&
      ((error < 0.0 && partials_[left - 1] < 0.0) || (error > 0.0 && partials_[left - 1] > 0.0))) {
    const double doubled = error * 2.0;
    const double rounded = total + doubled;
    if (doubled == rounded - total) total = rounded;
  }
  return total;
}

}  // namespace ringmeter
