#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/compensated_sum.h"
#include "core/summary.h"
#include "fixed_point_sum.h"
#include "statistics_oracle.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::exact_sum;
using ringmeter::tests::std_of;
using ringmeter::tests::Tally;
using ringmeter::tests::ulps_apart;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> normal_values(std::size_t n, double centre, double spread, std::mt19937_64* random) {
  std::vector<double> values(n);
  for (double& value : values) {
    double sum = 0.0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>((*random)() >> 11) * 0x1p-53;
    value = centre + (sum - 6.0) * spread;
  }
  return values;
}

bool is_same(const Summary& a, const Summary& b) {
  // Bit for bit, field by field: a struct of five doubles has no padding.
  return std::memcmp(&a, &b, sizeof a) == 0;
}

void expect_summary_of(const Summary& summary, const std::vector<double>& values, Tally* tally) {
  const auto n = static_cast<double>(values.size());
  const double least = *std::min_element(values.begin(), values.end());
  const double most = *std::max_element(values.begin(), values.end());
  tally->expect(ulps_apart(summary.sum, exact_sum(values)) <= 1, "sum of ", n, ": ", summary.sum);
  tally->expect(summary.minimum == least, "minimum of ", n, ": ", summary.minimum, ", not ", least);
  tally->expect(summary.maximum == most, "maximum of ", n, ": ", summary.maximum, ", not ", most);
  // The mean is off by half an ulp, and shifts each deviation by as much.
  const double slack = std::max(std::fabs(least), std::fabs(most)) * 0x1p-51;
  const double expected = std_of(values);
  const double actual = std::sqrt(summary.squares / n);
  tally->expect(std::fabs(actual - expected) <= expected * 1e-12 + slack, "std of ", n, ": ", actual,
                ", not ", expected);
}

// The values in pieces of those sizes, combined.
Summary in_pieces(const std::vector<double>& values, const std::vector<std::size_t>& sizes) {
  std::vector<Piece> pieces;
  std::size_t at = 0;
  for (const std::size_t size : sizes) {
    pieces.push_back({summarise(values.data() + at, size), static_cast<double>(size)});
    at += size;
  }
  return combine(pieces.data(), pieces.size());
}

Summary numbered(double number) { return {number, number + 0.25, number + 0.5, -number, number * 2.0}; }

}  // namespace

TEST_CASE("test_summarise_gives_the_statistics_of_a_block_when_it_has_any_length") {
  std::mt19937_64 random(10);
  Tally tally;
  for (std::size_t n = 1; n <= 300; ++n) {
    for (const double centre : {0.0, -3.0, 1e9, 1e-9}) {
      const std::vector<double> values = normal_values(n, centre, 1.0, &random);
      expect_summary_of(summarise(values.data(), n), values, &tally);
    }
  }
  tally.check();
}

TEST_CASE("test_summarise_finds_the_extremes_when_they_are_anywhere") {
  Tally tally;
  for (std::size_t n = 1; n <= 130; ++n) {
    for (std::size_t place = 0; place < n; ++place) {
      std::vector<double> values(n, 1.0);
      values[place] = -7.0;
      tally.expect(summarise(values.data(), n).minimum == -7.0, "minimum at ", place, " of ", n);
      values[place] = 9.0;
      tally.expect(summarise_range(values.data(), n).maximum == 9.0, "maximum at ", place, " of ", n);
      tally.expect(summarise(values.data(), n).sum == static_cast<double>(n) + 8.0, "sum of ", n);
    }
  }
  tally.check();
}

TEST_CASE("test_summarise_keeps_the_lost_part_of_the_sum_when_values_cancel") {
  std::vector<double> values(128, 1.0);
  values[3] = 1e17;
  values[77] = -1e17;
  const Summary summary = summarise(values.data(), values.size());
  CHECK(summary.sum == 126.0);
  values[77] = 0.0;
  const Summary large = summarise(values.data(), values.size());
  CHECK(large.sum == 1e17 + 126.0);
  CHECK(large.sum_low == 126.0 - ((1e17 + 126.0) - 1e17));
}

