#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "core/element.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::Tally;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// From an address that no type is aligned to.
template <class T>
Number decoded(ElementType type, T bits) {
  alignas(8) unsigned char memory[sizeof bits + 1];
  std::memcpy(memory + 1, &bits, sizeof bits);
  return decode_element(type, memory + 1);
}

bool is_same(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b && std::signbit(a) == std::signbit(b);
}

// The finite values of a small float format from zero up. Codes count through them in order: the steps
// between them are `smallest` for the first 2 * 2^mantissa_bits codes and double every 2^mantissa_bits after.
std::vector<double> ladder(double smallest, unsigned mantissa_bits, unsigned codes) {
  std::vector<double> values;
  double value = 0.0;
  double step = smallest;
  for (unsigned code = 0; code < codes; ++code) {
    values.push_back(value);
    const unsigned in_binade = 1U << mantissa_bits;
    if (code != 0 && code % in_binade == 0 && code != in_binade) step *= 2.0;
    value += step;
  }
  return values;
}

// All codes of a format: the positive ones as given, then the same negated.
std::vector<double> with_negatives(std::vector<double> positive) {
  std::vector<double> all = positive;
  for (const double value : positive) all.push_back(-value);
  return all;
}

template <class Bits>
void check_all_codes(ElementType type, const std::vector<double>& expected) {
  Tally tally;
  for (std::size_t code = 0; code < expected.size(); ++code) {
    const Number number = decoded(type, static_cast<Bits>(code));
    tally.expect(is_same(number.high, expected[code]), "code ", code, " is ", number.high, ", not ",
                 expected[code]);
    tally.expect(number.low == 0.0 && number.kind == NumberKind::kFloat, "code ", code);
  }
  tally.check();
}

double e4m3fn(unsigned code) {
  return decoded(ElementType::kFloat8E4M3FN, static_cast<std::uint8_t>(code)).high;
}
double e4m3fnuz(unsigned code) {
  return decoded(ElementType::kFloat8E4M3FNUZ, static_cast<std::uint8_t>(code)).high;
}
double e5m2(unsigned code) { return decoded(ElementType::kFloat8E5M2, static_cast<std::uint8_t>(code)).high; }
double e5m2fnuz(unsigned code) {
  return decoded(ElementType::kFloat8E5M2FNUZ, static_cast<std::uint8_t>(code)).high;
}
double e8m0fnu(unsigned code) {
  return decoded(ElementType::kFloat8E8M0FNU, static_cast<std::uint8_t>(code)).high;
}
double half(unsigned code) { return decoded(ElementType::kFloat16, static_cast<std::uint16_t>(code)).high; }
double brain(unsigned code) { return decoded(ElementType::kBFloat16, static_cast<std::uint16_t>(code)).high; }

}  // namespace

TEST_CASE("test_e4m3fn_is_what_the_ocp_specification_tabulates_when_decoded") {
  CHECK(e4m3fn(0x38) == 1.0);
  CHECK(e4m3fn(0x7E) == 448.0);  // the largest
  CHECK(e4m3fn(0xFE) == -448.0);
  CHECK(e4m3fn(0x08) == 0.015625);     // the smallest normal, 2^-6
  CHECK(e4m3fn(0x07) == 0.013671875);  // the largest subnormal, 0.875 * 2^-6
  CHECK(e4m3fn(0x01) == 0.001953125);  // the smallest, 2^-9
  CHECK(std::isnan(e4m3fn(0x7F)));
  CHECK(std::isnan(e4m3fn(0xFF)));
  std::vector<double> positive = ladder(0x1p-9, 3, 127);
  positive.push_back(kNotANumber);
  check_all_codes<std::uint8_t>(ElementType::kFloat8E4M3FN, with_negatives(positive));
}

TEST_CASE("test_e5m2_is_what_the_ocp_specification_tabulates_when_decoded") {
  CHECK(e5m2(0x3C) == 1.0);
  CHECK(e5m2(0x7B) == 57344.0);
  CHECK(e5m2(0x7C) == kInfinity);
  CHECK(e5m2(0xFC) == -kInfinity);
  CHECK(e5m2(0x04) == 0x1p-14);
  CHECK(e5m2(0x01) == 0x1p-16);
  std::vector<double> positive = ladder(0x1p-16, 2, 124);
  positive.insert(positive.end(), {kInfinity, kNotANumber, kNotANumber, kNotANumber});
  check_all_codes<std::uint8_t>(ElementType::kFloat8E5M2, with_negatives(positive));
}

