#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "allocation.h"
#include "core/series.h"
#include "fixed_point_sum.h"
#include "statistics_oracle.h"
#include "tally.h"

using namespace ringmeter;
using namespace ringmeter::tests;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

double uniform(std::mt19937_64* random) { return static_cast<double>((*random)() >> 11) * 0x1p-53; }

const Number kOne = Number::integer(std::int64_t{1});

// A series, and everything ever pushed to it in a plain vector.
class Recorded {
 public:
  explicit Recorded(std::uint64_t max_length, NumberKind kind = NumberKind::kFloat)
      : series(max_length, kind, NumberKind::kInt) {}

  void push(double value) {
    series.push(Number::real(value));
    values.push_back(value);
    counts.push_back(1.0);
  }
  void push(double value, double count) {
    series.push(Number::real(value), Number::real(count));
    values.push_back(value);
    counts.push_back(count);
  }

  std::vector<double> values_in(Range range) const { return part(values, range); }
  std::vector<double> counts_in(Range range) const { return part(counts, range); }

  Series series;
  std::vector<double> values;
  std::vector<double> counts;

 private:
  static std::vector<double> part(const std::vector<double>& all, Range range) {
    return {all.begin() + static_cast<std::ptrdiff_t>(range.begin),
            all.begin() + static_cast<std::ptrdiff_t>(range.end)};
  }
};

// What each statistic answers; the reads are all kOk, or the tally is told.
struct Answers {
  double sum;
  double count;
  double mean;
  double minimum;
  double maximum;
  double std;
};

Answers answers_of(const Series& series, Range range, Tally* tally) {
  Answers out{};
  Number sum;
  Number minimum;
  Number maximum;
  tally->expect(series.sum(range, &sum) == Read::kOk, "sum to ", range.end);
  tally->expect(series.count(range, &out.count) == Read::kOk, "count to ", range.end);
  tally->expect(series.mean(range, &out.mean) == Read::kOk, "mean to ", range.end);
  tally->expect(series.minimum(range, &minimum) == Read::kOk, "minimum to ", range.end);
  tally->expect(series.maximum(range, &maximum) == Read::kOk, "maximum to ", range.end);
  tally->expect(series.std(range, &out.std) == Read::kOk, "std to ", range.end);
  out.sum = sum.high;
  out.minimum = minimum.high;
  out.maximum = maximum.high;
  return out;
}

bool is_same(double a, double b) { return ulps_apart(a, b) == 0; }

bool is_same(const Answers& a, const Answers& b) {
  return is_same(a.sum, b.sum) && is_same(a.count, b.count) && is_same(a.mean, b.mean) &&
         is_same(a.minimum, b.minimum) && is_same(a.maximum, b.maximum) && is_same(a.std, b.std);
}

// The mean that std is taken about is off by half an ulp at most: every deviation shifts by as much.
bool is_std(double actual, const std::vector<double>& values) {
  const double expected = std_of(values);
  if (std::isnan(expected)) return std::isnan(actual);
  const double largest = std::max(std::fabs(minimum_of(values)), std::fabs(maximum_of(values)));
  return std::fabs(actual - expected) <= expected * 1e-12 + largest * 0x1p-50;
}

void expect_oracle(const Recorded& recorded, Range range, Tally* tally) {
  const Answers got = answers_of(recorded.series, range, tally);
  const std::vector<double> values = recorded.values_in(range);
  const double sum = exact_sum(values);
  const double count = exact_sum(recorded.counts_in(range));
  const std::string where = " in [" + std::to_string(range.begin) + ", " + std::to_string(range.end) + ")";
  tally->expect(ulps_apart(got.sum, sum) <= 1, "sum ", got.sum, ", not ", sum, where);
  tally->expect(ulps_apart(got.count, count) <= 1, "count ", got.count, ", not ", count, where);
  tally->expect(ulps_apart(got.mean, sum / count) <= 1, "mean ", got.mean, ", not ", sum / count, where);
  tally->expect(is_same(got.minimum, minimum_of(values)), "minimum ", got.minimum, where);
  tally->expect(is_same(got.maximum, maximum_of(values)), "maximum ", got.maximum, where);
  tally->expect(is_std(got.std, values), "std ", got.std, ", not ", std_of(values), where);
}

void expect_order_statistics(const Recorded& recorded, Range range, Tally* tally) {
  const std::vector<double> values = recorded.values_in(range);
  double median = 0.0;
  tally->expect(recorded.series.median(range, &median) == Read::kOk, "median");
  const double middle = quantile_of(values, 0.5);
  tally->expect(ulps_apart(median, middle) <= 1, "median ", median, ", not ", middle, " of ", values.size());
  for (const double q : {0.0, 0.001, 0.25, 1.0 / 3.0, 0.9, 0.999, 1.0}) {
    double quantile = 0.0;
    tally->expect(recorded.series.quantile(range, q, &quantile) == Read::kOk, "quantile");
    const double expected = quantile_of(values, q);
    const double slack = 4.0 * std::numeric_limits<double>::epsilon() *
                         std::max(std::fabs(minimum_of(values)), std::fabs(maximum_of(values)));
    tally->expect(is_same(quantile, expected) || std::fabs(quantile - expected) <= slack, "quantile ", q, " ",
                  quantile, ", not ", expected, " of ", values.size());
  }
}

// Values as a training run has them: a falling loss with noise, now and then a spike.
double loss_at(std::size_t step, std::mt19937_64* random) {
  const double spike = (*random)() % 997 == 0 ? 1e6 : 0.0;
  return 2.0 / (1.0 + static_cast<double>(step) * 1e-3) + uniform(random) * 0.1 - 0.3 + spike;
}

// Of either sign, over 120 powers of two.
double wild(std::mt19937_64* random) {
  return std::ldexp(uniform(random) - 0.5, static_cast<int>((*random)() % 120) - 60);
}

