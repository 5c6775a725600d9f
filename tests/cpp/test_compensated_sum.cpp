#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/compensated_sum.h"
#include "fixed_point_sum.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::FixedPointSum;
using ringmeter::tests::Tally;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class Sum>
double sum_of(const std::vector<double>& values) {
  Sum sum;
  for (const double value : values) sum.add(value);
  return sum.value();
}

double fixed_point_sum_of(const std::vector<double>& values) {
  FixedPointSum sum;
  for (const double value : values) sum.add(value);
  return sum.rounded();
}

struct Case {
  std::vector<double> values;
  double sum;
};

// CPython's test_math.py, testFsum.
std::vector<Case> cpython_cases() {
  std::vector<Case> cases = {
      {{}, 0.0},
      {{0.0}, 0.0},
      {{1e100, 1.0, -1e100, 1e-100, 1e50, -1.0, -1e50}, 1e-100},
      {{0x1p53, -0.5, -0x1p-54}, 0x1p53 - 1.0},
      {{0x1p53, 1.0, 0x1p-100}, 0x1p53 + 2.0},
      {{0x1p53 + 10.0, 1.0, 0x1p-100}, 0x1p53 + 12.0},
      {{0x1p53 - 4.0, 0.5, 0x1p-54}, 0x1p53 - 3.0},
      {{1e16, 1.0, 1e-16}, 10000000000000002.0},
      {{1e16 - 2.0, 1.0 - 0x1p-53, -(1e16 - 2.0), -(1.0 - 0x1p-53)}, 0.0},
  };
  Case harmonic{{}, 0x1.df11f45f4e61ap+2};
  for (int n = 1; n < 1001; ++n) harmonic.values.push_back(1.0 / n);
  Case alternating{{}, -0x1.62a2af1bd3624p-1};
  for (int n = 1; n < 1001; ++n) alternating.values.push_back((n % 2 == 0 ? 1.0 : -1.0) / n);
  Case wide{{}, 0x1.5555555555555p+970};
  for (int n = -1074; n < 972; n += 2) {
    wide.values.push_back(std::ldexp(1.0, n) - std::ldexp(1.0, n + 50) + std::ldexp(1.0, n + 52));
  }
  wide.values.push_back(-0x1p1022);
  cases.insert(cases.end(), {harmonic, alternating, wide});
  return cases;
}

// Of any magnitude, and with pairs that cancel.
std::vector<double> unruly_values(std::mt19937_64* random, int exponents) {
  std::vector<double> values;
  const auto n = static_cast<std::size_t>((*random)() % 60 + 1);
  while (values.size() < n) {
    const double fraction = static_cast<double>((*random)() >> 11) * 0x1p-53 + 0.5;
    const int exponent = static_cast<int>((*random)() % static_cast<unsigned>(2 * exponents)) - exponents;
    const double value = std::ldexp((*random)() % 2 == 0 ? fraction : -fraction, exponent);
    values.push_back(value);
    if ((*random)() % 2 == 0) values.push_back(-value);
  }
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[(*random)() % i]);
  return values;
}

}  // namespace

TEST_CASE("test_fixed_point_oracle_is_correctly_rounded_when_checked_against_cpython") {
  for (const Case& each : cpython_cases()) CHECK(fixed_point_sum_of(each.values) == each.sum);
  CHECK(fixed_point_sum_of({0x1p-1074, 0x1p-1074}) == 0x1p-1073);
  CHECK(fixed_point_sum_of({0x1p-1022, -0x1p-1074}) == 0x0.fffffffffffffp-1022);
  CHECK(fixed_point_sum_of({1.7e308, 1.7e308, -1.7e308}) == 1.7e308);
  CHECK(fixed_point_sum_of({1.7e308, 1.7e308}) == kInfinity);
  CHECK(fixed_point_sum_of({-1.7e308, -1.7e308}) == -kInfinity);
  CHECK(fixed_point_sum_of({-3.0, 1.0}) == -2.0);
}

TEST_CASE("test_exact_sum_is_correctly_rounded_when_checked_against_cpython") {
  for (const Case& each : cpython_cases()) {
    CAPTURE(each.sum);
    CHECK(sum_of<ExactSum>(each.values) == each.sum);
  }
}

TEST_CASE("test_exact_sum_is_correctly_rounded_when_magnitudes_differ_and_cancel") {
  std::mt19937_64 random(4);
  Tally tally;
  for (int i = 0; i < 3000; ++i) {
    const std::vector<double> values = unruly_values(&random, i % 2 == 0 ? 1000 : 60);
    const double expected = fixed_point_sum_of(values);
    const double actual = sum_of<ExactSum>(values);
    tally.expect(actual == expected, "case ", i, ": ", actual, ", not ", expected);
  }
  tally.check();
}

TEST_CASE("test_compensated_sum_is_exact_when_one_rounding_step_is_to_be_made_good") {
  CHECK(sum_of<CompensatedSum>({1e200, 1.0, -1e200}) == 1.0);
  CHECK(sum_of<CompensatedSum>({0x1p53, 1.0, 1.0}) == 0x1p53 + 2.0);
  CHECK(sum_of<CompensatedSum>({1.0, 0x1p-80, -1.0}) == 0x1p-80);
  CHECK(sum_of<CompensatedSum>({0.1, 0.2, 0.3, 0.4, -1.0}) == fixed_point_sum_of({0.1, 0.2, 0.3, 0.4, -1.0}));
  CHECK(sum_of<CompensatedSum>({}) == 0.0);
}

TEST_CASE("test_compensated_sum_errs_by_no_more_than_stated_when_values_cancel") {
  std::mt19937_64 random(5);
  Tally tally;
  for (int i = 0; i < 3000; ++i) {
    const std::vector<double> values = unruly_values(&random, 40);
    CompensatedSum sum;
    FixedPointSum error;
    double magnitude = 0.0;
    for (const double value : values) {
      sum.add(value);
      error.add(value);
      magnitude += std::fabs(value);
    }
    sum.normalise();
    error.subtract(sum.high());
    error.subtract(sum.low());
    const double bound = magnitude * 0x1p-92;  // (120 values * 2^-53)^2: Ogita, Rump and Oishi
    tally.expect(std::fabs(error.rounded()) <= bound, "case ", i, ": off by ", error.rounded(), ", bound ",
                 bound);
  }
  tally.check();
}

TEST_CASE("test_compensated_sum_stays_the_same_when_split_and_added_as_high_and_low") {
  CompensatedSum left;
  for (const double value : {1e200, 1.0, 3.0}) left.add(value);
  left.normalise();
  CHECK(left.high() == 1e200);
  CHECK(left.low() == 4.0);
  CompensatedSum both;
  both.add(-1e200);
  both.add(left.high(), left.low());
  CHECK(both.value() == 4.0);
}

TEST_CASE("test_compensated_sum_follows_ieee_when_a_value_is_not_finite") {
  const double nan = std::nan("");
  CHECK(sum_of<CompensatedSum>({1.0, kInfinity, 2.0}) == kInfinity);
  CHECK(sum_of<CompensatedSum>({1.0, -kInfinity, 2.0}) == -kInfinity);
  CHECK(std::isnan(sum_of<CompensatedSum>({kInfinity, 1.0, -kInfinity})));
  CHECK(std::isnan(sum_of<CompensatedSum>({1.0, nan, kInfinity})));
  CHECK(sum_of<CompensatedSum>({1.7e308, 1.7e308}) == kInfinity);
}
