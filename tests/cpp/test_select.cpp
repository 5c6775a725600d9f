#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "core/select.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::Tally;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double uniform(std::mt19937_64* random) { return static_cast<double>((*random)() >> 11) * 0x1p-53; }

std::vector<double> filled(std::size_t n, const std::function<double(std::size_t)>& value_at) {
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = value_at(i);
  return values;
}

std::vector<double> drawn_from(const std::vector<double>& values, std::size_t n, std::mt19937_64* random) {
  return filled(n, [&](std::size_t) { return values[(*random)() % values.size()]; });
}

void visit_in_pieces(const std::vector<double>& values, Selection* selection) {
  for (std::size_t at = 0; at < values.size(); at += 128) {
    selection->visit(values.data() + at, std::min<std::size_t>(128, values.size() - at));
  }
}

// Whether the selection answers at all; when it does, the answer must be the sorted values' own.
bool select_and_compare(const std::vector<double>& values, const std::vector<double>& sorted,
                        std::vector<double> sample, std::size_t k, Tally* tally) {
  Selection selection(std::move(sample), values.size(), k);
  visit_in_pieces(values, &selection);
  tally->expect(!selection.has_nan(), "no value is a NaN");
  if (!selection.found()) return false;
  const Neighbours two = selection.result();
  const double upper = sorted[std::min(k + 1, sorted.size() - 1)];
  tally->expect(two.lower == sorted[k] && two.upper == upper, "rank ", k, " of ", values.size(), ": ",
                two.lower, " and ", two.upper, ", not ", sorted[k], " and ", upper);
  return true;
}

}  // namespace

TEST_CASE("test_nearest_gives_two_order_statistics_when_values_are_few") {
  const auto of = [](std::vector<double> values, std::size_t k) { return nearest(values, k); };
  CHECK(of({5.0}, 0).lower == 5.0);
  CHECK(of({5.0}, 0).upper == 5.0);
  CHECK(of({3.0, 1.0, 2.0}, 0).lower == 1.0);
  CHECK(of({3.0, 1.0, 2.0}, 0).upper == 2.0);
  CHECK(of({3.0, 1.0, 2.0}, 2).lower == 3.0);
  CHECK(of({3.0, 1.0, 2.0}, 2).upper == 3.0);
  CHECK(of({2.0, 2.0, 1.0, 2.0}, 1).lower == 2.0);
  CHECK(of({2.0, 2.0, 1.0, 2.0}, 1).upper == 2.0);
  CHECK(of({kInfinity, 0.0, -kInfinity}, 0).lower == -kInfinity);
  CHECK(of({kInfinity, 0.0, -kInfinity}, 1).upper == kInfinity);
}

TEST_CASE("test_selection_answers_by_the_sorted_order_when_the_sample_is_honest") {
  constexpr std::size_t kN = 20'000;
  std::mt19937_64 random(7);
  const std::vector<std::vector<double>> data = {
      filled(kN, [&](std::size_t) { return uniform(&random); }),
      filled(kN, [](std::size_t i) { return static_cast<double>(i); }),
      filled(kN, [](std::size_t i) { return -static_cast<double>(i); }),
      filled(kN, [](std::size_t) { return 1.25; }),
      filled(kN, [&](std::size_t) { return random() % 2 == 0 ? 0.0 : 1.0; }),
      filled(kN, [](std::size_t i) { return static_cast<double>(i % 7); }),
      filled(kN,
             [&](std::size_t i) {
               return i % 3 == 0 ? -kInfinity : (i % 3 == 1 ? kInfinity : uniform(&random));
             }),
      filled(kN, [](std::size_t i) { return static_cast<double>(std::min(i, kN - i)); }),
  };
  Tally tally;
  int found = 0;
  int asked = 0;
  for (const std::vector<double>& values : data) {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    for (const std::size_t k :
         {std::size_t{0}, std::size_t{1}, kN / 100, kN / 2 - 1, kN / 2, kN - 2, kN - 1}) {
      ++asked;
      const std::vector<double> sample = drawn_from(values, Selection::kSample, &random);
      found += select_and_compare(values, sorted, sample, k, &tally) ? 1 : 0;
    }
  }
  tally.check();
  CHECK(found >= asked - 2);  // the bracket misses once in some hundred times
}

TEST_CASE("test_selection_says_so_when_the_bracket_misses") {
  const std::vector<double> values = filled(10'000, [](std::size_t i) { return static_cast<double>(i); });
  for (const double far : {-5.0, 20'000.0, 0.0, 4999.0, 5001.0, 9999.0, kInfinity, -kInfinity}) {
    CAPTURE(far);
    Selection selection(std::vector<double>(Selection::kSample, far), values.size(), 5000);
    visit_in_pieces(values, &selection);
    CHECK_FALSE(selection.found());
  }
  // The lower neighbour inside, the upper one outside.
  Selection half(std::vector<double>(Selection::kSample, 5000.0), values.size(), 5000);
  visit_in_pieces(values, &half);
  CHECK_FALSE(half.found());
}

TEST_CASE("test_selection_is_never_wrong_when_the_sample_is_hostile") {
  std::mt19937_64 random(8);
  Tally tally;
  int found = 0;
  int missed = 0;
  for (int i = 0; i < 300; ++i) {
    const std::size_t n = random() % 3000 + 1;
    const double levels = static_cast<double>(random() % 50 + 1);
    const std::vector<double> values =
        filled(n, [&](std::size_t) { return std::floor(uniform(&random) * levels); });
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const double centre = std::floor(uniform(&random) * levels);
    const std::vector<double> sample = filled(random() % Selection::kSample + 1, [&](std::size_t) {
      return centre + std::floor(uniform(&random) * 3.0);
    });
    const bool answered = select_and_compare(values, sorted, sample, random() % n, &tally);
    found += answered ? 1 : 0;
    missed += answered ? 0 : 1;
  }
  tally.check();
  CHECK(found > 10);
  CHECK(missed > 10);
}

TEST_CASE("test_selection_reports_a_nan_when_one_passes_by") {
  std::mt19937_64 random(9);
  std::vector<double> values = filled(5000, [&](std::size_t) { return uniform(&random); });
  values[4321] = std::nan("");
  Selection outside(std::vector<double>(Selection::kSample, 0.5), values.size(), 2500);
  visit_in_pieces(values, &outside);
  CHECK(outside.has_nan());

  std::vector<double> sample = drawn_from(values, Selection::kSample, &random);
  for (std::size_t i = 0; i < sample.size(); i += 2) sample[i] = std::nan("");
  Selection inside(sample, values.size(), 2500);
  visit_in_pieces(values, &inside);
  CHECK(inside.has_nan());
}