TEST_CASE("test_summarise_range_is_summarise_without_squares_when_values_are_the_same") {
  std::mt19937_64 random(11);
  Tally tally;
  for (std::size_t n = 1; n <= 200; ++n) {
    const std::vector<double> values = normal_values(n, 5.0, 100.0, &random);
    Summary full = summarise(values.data(), n);
    full.squares = 0.0;
    tally.expect(is_same(full, summarise_range(values.data(), n)), n, " values");
  }
  tally.check();
}

TEST_CASE("test_summarise_is_nan_throughout_when_a_value_is_a_nan") {
  Tally tally;
  for (std::size_t n = 1; n <= 130; ++n) {
    for (std::size_t place = 0; place < n; ++place) {
      std::vector<double> values(n, 2.0);
      values[place] = std::nan("");
      values[(place + n / 2) % n] += kInfinity;
      const Summary summary = summarise(values.data(), n);
      tally.expect(std::isnan(summary.sum) && std::isnan(summary.squares) && std::isnan(summary.minimum) &&
                       std::isnan(summary.maximum),
                   "a NaN at ", place, " of ", n);
    }
  }
  tally.check();
}

TEST_CASE("test_summarise_gives_the_same_bits_whatever_the_vectors_of_the_processor") {
  // Sum2 in four chains, without vectors.
  std::mt19937_64 random(12);
  Tally tally;
  for (const std::size_t n : {16U, 20U, 64U, 128U}) {
    for (int round = 0; round < 100; ++round) {
      std::vector<double> values = normal_values(n, 0.0, 1.0, &random);
      for (double& value : values) value = std::ldexp(value, static_cast<int>(random() % 120) - 60);
      double high[4] = {};
      double low[4] = {};
      for (std::size_t i = 0; i < n; ++i) {
        const double total = high[i % 4] + values[i];
        const double part = total - high[i % 4];
        low[i % 4] += (high[i % 4] - (total - part)) + (values[i] - part);
        high[i % 4] = total;
      }
      CompensatedSum sum;
      for (std::size_t lane = 0; lane < 4; ++lane) sum.add(high[lane], low[lane]);
      sum.normalise();
      const double centre = sum.high() / static_cast<double>(n);
      double squares[4] = {};
      for (std::size_t i = 0; i < n; ++i) squares[i % 4] += (values[i] - centre) * (values[i] - centre);
      const auto [least, most] = std::minmax_element(values.begin(), values.end());
      const Summary expected{sum.high(), sum.low(), squares[0] + squares[1] + squares[2] + squares[3], *least,
                             *most};
      tally.expect(is_same(summarise(values.data(), n), expected), "round ", round, " of ", n);
    }
  }
  tally.check();
}

TEST_CASE("test_summarise_has_infinite_squares_when_only_the_sum_overflows") {  // as numpy's std
  const std::vector<double> values(40, 1e308);
  CHECK(summarise(values.data(), 40).squares == kInfinity);
  CHECK(in_pieces(values, {1, 1, 38}).squares == kInfinity);
}

TEST_CASE("test_summarise_follows_ieee_when_a_value_is_infinite") {
  Tally tally;
  for (std::size_t n = 2; n <= 130; ++n) {
    for (std::size_t place = 0; place < n; ++place) {
      std::vector<double> values(n, 2.0);
      values[place] = -kInfinity;
      const Summary one = summarise(values.data(), n);
      tally.expect(
          one.sum == -kInfinity && one.minimum == -kInfinity && one.maximum == 2.0 && std::isnan(one.squares),
          "-inf at ", place, " of ", n);
      values[(place + 1) % n] = kInfinity;
      const Summary both = summarise(values.data(), n);
      tally.expect(std::isnan(both.sum) && both.minimum == -kInfinity && both.maximum == kInfinity,
                   "both infinities at ", place, " of ", n);
    }
  }
  tally.check();
}

