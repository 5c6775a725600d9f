#include "statistics_oracle.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

namespace ringmeter::tests {

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// The doubles in order, as consecutive integers; both zeros are 0.
std::int64_t rank_of(double value) {
  std::int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits < 0 ? std::numeric_limits<std::int64_t>::min() - bits : bits;
}

bool has_nan(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
}

}  // namespace

std::uint64_t ulps_apart(double a, double b) {
  if (std::isnan(a) && std::isnan(b)) return 0;
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<std::uint64_t>::max();
  const std::int64_t left = std::min(rank_of(a), rank_of(b));
  const std::int64_t right = std::max(rank_of(a), rank_of(b));
  return static_cast<std::uint64_t>(right) - static_cast<std::uint64_t>(left);
}

double std_of(const std::vector<double>& values) {
  const auto n = static_cast<long double>(values.size());
  long double mean = 0.0L;
  for (const double value : values) mean += value;
  mean /= n;
  long double squares = 0.0L;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return static_cast<double>(std::sqrt(squares / n));
}

double quantile_of(std::vector<double> values, double q) {
  if (has_nan(values)) return kNotANumber;
  std::sort(values.begin(), values.end());
  const double index = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(index);
  const long double t = index - static_cast<double>(below);
  if (t == 0.0L) return values[below];
  const long double lower = values[below];
  const long double upper = values[below + 1];
  return static_cast<double>(lower * (1.0L - t) + upper * t);
}

double ema_of(const std::vector<double>& values, double smoothing) {
  long double weight = 1.0L;
  long double weights = 0.0L;
  long double sum = 0.0L;
  for (std::size_t i = values.size(); i-- > 0;) {
    sum += weight * values[i];
    weights += weight;
    weight *= smoothing;
  }
  return static_cast<double>(sum / weights);
}

double minimum_of(const std::vector<double>& values) {
  return has_nan(values) ? kNotANumber : *std::min_element(values.begin(), values.end());
}

double maximum_of(const std::vector<double>& values) {
  return has_nan(values) ? kNotANumber : *std::max_element(values.begin(), values.end());
}

}  // namespace ringmeter::tests