Number exact_integer_sum(const std::vector<std::int64_t>& values) {
  FixedPointSum sum;
  for (const std::int64_t value : values) {
    sum.add(static_cast<double>(value >> 32) * 4294967296.0);
    sum.add(static_cast<double>(value & 0xFFFFFFFF));
  }
  const double high = sum.rounded();
  sum.subtract(high);
  return {high, sum.rounded(), NumberKind::kInt};
}

}  // namespace

// ---- windows ----

TEST_CASE("test_window_is_the_newest_entries_when_clipped_by_length_and_position") {
  const Series series(100, NumberKind::kFloat, NumberKind::kInt);
  const auto is = [](Range range, Position begin, Position end) {
    return range.begin == begin && range.end == end;
  };
  CHECK(is(series.window(10, 0), 0, 0));
  CHECK(is(series.window(10, 4), 0, 4));
  CHECK(is(series.window(10, 50), 40, 50));
  CHECK(is(series.window(100, 100), 0, 100));
  CHECK(is(series.window(1000, 250), 150, 250));
  CHECK(is(series.window(UINT64_MAX, 5), 0, 5));
}

TEST_CASE("test_push_gives_consecutive_positions_when_kinds_are_mixed") {
  Series series(100, NumberKind::kFloat, NumberKind::kInt);
  CHECK(series.position() == 0);
  CHECK(series.push(Number::real(1.0)) == 0);
  CHECK(series.push(Number::boolean(true), Number::integer(std::int64_t{2})) == 1);
  CHECK(series.push_pending(NumberKind::kFloat, kOne) == 2);
  CHECK(series.position() == 3);
  CHECK(series.max_length() == 100);
}

