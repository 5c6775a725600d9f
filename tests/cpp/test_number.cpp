#include <doctest/doctest.h>

#include <cstdint>
#include <random>

#include "core/number.h"
#include "fixed_point_sum.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::FixedPointSum;
using ringmeter::tests::Tally;

namespace {

// Whether high + low is upper * 2^32 + lower, without rounding.
bool is_exactly(const Number& number, double upper, std::uint32_t lower) {
  FixedPointSum rest;
  rest.add(number.high);
  rest.add(number.low);
  rest.subtract(upper * 4294967296.0);
  rest.subtract(static_cast<double>(lower));
  return rest.is_zero();
}

bool is_exactly(const Number& number, std::int64_t value) {
  const auto lower = static_cast<std::uint32_t>(value & 0xFFFFFFFF);
  return is_exactly(number, static_cast<double>(value >> 32), lower);
}

bool is_exactly(const Number& number, std::uint64_t value) {
  return is_exactly(number, static_cast<double>(value >> 32), static_cast<std::uint32_t>(value));
}

struct Split {
  std::int64_t value;
  double high;
  double low;
};

struct UnsignedSplit {
  std::uint64_t value;
  double high;
  double low;
};

}  // namespace

TEST_CASE("test_promote_gives_the_larger_kind_when_two_meet") {
  const NumberKind kinds[] = {NumberKind::kBool, NumberKind::kInt, NumberKind::kFloat};
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) CHECK(promote(kinds[a], kinds[b]) == kinds[a > b ? a : b]);
  }
}

TEST_CASE("test_number_keeps_kind_and_value_when_made_from_a_float_or_a_bool") {
  CHECK(Number::real(-0.25).high == -0.25);
  CHECK(Number::real(-0.25).low == 0.0);
  CHECK(Number::real(-0.25).kind == NumberKind::kFloat);
  CHECK(Number::boolean(true).high == 1.0);
  CHECK(Number::boolean(true).kind == NumberKind::kBool);
  CHECK(Number::boolean(false).high == 0.0);
  CHECK(Number::boolean(false).low == 0.0);
}

TEST_CASE("test_integer_splits_into_high_and_low_when_signed") {
  const Split cases[] = {
      {0, 0.0, 0.0},
      {-1, -1.0, 0.0},
      {9007199254740992, 9007199254740992.0, 0.0},   // 2^53
      {9007199254740993, 9007199254740992.0, 1.0},   // a tie, to even
      {9007199254740995, 9007199254740996.0, -1.0},  // a tie, to even, upwards
      {-9007199254740993, -9007199254740992.0, -1.0},
      {-9007199254740995, -9007199254740996.0, 1.0},
      {INT64_MAX, 9223372036854775808.0, -1.0},
      {INT64_MAX - 511, 9223372036854775808.0, -512.0},  // a tie, to even, which is 2^63
      {INT64_MAX - 512, 9223372036854774784.0, 511.0},
      {INT64_MIN, -9223372036854775808.0, 0.0},
      {INT64_MIN + 1, -9223372036854775808.0, 1.0},
  };
  for (const Split& each : cases) {
    CAPTURE(each.value);
    const Number number = Number::integer(each.value);
    CHECK(number.high == each.high);
    CHECK(number.low == each.low);
    CHECK(number.kind == NumberKind::kInt);
  }
}

TEST_CASE("test_integer_splits_into_high_and_low_when_unsigned") {
  const UnsignedSplit cases[] = {
      {0U, 0.0, 0.0},
      {9007199254740993U, 9007199254740992.0, 1.0},
      {9223372036854775807U, 9223372036854775808.0, -1.0},
      {9223372036854775808U, 9223372036854775808.0, 0.0},  // 2^63
      {9223372036854775809U, 9223372036854775808.0, 1.0},
      {9223372036854776832U, 9223372036854775808.0, 1024.0},  // a tie, to even
      {9223372036854776833U, 9223372036854777856.0, -1023.0},
      {UINT64_MAX, 18446744073709551616.0, -1.0},
      {UINT64_MAX - 1023U, 18446744073709551616.0, -1024.0},  // a tie, to even, which is 2^64
      {UINT64_MAX - 1024U, 18446744073709549568.0, 1023.0},
  };
  for (const UnsignedSplit& each : cases) {
    CAPTURE(each.value);
    const Number number = Number::integer(each.value);
    CHECK(number.high == each.high);
    CHECK(number.low == each.low);
    CHECK(number.kind == NumberKind::kInt);
  }
}

TEST_CASE("test_integer_is_exact_when_it_has_any_64_bits") {
  std::mt19937_64 random(2);
  Tally tally;
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t bits = random() >> (random() % 64);
    const auto whole = static_cast<std::int64_t>(i % 2 == 0 ? bits : ~bits);
    const Number number = Number::integer(whole);
    tally.expect(is_exactly(number, whole), whole, " became ", number.high, " + ", number.low);
    tally.expect(number.high == static_cast<double>(whole), whole, " is not nearest to ", number.high);
    const Number natural = Number::integer(bits);
    tally.expect(is_exactly(natural, bits), bits, " became ", natural.high, " + ", natural.low);
    tally.expect(natural.high == static_cast<double>(bits), bits, " is not nearest to ", natural.high);
  }
  tally.check();
}