TEST_CASE("test_summarise_overflows_to_infinity_when_the_sum_does") {
  const std::vector<double> values(128, 1e307);
  const Summary summary = summarise(values.data(), values.size());
  CHECK(summary.sum == kInfinity);
  CHECK(summary.minimum == 1e307);
  CHECK(summary.maximum == 1e307);
}

TEST_CASE("test_of_ones_is_what_summarise_gives_when_all_counts_are_one") {
  for (const std::size_t n : {1U, 7U, 128U}) {
    const std::vector<double> ones(n, 1.0);
    CHECK(is_same(Summary::of_ones(n), summarise(ones.data(), n)));
  }
}

TEST_CASE("test_combine_gives_the_statistics_of_the_whole_when_pieces_differ_in_size") {
  std::mt19937_64 random(12);
  Tally tally;
  for (const std::vector<std::size_t>& sizes : std::vector<std::vector<std::size_t>>{
           {1}, {1, 1}, {128, 128, 128, 128, 128, 128, 128, 128}, {3, 128, 1024, 17}, {127, 1, 5000}}) {
    std::size_t n = 0;
    for (const std::size_t size : sizes) n += size;
    for (const double centre : {0.0, 42.0, -1e8}) {
      const std::vector<double> values = normal_values(n, centre, 0.5, &random);
      expect_summary_of(in_pieces(values, sizes), values, &tally);
    }
  }
  tally.check();
}

TEST_CASE("test_combine_spreads_a_nan_or_an_infinity_when_one_piece_has_it") {
  std::vector<double> values(256, 1.0);
  values[200] = std::nan("");
  const Summary poisoned = in_pieces(values, {128, 128});
  CHECK(std::isnan(poisoned.sum));
  CHECK(std::isnan(poisoned.squares));
  CHECK(std::isnan(poisoned.minimum));
  CHECK(std::isnan(poisoned.maximum));
  values[200] = kInfinity;
  const Summary infinite = in_pieces(values, {128, 128});
  CHECK(infinite.sum == kInfinity);
  CHECK(infinite.minimum == 1.0);
  CHECK(infinite.maximum == kInfinity);
  CHECK(std::isnan(infinite.squares));
  values[3] = -kInfinity;
  const Summary both = in_pieces(values, {128, 128});
  CHECK(std::isnan(both.sum));
  CHECK(both.minimum == -kInfinity);
  CHECK(both.maximum == kInfinity);
}

TEST_CASE("test_summary_cell_gives_nothing_when_it_holds_nothing_or_another_block") {
  SummaryCell cell;
  Summary out{};
  CHECK_FALSE(cell.load(0, &out));
  cell.store(5, numbered(5.0));
  CHECK_FALSE(cell.load(0, &out));
  CHECK_FALSE(cell.load(4, &out));
  CHECK_FALSE(cell.load(6, &out));
  REQUIRE(cell.load(5, &out));
  CHECK(is_same(out, numbered(5.0)));
}

TEST_CASE("test_summary_cell_holds_block_zero_when_it_was_stored") {
  SummaryCell cell;
  Summary out{};
  cell.store(0, numbered(0.0));
  REQUIRE(cell.load(0, &out));
  CHECK(is_same(out, numbered(0.0)));
}

TEST_CASE("test_summary_cell_keeps_the_later_block_when_an_earlier_one_comes") {
  SummaryCell cell;
  Summary out{};
  cell.store(8, numbered(8.0));
  cell.store(3, numbered(3.0));
  CHECK_FALSE(cell.load(3, &out));
  REQUIRE(cell.load(8, &out));
  CHECK(is_same(out, numbered(8.0)));
  cell.store(9, numbered(9.0));
  CHECK_FALSE(cell.load(8, &out));
  REQUIRE(cell.load(9, &out));
  CHECK(is_same(out, numbered(9.0)));
}