TEST_CASE("test_fnuz_formats_have_one_nan_and_no_negative_zero_when_decoded") {
  CHECK(e4m3fnuz(0x40) == 1.0);
  CHECK(e4m3fnuz(0x7F) == 240.0);
  CHECK(e4m3fnuz(0x01) == 0x1p-10);
  CHECK(std::isnan(e4m3fnuz(0x80)));
  CHECK(e5m2fnuz(0x40) == 1.0);
  CHECK(e5m2fnuz(0x7F) == 57344.0);
  CHECK(e5m2fnuz(0x01) == 0x1p-17);
  CHECK(std::isnan(e5m2fnuz(0x80)));

  std::vector<double> four = with_negatives(ladder(0x1p-10, 3, 128));
  four[0x80] = kNotANumber;
  check_all_codes<std::uint8_t>(ElementType::kFloat8E4M3FNUZ, four);
  std::vector<double> five = with_negatives(ladder(0x1p-17, 2, 128));
  five[0x80] = kNotANumber;
  check_all_codes<std::uint8_t>(ElementType::kFloat8E5M2FNUZ, five);
}

TEST_CASE("test_e8m0fnu_is_a_power_of_two_when_decoded") {
  CHECK(e8m0fnu(127) == 1.0);
  CHECK(e8m0fnu(128) == 2.0);
  CHECK(e8m0fnu(0) == 0x1p-127);
  CHECK(e8m0fnu(254) == 0x1p127);
  std::vector<double> all{0x1p-127};
  while (all.size() < 255) all.push_back(all.back() * 2.0);
  all.push_back(kNotANumber);
  check_all_codes<std::uint8_t>(ElementType::kFloat8E8M0FNU, all);
}

TEST_CASE("test_float16_is_exact_when_decoded") {
  CHECK(half(0x3C00) == 1.0);
  CHECK(half(0x7BFF) == 65504.0);
  CHECK(half(0x0400) == 0x1p-14);
  CHECK(half(0x0001) == 0x1p-24);
  CHECK(half(0x3555) == 0.333251953125);
  CHECK(half(0xC000) == -2.0);
  std::vector<double> positive = ladder(0x1p-24, 10, 0x7C00);
  positive.push_back(kInfinity);
  positive.resize(0x8000, kNotANumber);
  check_all_codes<std::uint16_t>(ElementType::kFloat16, with_negatives(positive));
}

TEST_CASE("test_bfloat16_is_exact_when_decoded") {
  CHECK(brain(0x3F80) == 1.0);
  CHECK(brain(0x4049) == 3.140625);
  CHECK(brain(0x7F7F) == 0x1.FEp127);
  CHECK(brain(0x0001) == 0x1p-133);
  CHECK(brain(0xFF80) == -kInfinity);
  std::vector<double> positive = ladder(0x1p-133, 7, 0x7F80);
  positive.push_back(kInfinity);
  positive.resize(0x8000, kNotANumber);
  check_all_codes<std::uint16_t>(ElementType::kBFloat16, with_negatives(positive));
}

TEST_CASE("test_float32_is_exact_when_decoded") {
  CHECK(decoded(ElementType::kFloat32, std::uint32_t{0x3DCCCCCD}).high == 0.100000001490116119384765625);
  CHECK(decoded(ElementType::kFloat32, std::uint32_t{0x00000001}).high == 0x1p-149);
  CHECK(decoded(ElementType::kFloat32, std::uint32_t{0x7F7FFFFF}).high == 0x1.FFFFFEp127);
  CHECK(decoded(ElementType::kFloat32, std::uint32_t{0xFF800000}).high == -kInfinity);
  CHECK(std::isnan(decoded(ElementType::kFloat32, std::uint32_t{0x7FA00000}).high));  // signalling
  CHECK(is_same(decoded(ElementType::kFloat32, std::uint32_t{0x80000000}).high, -0.0));
  CHECK(decoded(ElementType::kFloat32, std::uint32_t{0x3F800000}).kind == NumberKind::kFloat);
}

TEST_CASE("test_float64_is_the_same_bits_when_decoded") {
  std::mt19937_64 random(3);
  Tally tally;
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t bits = random();
    const Number number = decoded(ElementType::kFloat64, bits);
    std::uint64_t back;
    std::memcpy(&back, &number.high, sizeof back);
    tally.expect(back == bits || std::isnan(number.high), bits, " became ", back);
    tally.expect(number.kind == NumberKind::kFloat, bits);
  }
  tally.check();
}

