// The oracle for statistics: each as its definition reads, over a plain vector.
#pragma once

#include <cstdint>
#include <vector>

namespace ringmeter::tests {

// How many doubles lie between the two; 0 for two NaNs, and far apart when only one is a NaN.
std::uint64_t ulps_apart(double a, double b);

// Two passes in long double. NaN when any value is NaN or infinite.
double std_of(const std::vector<double>& values);

// By sorting. NaN when any value is NaN.
double quantile_of(std::vector<double> values, double q);

// Newest value last: sum(s^i * value) / sum(s^i) with i = 0 for the newest, in long double.
double ema_of(const std::vector<double>& values, double smoothing);

// NaN when any value is NaN.
double minimum_of(const std::vector<double>& values);
double maximum_of(const std::vector<double>& values);

}  // namespace ringmeter::tests