TEST_CASE("test_statistics_match_the_oracle_when_windows_cross_every_border") {
  std::mt19937_64 random(20);
  Recorded recorded(200'000);
  Recorded reversed(200'000);
  for (std::size_t i = 0; i < 140'000; ++i) {
    const double value = loss_at(i, &random);
    const double count = i % 3 == 0 ? 1.0 : static_cast<double>(random() % 64);
    recorded.push(value, count);
    reversed.push(value, count);
  }
  const std::vector<Position> borders{0,    1,    127,    128,    129,    1023,    1024,    1025,    8191,
                                      8192, 8193, 65'535, 65'536, 65'537, 131'071, 131'072, 131'073, 140'000};
  std::vector<Range> ranges;
  for (const Position begin : borders) {
    for (const Position end : borders) {
      if (begin < end) ranges.push_back({begin, end});
    }
  }
  Tally tally;
  for (const Range range : ranges) {
    expect_oracle(recorded, range, &tally);
    tally.expect(
        is_same(answers_of(recorded.series, range, &tally), answers_of(recorded.series, range, &tally)),
        "asked again, to ", range.end);
  }
  // Another order of questions leaves other summaries behind; the answers may not tell.
  std::reverse(ranges.begin(), ranges.end());
  for (const Range range : ranges) {
    const Answers here = answers_of(reversed.series, range, &tally);
    tally.expect(is_same(here, answers_of(recorded.series, range, &tally)), "asked in reverse, to ",
                 range.end);
  }
  tally.check();
}

TEST_CASE("test_statistics_match_the_oracle_when_the_series_is_lapped") {
  std::mt19937_64 random(21);
  for (const std::uint64_t length : {1U, 2U, 127U, 128U, 1023U, 1024U, 5000U, 200'000U}) {
    CAPTURE(length);
    Recorded recorded(length);
    Tally tally;
    const std::size_t total = 3 * (length + 3 * 1024) + 5;
    const std::size_t step = length > 10'000 ? 90'001 : 311;
    while (recorded.values.size() < total) {
      for (std::size_t i = 0; i < step; ++i) recorded.push(loss_at(i, &random), static_cast<double>(i % 5));
      const Position head = recorded.series.position();
      tally.expect(head == recorded.values.size(), "position ", head);
      for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{2}, length / 2, length - 1, length}) {
        if (size != 0) expect_oracle(recorded, recorded.series.window(size, head), &tally);
      }
    }
    tally.check();
  }
}

TEST_CASE("test_statistics_match_the_oracle_when_the_range_has_more_blocks_than_pieces") {
  constexpr std::size_t kN = 130 * 65'536 + 4321;
  Series series(kN, NumberKind::kFloat, NumberKind::kInt);
  for (std::size_t i = 0; i < kN; ++i) series.push(Number::real(static_cast<double>(i) * 0.25));
  // From 0, 0.25, 0.5, ... : closed forms, exact in double.
  for (const Range range : {Range{0, kN}, Range{1, kN - 1}, Range{77'777, kN - 99}}) {
    CAPTURE(range.begin);
    const auto n = static_cast<double>(range.size());
    const double first = static_cast<double>(range.begin) * 0.25;
    const double last = static_cast<double>(range.end - 1) * 0.25;
    Tally tally;
    const Answers got = answers_of(series, range, &tally);
    tally.check();
    CHECK(got.sum == (first + last) * n / 2.0);
    CHECK(got.count == n);
    CHECK(got.mean == (first + last) / 2.0);
    CHECK(got.minimum == first);
    CHECK(got.maximum == last);
    CHECK(got.std == doctest::Approx(0.25 * std::sqrt((n * n - 1.0) / 12.0)).epsilon(1e-12));
  }
}

TEST_CASE("test_statistics_stay_the_same_when_asked_as_of_an_earlier_position") {
  constexpr std::uint64_t kLength = 6000;
  std::mt19937_64 random(22);
  Recorded recorded(kLength);
  struct Asked {
    Range range;
    Answers answers;
  };
  std::vector<Asked> asked;
  Tally tally;
  for (int i = 0; i < 20'000; ++i) {
    recorded.push(wild(&random));
    const Position head = recorded.series.position();
    if (i % 37 == 0) {
      const Range range = recorded.series.window(random() % kLength + 1, head);
      asked.push_back({range, answers_of(recorded.series, range, &tally)});
    }
    if (asked.empty() || i % 5 != 0) continue;
    // A window that ended no more than 1024 entries ago is still there whole.
    const std::size_t recent = std::min<std::size_t>(asked.size(), 25);
    const Asked& old = asked[asked.size() - 1 - random() % recent];
    tally.expect(is_same(answers_of(recorded.series, old.range, &tally), old.answers), "as of ",
                 old.range.end, " at ", head);
  }
  tally.check();
}

// ---- sums ----

TEST_CASE("test_sum_is_exact_when_everything_cancels") {
  struct Case {
    std::vector<double> values;
    double sum;
  };
  const Case cases[] = {
      {{1e200, 1.0, 1e-200, -1e200, -1.0}, 1e-200},
      {{1e100, 1.0, -1e100, 1e-100, 1e50, -1.0, -1e50}, 1e-100},
      {{1e308, -1e308, 1.0}, 1.0},
      {{1e308, -1e308, 1e-300}, 1e-300},
      {{1e308, 1e308, -1e308, -1e308, 1.0}, 1.0},
      {{1e308, 1e308, -1e308}, 1e308},
      {{5e-324, 1.0, -1.0}, 5e-324},
      {{0.1, 0.2, -0.3}, 0x1p-55},  // Fraction(0.1) + Fraction(0.2) - Fraction(0.3)
  };
  for (const Case& each : cases) {
    for (const std::size_t ahead : {0U, 1U, 100U, 127U, 1000U}) {  // the same across block borders
      CAPTURE(each.sum);
      CAPTURE(ahead);
      Recorded recorded(5000);
      for (std::size_t i = 0; i < ahead; ++i) recorded.push(1.0);
      for (const double value : each.values) recorded.push(value);
      Number sum;
      REQUIRE(recorded.series.sum({ahead, recorded.values.size()}, &sum) == Read::kOk);
      CHECK(sum.high == each.sum);
    }
  }
}

TEST_CASE("test_sum_is_within_an_ulp_when_it_is_half_way_between_two_doubles") {
  for (const std::vector<double>& values : std::vector<std::vector<double>>{
           {0x1p53, 1.0, 0x1p-100}, {0x1p53, 1.0, -0x1p-100}, {1e16, 1.0, 1e-16}, {-1e16, -1.0, 1e-16}}) {
    Recorded recorded(10);
    for (const double value : values) recorded.push(value);
    Number sum;
    REQUIRE(recorded.series.sum({0, 3}, &sum) == Read::kOk);
    CHECK(ulps_apart(sum.high, exact_sum(values)) <= 1);
  }
}

TEST_CASE("test_mean_is_within_an_ulp_when_the_sum_is_half_way_between_two_doubles") {
  // A sum, and half an ulp of it with something too small to be seen on either side. The number of zeros
  // decides whether 1 ulp of the sum is more than 1 of the quotient.
  std::mt19937_64 random(29);
  Tally tally;
  for (int round = 0; round < 3000; ++round) {
    const double large = std::ldexp(1.0 + uniform(&random), 60);
    const double half = std::ldexp(random() % 2 == 0 ? 1.0 : -1.0, 7);
    const double tiny = std::ldexp(uniform(&random) - 0.5, -40 - static_cast<int>(random() % 100));
    std::vector<double> values{large, half, round % 3 == 0 ? 0.0 : tiny};
    values.resize(3 + random() % (round % 10 == 0 ? 3000 : 200), 0.0);
    Recorded recorded(5000);
    for (const double value : values) recorded.push(value);
    double mean = 0.0;
    tally.expect(recorded.series.mean({0, values.size()}, &mean) == Read::kOk, "mean");
    const double expected = exact_sum(values) / static_cast<double>(values.size());
    tally.expect(ulps_apart(mean, expected) <= 1, "round ", round, ": ", mean, ", not ", expected);
  }
  tally.check();
}

TEST_CASE("test_mean_of_everything_is_the_same_however_often_it_is_asked_for_and_when") {
  // Sums are kept between questions: what was asked before must not show.
  std::mt19937_64 random(30);
  Recorded asked(20'000);
  Recorded quiet(20'000);
  Tally tally;
  for (int i = 0; i < 45'000; ++i) {
    const double value = wild(&random);
    asked.push(value);
    quiet.push(value);
    if (random() % 8 != 0) continue;
    const Position end = asked.series.position() - random() % 3;
    double often = 0.0;
    tally.expect(asked.series.mean(asked.series.window(20'000, end), &often) == Read::kOk, "mean at ", end);
    if (i % 1000 != 0) continue;
    double once = 0.0;
    tally.expect(quiet.series.mean(quiet.series.window(20'000, end), &once) == Read::kOk, "mean at ", end);
    tally.expect(is_same(often, once), "asked often ", often, ", asked once ", once, " at ", end);
    double again = 0.0;
    tally.expect(asked.series.mean(asked.series.window(20'000, end), &again) == Read::kOk, "mean at ", end);
    tally.expect(is_same(often, again), "again ", again, ", not ", often, " at ", end);
  }
  tally.check();
}

TEST_CASE("test_count_is_exact_when_counts_cancel") {
  Series series(100, NumberKind::kFloat, NumberKind::kFloat);
  for (const double count : {1e200, 1e100, 1.0, -1e200, -1e100}) {
    series.push(Number::real(1.0), Number::real(count));
  }
  double out = 0.0;
  REQUIRE(series.count({0, 5}, &out) == Read::kOk);
  CHECK(out == 1.0);
  REQUIRE(series.mean({0, 5}, &out) == Read::kOk);
  CHECK(out == 5.0);
}

TEST_CASE("test_numbers_whose_lower_half_looks_like_a_mark_are_numbers") {
  Recorded recorded(1000);
  for (int i = 0; i < 300; ++i) {
    recorded.push(decode((SlotBits{0x3FF00000} << 32) + (kEmpty >> 32)));
    recorded.push(decode((SlotBits{0x40000000} << 32) + (kPending & 0xFFFFFFFF)));
  }
  Tally tally;
  expect_oracle(recorded, {0, 600}, &tally);
  expect_oracle(recorded, {5, 590}, &tally);
  tally.check();
}

TEST_CASE("test_integers_that_land_later_are_exact") {
  Series series(100, NumberKind::kInt, NumberKind::kInt);
  const std::int64_t wide = (std::int64_t{1} << 53) + 1;
  series.push_pending(NumberKind::kInt, kOne);
  series.push(Number::integer(std::int64_t{5}));
  series.push_pending(NumberKind::kInt, kOne);
  Number out;
  CHECK(series.sum({0, 3}, &out) == Read::kPending);
  series.land(2, Number::integer(std::int64_t{-7}));
  REQUIRE(series.sum({1, 3}, &out) == Read::kOk);
  CHECK(out.high == -2.0);
  series.land(0, Number::integer(wide));
  REQUIRE(series.at(0, &out) == Read::kOk);
  CHECK(out.high == 0x1p53);
  CHECK(out.low == 1.0);
  REQUIRE(series.sum({0, 3}, &out) == Read::kOk);
  CHECK(out.high + out.low == 0x1p53 - 1.0);
  REQUIRE(series.maximum({0, 3}, &out) == Read::kOk);
  CHECK(out.low == 1.0);
  CHECK(series.kind() == NumberKind::kInt);
  series.push_pending(NumberKind::kFloat, kOne);  // known to be a float before it lands
  CHECK(series.kind() == NumberKind::kFloat);
}

TEST_CASE("test_marks_are_never_handled_as_doubles") {
  // They are signalling NaNs: where such exceptions are trapped, the process would die.
  Series series(1000, NumberKind::kFloat, NumberKind::kInt);
  series.push_pending(NumberKind::kFloat, kOne);
  std::feclearexcept(FE_ALL_EXCEPT);
  for (int i = 0; i < 300; ++i) series.push(Number::real(2.0));
  double out = 0.0;
  CHECK(series.mean({0, 300}, &out) == Read::kPending);
  CHECK(series.mean({0, 20}, &out) == Read::kPending);
  CHECK(series.mean({1, 300}, &out) == Read::kOk);
  CHECK(std::fetestexcept(FE_INVALID) == 0);
  series.land(0, Number::real(1.0));
  REQUIRE(series.mean({0, 4}, &out) == Read::kOk);
  CHECK(out == 1.75);
}

TEST_CASE("test_sum_is_within_an_ulp_when_values_nearly_cancel") {
  std::mt19937_64 random(23);
  Tally tally;
  for (int round = 0; round < 110; ++round) {
    Recorded recorded(5000);
    const std::size_t n = random() % 1600 + 1;
    // Values, others `round` powers of two smaller, and the opposites of the first in another order. What is
    // lost when the small ones are added to a large sum is all that is left in the end.
    std::vector<std::size_t> order(n);
    for (std::size_t i = 0; i < n; ++i) {
      order[i] = i;
      std::swap(order[i], order[random() % (i + 1)]);
      recorded.push(uniform(&random) - 0.5);
    }
    for (std::size_t i = 0; i < n; ++i) recorded.push(std::ldexp(uniform(&random) - 0.5, -round));
    for (const std::size_t i : order) recorded.push(-recorded.values[i]);
    const Range range{0, recorded.values.size()};
    Number sum;
    tally.expect(recorded.series.sum(range, &sum) == Read::kOk, "sum");
    const double expected = exact_sum(recorded.values);
    tally.expect(ulps_apart(sum.high, expected) <= 1, "round ", round, ": ", sum.high, ", not ", expected);
  }
  tally.check();
}

TEST_CASE("test_sum_is_within_an_ulp_when_magnitudes_differ_wildly") {
  std::mt19937_64 random(24);
  Recorded recorded(20'000);
  for (int i = 0; i < 20'000; ++i) recorded.push(wild(&random));
  Tally tally;
  for (int i = 0; i < 300; ++i) {
    const Position begin = random() % 20'000;
    const Position end = begin + 1 + random() % (20'000 - begin);
    expect_oracle(recorded, {begin, end}, &tally);
  }
  tally.check();
}

TEST_CASE("test_sum_is_finite_when_only_its_intermediate_sums_overflow") {
  // The compensated sum of each leaf is 0. The sum of magnitudes is beyond the largest double.
  Recorded recorded(1000);
  for (int i = 0; i < 64; ++i) recorded.push(1e307);
  for (int i = 0; i < 64; ++i) recorded.push(-1e307);
  Number sum;
  REQUIRE(recorded.series.sum({0, 128}, &sum) == Read::kOk);
  CHECK(sum.high == 0.0);
  double mean = kNotANumber;
  REQUIRE(recorded.series.mean({0, 128}, &mean) == Read::kOk);
  CHECK(mean == 0.0);
}

TEST_CASE("test_sum_is_infinite_when_it_is_beyond_the_largest_double") {
  Recorded recorded(1000);
  for (int i = 0; i < 300; ++i) recorded.push(1e307);
  Number sum;
  REQUIRE(recorded.series.sum({0, 300}, &sum) == Read::kOk);
  CHECK(sum.high == kInfinity);
}

// ---- NaN and infinity ----

TEST_CASE("test_a_nan_leaves_the_result_when_it_leaves_the_window") {
  std::mt19937_64 random(25);
  for (const std::uint64_t size : {1U, 5U, 128U, 1000U, 3000U}) {
    CAPTURE(size);
    Recorded recorded(3000);
    for (int i = 0; i < 3100; ++i) recorded.push(uniform(&random));
    recorded.push(kNotANumber);
    Tally tally;
    for (std::uint64_t age = 0; age < size + 300; ++age) {
      if (age % 7 == 0 || age + 2 > size) {
        const Range range = recorded.series.window(size, recorded.series.position());
        const Answers got = answers_of(recorded.series, range, &tally);
        const bool inside = age < size;
        tally.expect(std::isnan(got.sum) == inside && std::isnan(got.mean) == inside, "sum at age ", age);
        tally.expect(std::isnan(got.minimum) == inside && std::isnan(got.maximum) == inside, "range at ",
                     age);
        tally.expect(std::isnan(got.std) == inside, "std at age ", age);
        if (age % 49 == 0 || age + 2 > size) {
          expect_oracle(recorded, range, &tally);
          expect_order_statistics(recorded, range, &tally);
        }
      }
      recorded.push(uniform(&random));
    }
    tally.check();
  }
}

TEST_CASE("test_infinities_follow_ieee_when_they_enter_and_leave") {
  Recorded recorded(2000);
  for (int i = 0; i < 1500; ++i) recorded.push(1.0);
  recorded.push(kInfinity);  // at 1500
  for (int i = 0; i < 499; ++i) recorded.push(1.0);
  recorded.push(-kInfinity);  // at 2000
  for (int i = 0; i < 999; ++i) recorded.push(1.0);
  struct Case {
    Range range;
    double sum;
    double minimum;
    double maximum;
  };
  for (const Case& each :
       {Case{{1200, 1500}, 300.0, 1.0, 1.0}, Case{{1200, 1900}, kInfinity, 1.0, kInfinity},
        Case{{1501, 2500}, -kInfinity, -kInfinity, 1.0},
        Case{{1024, 3000}, kNotANumber, -kInfinity, kInfinity}, Case{{2001, 3000}, 999.0, 1.0, 1.0}}) {
    CAPTURE(each.range.begin);
    Tally tally;
    const Answers got = answers_of(recorded.series, each.range, &tally);
    tally.check();
    CHECK(is_same(got.sum, each.sum));
    CHECK(is_same(got.minimum, each.minimum));
    CHECK(is_same(got.maximum, each.maximum));
    CHECK(std::isnan(got.std) == !std::isfinite(each.sum));
    double median = 0.0;
    CHECK(recorded.series.median(each.range, &median) == Read::kOk);
    CHECK(median == 1.0);
  }
}

// ---- counts ----

TEST_CASE("test_mean_is_weighted_by_counts_when_they_are_given") {
  Recorded recorded(10);
  recorded.push(6.0, 2.0);
  recorded.push(10.0, 6.0);
  double mean = 0.0;
  double count = 0.0;
  REQUIRE(recorded.series.mean({0, 2}, &mean) == Read::kOk);
  REQUIRE(recorded.series.count({0, 2}, &count) == Read::kOk);
  CHECK(mean == 2.0);  // 16 / 8, as mmengine defines it
  CHECK(count == 8.0);
}

TEST_CASE("test_mean_is_not_finite_when_counts_add_up_to_nothing") {
  Recorded recorded(10);
  recorded.push(6.0, 0.0);
  double mean = 0.0;
  REQUIRE(recorded.series.mean({0, 1}, &mean) == Read::kOk);
  CHECK(mean == kInfinity);
  recorded.push(-6.0, 0.0);
  REQUIRE(recorded.series.mean({0, 2}, &mean) == Read::kOk);
  CHECK(std::isnan(mean));
}

TEST_CASE("test_count_is_the_number_of_entries_when_every_count_is_one") {
  Recorded recorded(300);
  for (int i = 0; i < 250; ++i) recorded.push(2.5);
  for (int i = 0; i < 50; ++i) recorded.push(2.5, 1.0);
  double count = 0.0;
  REQUIRE(recorded.series.count({10, 300}, &count) == Read::kOk);
  CHECK(count == 290.0);
}

// ---- kinds ----

TEST_CASE("test_kind_grows_and_never_shrinks_when_numbers_are_pushed") {
  Series series(10, NumberKind::kBool, NumberKind::kInt);
  CHECK(series.kind() == NumberKind::kBool);
  series.push(Number::boolean(true));
  CHECK(series.kind() == NumberKind::kBool);
  series.push(Number::integer(std::int64_t{3}));
  CHECK(series.kind() == NumberKind::kInt);
  series.push(Number::boolean(false));
  CHECK(series.kind() == NumberKind::kInt);
  CHECK(series.count_kind() == NumberKind::kInt);
  series.push(Number::real(0.5), Number::real(0.5));
  CHECK(series.kind() == NumberKind::kFloat);
  CHECK(series.count_kind() == NumberKind::kFloat);
  series.push(Number::integer(std::int64_t{3}), Number::integer(std::int64_t{3}));
  CHECK(series.kind() == NumberKind::kFloat);
  CHECK(series.count_kind() == NumberKind::kFloat);
}

TEST_CASE("test_kind_is_what_was_said_when_a_series_starts_anew") {
  Series series(10, NumberKind::kFloat, NumberKind::kFloat);
  series.start_with(NumberKind::kBool, NumberKind::kInt);
  CHECK(series.kind() == NumberKind::kBool);
  CHECK(series.count_kind() == NumberKind::kInt);
}

TEST_CASE("test_kind_becomes_float_when_a_value_is_pending") {
  Series series(10, NumberKind::kInt, NumberKind::kInt);
  series.push_pending(NumberKind::kFloat, kOne);
  CHECK(series.kind() == NumberKind::kFloat);
}

TEST_CASE("test_results_have_the_kind_of_the_history_when_it_is_of_bools") {
  Series series(10, NumberKind::kBool, NumberKind::kInt);
  for (const bool value : {true, false, true}) series.push(Number::boolean(value));
  Number out;
  REQUIRE(series.sum({0, 3}, &out) == Read::kOk);
  CHECK(out.high == 2.0);
  CHECK(out.kind == NumberKind::kInt);
  REQUIRE(series.minimum({0, 3}, &out) == Read::kOk);
  CHECK(out.high == 0.0);
  CHECK(out.kind == NumberKind::kBool);
  REQUIRE(series.maximum({0, 3}, &out) == Read::kOk);
  CHECK(out.high == 1.0);
  REQUIRE(series.at(1, &out) == Read::kOk);
  CHECK(out.high == 0.0);
  CHECK(out.kind == NumberKind::kBool);
}

// ---- wide integers ----

TEST_CASE("test_wide_integers_are_exact_when_read_back_and_added_up") {
  std::mt19937_64 random(26);
  std::vector<std::int64_t> values;
  Series series(3000, NumberKind::kInt, NumberKind::kInt);
  for (int i = 0; i < 7000; ++i) {
    const auto bits = static_cast<std::int64_t>(random() >> (random() % 40));
    values.push_back(i % 2 == 0 ? bits : -1 - bits);
    series.push(Number::integer(values.back()));
  }
  Tally tally;
  for (int i = 0; i < 200; ++i) {
    const Range range = series.window(random() % 3000 + 1, 7000 - random() % 500);
    const std::vector<std::int64_t> part(values.begin() + static_cast<std::ptrdiff_t>(range.begin),
                                         values.begin() + static_cast<std::ptrdiff_t>(range.end));
    const auto matches = [](const Number& a, const Number& b) {
      return a.high == b.high && a.low == b.low && a.kind == NumberKind::kInt;
    };
    Number got;
    const Number sum = exact_integer_sum(part);
    tally.expect(series.sum(range, &got) == Read::kOk && matches(got, sum), "sum ", got.high, " + ", got.low);
    const Number least = Number::integer(*std::min_element(part.begin(), part.end()));
    tally.expect(series.minimum(range, &got) == Read::kOk && matches(got, least), "minimum ", got.high);
    const Number most = Number::integer(*std::max_element(part.begin(), part.end()));
    tally.expect(series.maximum(range, &got) == Read::kOk && matches(got, most), "maximum ", got.high);
    tally.expect(series.at(range.begin, &got) == Read::kOk && matches(got, Number::integer(part[0])), "at ",
                 range.begin);
  }
  tally.check();
}

TEST_CASE("test_minimum_tells_wide_integers_apart_when_they_round_to_the_same_double") {
  Series series(10, NumberKind::kInt, NumberKind::kInt);
  for (const std::int64_t each : {1, 0, -1, 2}) series.push(Number::integer((std::int64_t{1} << 60) + each));
  Number out;
  REQUIRE(series.minimum({0, 4}, &out) == Read::kOk);
  CHECK(out.high == 0x1p60);
  CHECK(out.low == -1.0);
  REQUIRE(series.maximum({0, 4}, &out) == Read::kOk);
  CHECK(out.high == 0x1p60);
  CHECK(out.low == 2.0);
  REQUIRE(series.sum({0, 4}, &out) == Read::kOk);
  CHECK(out.high == 0x1p62);
  CHECK(out.low == 2.0);
}

TEST_CASE("test_wide_integers_make_way_for_floats_when_both_were_pushed") {
  Series series(10, NumberKind::kInt, NumberKind::kInt);
  series.push(Number::integer((std::int64_t{1} << 53) + 1));
  series.push(Number::real(0.5));
  Number out;
  REQUIRE(series.minimum({0, 2}, &out) == Read::kOk);
  CHECK(out.high == 0.5);
  CHECK(out.kind == NumberKind::kFloat);
  REQUIRE(series.maximum({0, 2}, &out) == Read::kOk);
  CHECK(out.high == 0x1p53);
  CHECK(out.kind == NumberKind::kFloat);
  REQUIRE(series.sum({0, 2}, &out) == Read::kOk);
  CHECK(out.kind == NumberKind::kFloat);
  series.push(Number::real(kNotANumber));
  series.push(Number::real(7.0));
  REQUIRE(series.minimum({0, 4}, &out) == Read::kOk);
  CHECK(std::isnan(out.high));
  REQUIRE(series.maximum({0, 4}, &out) == Read::kOk);
  CHECK(std::isnan(out.high));
  REQUIRE(series.sum({0, 4}, &out) == Read::kOk);
  CHECK(std::isnan(out.high));
  series.push(Number::real(kInfinity));
  REQUIRE(series.sum({0, 2}, &out) == Read::kOk);
  CHECK(out.high == 0x1p53 + 2.0);  // 2^53 + 1.5, rounded: within an ulp, and the same as ever
  REQUIRE(series.sum({3, 5}, &out) == Read::kOk);
  CHECK(out.high == kInfinity);
}

TEST_CASE("test_sum_of_integers_is_exact_when_it_grows_beyond_two_to_the_53") {
  Series series(3000, NumberKind::kInt, NumberKind::kInt);
  const std::int64_t large = (std::int64_t{1} << 53) - 1;
  for (int i = 0; i < 2001; ++i) series.push(Number::integer(i % 2 == 0 ? large : large - 2));
  Number out;
  REQUIRE(series.sum({0, 2001}, &out) == Read::kOk);
  // 2001 * (2^53 - 1) - 2000
  CHECK(out.high == 18023405708736720896.0);
  CHECK(out.low == 95.0);
  CHECK(out.kind == NumberKind::kInt);
}

TEST_CASE("test_statistics_of_a_range_stay_the_same_when_a_float_is_pushed_after_it") {
  Series series(10, NumberKind::kInt, NumberKind::kInt);
  for (int i = 0; i < 3; ++i) series.push(Number::integer((std::int64_t{1} << 53) + 1));
  Number before;
  REQUIRE(series.sum({0, 3}, &before) == Read::kOk);
  CHECK(before.high == 27021597764222980.0);  // 3 * 2^53 + 3, rounded
  series.push(Number::real(0.5));
  Number after;
  REQUIRE(series.sum({0, 3}, &after) == Read::kOk);
  CHECK(after.high == before.high);  // invariant 3 of Series: a range's statistics depend on the range alone
}

// ---- pending ----

TEST_CASE("test_statistics_are_pending_when_one_value_has_not_landed") {
  Series series(5000, NumberKind::kFloat, NumberKind::kInt);
  for (int i = 0; i < 1000; ++i) series.push(Number::real(1.0));
  const Position at = series.push_pending(NumberKind::kFloat, Number::integer(std::int64_t{3}));
  for (int i = 0; i < 2000; ++i) series.push(Number::real(1.0));
  const Range over{0, 3001};
  Number number;
  double value = 0.0;
  CHECK(series.at(at, &number) == Read::kPending);
  CHECK(series.sum(over, &number) == Read::kPending);
  CHECK(series.minimum(over, &number) == Read::kPending);
  CHECK(series.maximum(over, &number) == Read::kPending);
  CHECK(series.mean(over, &value) == Read::kPending);
  CHECK(series.count(over, &value) == Read::kPending);
  CHECK(series.std(over, &value) == Read::kPending);
  CHECK(series.median(over, &value) == Read::kPending);
  CHECK(series.quantile(over, 0.9, &value) == Read::kPending);
  CHECK(series.ema(over, 0.9999, &value) == Read::kPending);

  // Either side of it is there.
  REQUIRE(series.sum({0, at}, &number) == Read::kOk);
  CHECK(number.high == 1000.0);
  REQUIRE(series.sum({at + 1, 3001}, &number) == Read::kOk);
  CHECK(number.high == 2000.0);

  series.land(at, Number::real(41.0));
  REQUIRE(series.sum(over, &number) == Read::kOk);
  CHECK(number.high == 3041.0);
  REQUIRE(series.maximum(over, &number) == Read::kOk);
  CHECK(number.high == 41.0);
  REQUIRE(series.count(over, &value) == Read::kOk);
  CHECK(value == 3003.0);
  REQUIRE(series.at(at, &number) == Read::kOk);
  CHECK(number.high == 41.0);
}

TEST_CASE("test_statistics_match_the_oracle_when_values_landed_late_and_out_of_order") {
  std::mt19937_64 random(27);
  Recorded recorded(4000);
  std::vector<Position> waiting;
  Tally tally;
  const auto land_one = [&] {
    std::swap(waiting[random() % waiting.size()], waiting.back());
    recorded.series.land(waiting.back(), Number::real(recorded.values[waiting.back()]));
    waiting.pop_back();
  };
  for (int i = 0; i < 12'000; ++i) {
    if (random() % 4 == 0) {
      waiting.push_back(recorded.series.push_pending(NumberKind::kFloat, kOne));
      recorded.values.push_back(wild(&random));
      recorded.counts.push_back(1.0);
    } else {
      recorded.push(wild(&random));
    }
    if (waiting.size() > 40) land_one();
    if (i % 500 != 0) continue;
    while (!waiting.empty()) land_one();
    expect_oracle(recorded, recorded.series.window(4000, recorded.series.position()), &tally);
  }
  tally.check();
}

// ---- overtaken ----

TEST_CASE("test_statistics_are_overtaken_when_the_range_has_left") {
  Recorded recorded(100);
  for (int i = 0; i < 10'000; ++i) recorded.push(1.0, 2.0);
  Number number;
  double value = 0.0;
  for (const Range range : {Range{5, 105}, Range{0, 1}, Range{5, 9999}}) {
    CAPTURE(range.begin);
    CHECK(recorded.series.sum(range, &number) == Read::kOvertaken);
    CHECK(recorded.series.mean(range, &value) == Read::kOvertaken);
    CHECK(recorded.series.count(range, &value) == Read::kOvertaken);
    CHECK(recorded.series.minimum(range, &number) == Read::kOvertaken);
    CHECK(recorded.series.maximum(range, &number) == Read::kOvertaken);
    CHECK(recorded.series.std(range, &value) == Read::kOvertaken);
    CHECK(recorded.series.median(range, &value) == Read::kOvertaken);
    CHECK(recorded.series.quantile(range, 0.1, &value) == Read::kOvertaken);
  }
  CHECK(recorded.series.at(5, &number) == Read::kOvertaken);
  CHECK(recorded.series.ema({5, 105}, 0.5, &value) == Read::kOvertaken);
}

// ---- order statistics ----

TEST_CASE("test_quantile_interpolates_when_it_falls_between_two_values") {
  Recorded recorded(10);
  for (const double value : {4.0, 1.0, 3.0, 2.0}) recorded.push(value);
  double out = 0.0;
  struct Case {
    double q;
    double expected;  // numpy.quantile([1, 2, 3, 4], q)
  };
  for (const Case& each :
       {Case{0.0, 1.0}, Case{0.25, 1.75}, Case{0.5, 2.5}, Case{0.9, 3.7}, Case{1.0, 4.0}}) {
    REQUIRE(recorded.series.quantile({0, 4}, each.q, &out) == Read::kOk);
    CHECK(ulps_apart(out, each.expected) <= 1);
  }
  REQUIRE(recorded.series.median({0, 4}, &out) == Read::kOk);
  CHECK(out == 2.5);
  REQUIRE(recorded.series.median({0, 3}, &out) == Read::kOk);
  CHECK(out == 3.0);
  REQUIRE(recorded.series.median({2, 3}, &out) == Read::kOk);
  CHECK(out == 3.0);
}

TEST_CASE("test_order_statistics_match_sorting_when_the_range_is_of_any_size") {
  std::mt19937_64 random(28);
  Recorded recorded(70'000);
  for (std::size_t i = 0; i < 70'000; ++i) recorded.push(wild(&random));
  Tally tally;
  for (const std::uint64_t size : {1U, 2U, 3U, 100U, 129U, 32'767U, 32'768U, 32'769U, 70'000U}) {
    expect_order_statistics(recorded, recorded.series.window(size, 70'000), &tally);
  }
  tally.check();
}

TEST_CASE("test_order_statistics_match_sorting_when_a_long_range_is_unfriendly") {
  constexpr std::size_t kN = 40'001;
  std::mt19937_64 random(29);
  // Where Series::select() looks for its sample, so that the sample can be made to lie.
  std::vector<bool> sampled(kN);
  std::uint64_t state = 0x9E3779B97F4A7C15;
  for (int i = 0; i < 2048; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    sampled[(state >> 33) % kN] = true;
  }
  const std::function<double(std::size_t)> shapes[] = {
      [](std::size_t i) { return static_cast<double>(i); },
      [](std::size_t i) { return -static_cast<double>(i); },
      [](std::size_t) { return 0.7; },
      [](std::size_t i) { return i == 20'000 ? 1.0 : 0.0; },
      [&](std::size_t) { return random() % 2 == 0 ? -1.0 : 1.0; },
      [](std::size_t i) { return static_cast<double>(i % 11); },
      [](std::size_t i) { return static_cast<double>(i < kN / 2 ? i : kN - i); },
      [&](std::size_t i) {
        return i % 100 == 0 ? kInfinity : (i % 100 == 1 ? -kInfinity : uniform(&random));
      },
      [&](std::size_t i) { return sampled[i] ? 1e9 : uniform(&random); },
      [&](std::size_t i) { return sampled[i] ? -1e9 : uniform(&random); },
      [&](std::size_t i) { return sampled[i] ? 0.5 : uniform(&random); },
  };
  for (const auto& shape : shapes) {
    Recorded recorded(kN);
    for (std::size_t i = 0; i < kN; ++i) recorded.push(shape(i));
    Tally tally;
    expect_order_statistics(recorded, {0, kN}, &tally);
    tally.check();
  }
}

TEST_CASE("test_order_statistics_are_nan_when_a_long_range_has_one_nan") {
  Recorded recorded(40'001);
  for (int i = 0; i < 40'001; ++i) recorded.push(i == 12'345 ? kNotANumber : static_cast<double>(i));
  double out = 0.0;
  REQUIRE(recorded.series.median({0, 40'001}, &out) == Read::kOk);
  CHECK(std::isnan(out));
  REQUIRE(recorded.series.quantile({0, 40'001}, 0.99, &out) == Read::kOk);
  CHECK(std::isnan(out));
  REQUIRE(recorded.series.median({12'346, 40'001}, &out) == Read::kOk);
  CHECK(out == 26'173.0);
}

// ---- ema ----

TEST_CASE("test_ema_weighs_the_newest_most_when_smoothed") {
  Recorded recorded(10);
  for (const double value : {1.0, 2.0, 4.0}) recorded.push(value);
  double out = 0.0;
  REQUIRE(recorded.series.ema({0, 3}, 0.5, &out) == Read::kOk);
  CHECK(ulps_apart(out, 3.0) <= 1);  // (4 + 2 / 2 + 1 / 4) / (1 + 1 / 2 + 1 / 4)
  REQUIRE(recorded.series.ema({0, 3}, 0.0, &out) == Read::kOk);
  CHECK(out == 4.0);
}

TEST_CASE("test_ema_matches_the_oracle_when_the_range_is_long") {
  std::mt19937_64 random(30);
  Recorded recorded(10'000);
  for (int i = 0; i < 10'000; ++i) recorded.push(uniform(&random) + 0.5);
  Tally tally;
  for (const double smoothing :
       {0.0, 1e-300, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999999, std::nextafter(1.0, 0.0)}) {
    for (const std::uint64_t size : {1U, 2U, 59U, 60U, 61U, 1000U, 10'000U}) {
      const Range range = recorded.series.window(size, 10'000);
      double out = 0.0;
      tally.expect(recorded.series.ema(range, smoothing, &out) == Read::kOk, "ema");
      const double expected = ema_of(recorded.values_in(range), smoothing);
      tally.expect(std::fabs(out - expected) <= 1e-12, "ema ", smoothing, " of ", size, ": ", out, ", not ",
                   expected);
    }
  }
  tally.check();
}

TEST_CASE("test_ema_forgets_a_nan_when_its_weight_is_below_two_to_the_minus_60") {
  Recorded recorded(1000);
  for (int i = 0; i < 40; ++i) recorded.push(7.0);
  recorded.push(kNotANumber);
  for (int i = 0; i < 59; ++i) recorded.push(2.0);
  double out = 0.0;
  REQUIRE(recorded.series.ema({40, 100}, 0.5, &out) == Read::kOk);
  CHECK(std::isnan(out));
  REQUIRE(recorded.series.ema({0, 100}, 0.5, &out) == Read::kOk);
  CHECK(std::isnan(out));
  recorded.push(2.0);
  recorded.push(2.0);
  REQUIRE(recorded.series.ema({0, 102}, 0.5, &out) == Read::kOk);
  CHECK(ulps_apart(out, 2.0) <= 1);
}

// ---- what is left to look at ----

TEST_CASE("test_unsummarised_counts_new_entries_when_the_rest_was_asked_about") {
  Recorded recorded(10'000);
  for (int i = 0; i < 5000; ++i) recorded.push(1.0);
  CHECK(recorded.series.unsummarised({0, 5000}) == 5000);
  Number sum;
  REQUIRE(recorded.series.sum({0, 5000}, &sum) == Read::kOk);
  CHECK(recorded.series.unsummarised({0, 5000}) == 0);
  for (int i = 0; i < 700; ++i) recorded.push(1.0);
  CHECK(recorded.series.unsummarised({0, 5700}) == 700);
  CHECK(recorded.series.unsummarised({5500, 5700}) == 200);
}

TEST_CASE("test_unsummarised_counts_new_entries_when_first_asked_after_the_ring_was_full") {
  Recorded recorded(1000);
  for (int i = 0; i < 5000; ++i) recorded.push(1.0);
  Number sum;
  REQUIRE(recorded.series.sum({4000, 5000}, &sum) == Read::kOk);
  CHECK(recorded.series.unsummarised({4000, 5000}) < 256);
}

// ---- memory ----

TEST_CASE("test_push_changes_nothing_when_there_is_no_memory") {
  Series series(100'000, NumberKind::kInt, NumberKind::kInt);
  for (int i = 0; i < 1024; ++i) series.push(Number::integer(std::int64_t{i}));
  bool thrown = false;
  {
    const MemoryRunsOut now;
    try {
      series.push(Number::real(0.5), Number::real(0.5));
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
  }
  CHECK(thrown);
  CHECK(series.position() == 1024);
  CHECK(series.kind() == NumberKind::kInt);
  CHECK(series.count_kind() == NumberKind::kInt);
}