TEST_CASE("test_narrow_integers_are_exact_when_decoded") {
  Tally tally;
  for (int i = 0; i < 256; ++i) {
    const auto bits = static_cast<std::uint8_t>(i);
    tally.expect(decoded(ElementType::kUInt8, bits).high == i, "uint8 ", i);
    tally.expect(decoded(ElementType::kInt8, bits).high == (i < 128 ? i : i - 256), "int8 ", i);
    const Number truth = decoded(ElementType::kBool, bits);
    tally.expect(truth.high == (i == 0 ? 0.0 : 1.0) && truth.kind == NumberKind::kBool, "bool ", i);
  }
  for (int i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    tally.expect(decoded(ElementType::kUInt16, bits).high == i, "uint16 ", i);
    tally.expect(decoded(ElementType::kInt16, bits).high == (i < 32768 ? i : i - 65536), "int16 ", i);
  }
  tally.check();
  CHECK(decoded(ElementType::kInt32, std::int32_t{INT32_MIN}).high == -2147483648.0);
  CHECK(decoded(ElementType::kInt32, std::int32_t{INT32_MAX}).high == 2147483647.0);
  CHECK(decoded(ElementType::kInt32, std::int32_t{-1}).high == -1.0);
  CHECK(decoded(ElementType::kUInt32, std::uint32_t{UINT32_MAX}).high == 4294967295.0);
  CHECK(decoded(ElementType::kUInt32, std::uint32_t{UINT32_MAX}).kind == NumberKind::kInt);
}

TEST_CASE("test_wide_integers_are_exact_when_decoded") {
  const Number largest = decoded(ElementType::kUInt64, std::uint64_t{UINT64_MAX});
  CHECK(largest.high == 18446744073709551616.0);
  CHECK(largest.low == -1.0);
  CHECK(largest.kind == NumberKind::kInt);
  const Number most = decoded(ElementType::kInt64, std::int64_t{INT64_MAX});
  CHECK(most.high == 9223372036854775808.0);
  CHECK(most.low == -1.0);
  const Number least = decoded(ElementType::kInt64, std::int64_t{INT64_MIN});
  CHECK(least.high == -9223372036854775808.0);
  CHECK(least.low == 0.0);
  const Number odd = decoded(ElementType::kInt64, std::int64_t{-9007199254740993});
  CHECK(odd.high == -9007199254740992.0);
  CHECK(odd.low == -1.0);
}

TEST_CASE("test_element_type_knows_the_real_scalar_types_when_dlpack_names_them") {
  using Name = std::pair<unsigned, unsigned>;  // {DLDataTypeCode, bits}, from the DLPack specification
  const std::map<Name, ElementType> known = {{{0, 8}, ElementType::kInt8},
                                             {{0, 16}, ElementType::kInt16},
                                             {{0, 32}, ElementType::kInt32},
                                             {{0, 64}, ElementType::kInt64},
                                             {{1, 8}, ElementType::kUInt8},
                                             {{1, 16}, ElementType::kUInt16},
                                             {{1, 32}, ElementType::kUInt32},
                                             {{1, 64}, ElementType::kUInt64},
                                             {{2, 16}, ElementType::kFloat16},
                                             {{2, 32}, ElementType::kFloat32},
                                             {{2, 64}, ElementType::kFloat64},
                                             {{4, 16}, ElementType::kBFloat16},
                                             {{6, 8}, ElementType::kBool},
                                             {{10, 8}, ElementType::kFloat8E4M3FN},
                                             {{11, 8}, ElementType::kFloat8E4M3FNUZ},
                                             {{12, 8}, ElementType::kFloat8E5M2},
                                             {{13, 8}, ElementType::kFloat8E5M2FNUZ},
                                             {{14, 8}, ElementType::kFloat8E8M0FNU}};
  Tally tally;
  for (unsigned code = 0; code < 256; ++code) {
    for (unsigned bits = 0; bits < 256; ++bits) {
      const auto place = known.find({code, bits});
      for (const std::uint16_t lanes : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{2}}) {
        ElementType type{};
        const bool found =
            element_type(static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), lanes, &type);
        const bool expected = lanes == 1 && place != known.end();
        tally.expect(found == expected && (!found || type == place->second), "code ", code, ", bits ", bits,
                     ", lanes ", lanes);
      }
    }
  }
  tally.check();
}
