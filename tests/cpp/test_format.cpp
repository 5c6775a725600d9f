#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "core/format.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::Tally;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string fixed(double value, int digits) {
  std::string out;
  append_fixed(&out, value, digits);
  return out;
}

std::string scientific(double value, int digits) {
  std::string out;
  append_scientific(&out, value, digits);
  return out;
}

std::string printed(const char* format, int digits, double value) {
  char text[1024];
  const int length = std::snprintf(text, sizeof text, format, digits, value);
  return {text, static_cast<std::size_t>(length)};
}

}  // namespace

// Literals are what CPython 3.11 prints.
TEST_CASE("test_append_fixed_writes_what_python_writes_when_given_a_number") {
  CHECK(fixed(3.14159, 4) == "3.1416");
  CHECK(fixed(0.0, 4) == "0.0000");
  CHECK(fixed(-0.0, 2) == "-0.00");
  CHECK(fixed(-0.001, 2) == "-0.00");
  CHECK(fixed(0.5, 0) == "0");
  CHECK(fixed(1.5, 0) == "2");
  CHECK(fixed(2.5, 0) == "2");
  CHECK(fixed(2.675, 2) == "2.67");
  CHECK(fixed(0.125, 2) == "0.12");
  CHECK(fixed(0.375, 2) == "0.38");
  CHECK(fixed(9.9999, 3) == "10.000");
  CHECK(fixed(1e22, 1) == "10000000000000000000000.0");
  CHECK(fixed(123456789.0, 0) == "123456789");
  CHECK(fixed(5e-324, 4) == "0.0000");
}

TEST_CASE("test_append_scientific_writes_what_python_writes_when_given_a_number") {
  CHECK(scientific(0.0001, 4) == "1.0000e-04");
  CHECK(scientific(0.0, 3) == "0.000e+00");
  CHECK(scientific(-12345.678, 2) == "-1.23e+04");
  CHECK(scientific(9.9999e99, 3) == "1.000e+100");
  CHECK(scientific(1e22, 0) == "1e+22");
  CHECK(scientific(5e-324, 4) == "4.9407e-324");
  CHECK(scientific(1.7976931348623157e308, 4) == "1.7977e+308");
}

TEST_CASE("test_append_repr_writes_what_python_writes_when_given_a_number") {
  const auto repr = [](double value) {
    std::string out;
    append_repr(&out, value);
    return out;
  };
  CHECK(repr(0.0) == "0.0");
  CHECK(repr(-0.0) == "-0.0");
  CHECK(repr(1.0) == "1.0");
  CHECK(repr(-12.5) == "-12.5");
  CHECK(repr(0.1) == "0.1");
  CHECK(repr(1e-4) == "0.0001");
  CHECK(repr(1.25e-4) == "0.000125");
  CHECK(repr(1e-5) == "1e-05");
  CHECK(repr(1.5e-5) == "1.5e-05");
  CHECK(repr(1e15) == "1000000000000000.0");
  CHECK(repr(9007199254740993.0) == "9007199254740992.0");
  CHECK(repr(1e16) == "1e+16");
  CHECK(repr(5e-324) == "5e-324");
  CHECK(repr(-1.7976931348623157e308) == "-1.7976931348623157e+308");
}

TEST_CASE("test_append_writes_words_when_the_value_is_not_finite") {
  CHECK(fixed(std::nan(""), 4) == "nan");
  CHECK(fixed(std::copysign(std::nan(""), -1.0), 4) == "nan");
  CHECK(scientific(std::copysign(std::nan(""), -1.0), 4) == "nan");
  CHECK(fixed(kInfinity, 4) == "inf");
  CHECK(fixed(-kInfinity, 4) == "-inf");
  CHECK(scientific(kInfinity, 0) == "inf");
  CHECK(scientific(-kInfinity, 0) == "-inf");
}

// Literals are str(datetime.timedelta(seconds=...)).
TEST_CASE("test_append_duration_writes_what_timedelta_writes_when_given_seconds") {
  struct Case {
    std::int64_t seconds;
    const char* text;
  };
  for (const Case& each : {Case{0, "0:00:00"}, Case{9, "0:00:09"}, Case{65, "0:01:05"}, Case{3599, "0:59:59"},
                           Case{3600, "1:00:00"}, Case{86'399, "23:59:59"}, Case{86'400, "1 day, 0:00:00"},
                           Case{172'799, "1 day, 23:59:59"}, Case{183'845, "2 days, 3:04:05"},
                           Case{-1, "-1 day, 23:59:59"}, Case{-86'400, "-1 day, 0:00:00"},
                           Case{-86'401, "-2 days, 23:59:59"}, Case{86'400'000, "1000 days, 0:00:00"}}) {
    std::string out;
    append_duration(&out, each.seconds);
    CHECK(out == each.text);
  }
}

TEST_CASE("test_append_leaves_what_is_there_when_the_string_is_not_empty") {
  std::string line = "loss: ";
  append_fixed(&line, 1.5, 4);
  line += "  lr: ";
  append_scientific(&line, 0.001, 4);
  append_fixed(&line, std::nan(""), 1);
  CHECK(line == "loss: 1.5000  lr: 1.0000e-03nan");
}

TEST_CASE("test_append_fixed_writes_what_printf_writes_when_a_number_is_near_half_way") {
  // Multiples of half a unit in the last digit, exact where a double holds them, and their neighbours.
  std::mt19937_64 random(31);
  Tally tally;
  for (int i = 0; i < 200'000; ++i) {
    const int digits = static_cast<int>(random() % 8);
    const auto halves = static_cast<double>(random() >> (11 + random() % 53));
    double value = halves / (2.0 * std::pow(10.0, digits));
    if (i % 2 == 0) value = halves * std::ldexp(1.0, -static_cast<int>(random() % 12));
    for (int step = static_cast<int>(random() % 3); step > 0; --step) {
      value = std::nextafter(value, i % 3 == 0 ? 0.0 : kInfinity);
    }
    if (i % 5 == 0) value = -value;
    const std::string expected = printed("%.*f", digits, value);
    tally.expect(fixed(value, digits) == expected, fixed(value, digits), ", not ", expected);
  }
  tally.check();
}

TEST_CASE("test_append_fits_when_the_number_is_as_long_as_it_can_be") {
  const double largest = -std::numeric_limits<double>::max();
  CHECK(fixed(largest, 0).size() == 310);
  CHECK(fixed(largest, 400).size() == 711);
  CHECK(fixed(largest, 400) == printed("%.*f", 400, largest));
  const double smallest = -std::numeric_limits<double>::denorm_min();
  CHECK(fixed(smallest, 1000) == printed("%.*f", 1000, smallest));
  CHECK(scientific(smallest, 900) == printed("%.*e", 900, smallest));
}

TEST_CASE("test_append_writes_what_printf_writes_when_given_any_finite_double") {
  std::mt19937_64 random(6);
  Tally tally;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    if (i % 2 == 0) value = std::ldexp(static_cast<double>(bits >> 40), -12);  // many ties among these
    if (!std::isfinite(value)) continue;
    const int digits = static_cast<int>(random() % 20);
    tally.expect(fixed(value, digits) == printed("%.*f", digits, value), "%.", digits, "f of ", value, ": ",
                 fixed(value, digits));
    tally.expect(scientific(value, digits) == printed("%.*e", digits, value), "%.", digits, "e of ", value,
                 ": ", scientific(value, digits));
  }
  tally.check();
}
