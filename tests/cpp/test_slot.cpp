#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "core/slot.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::Tally;

TEST_CASE("test_encode_gives_the_ieee_bits_when_the_value_is_a_number") {
  CHECK(encode(0.0) == 0x0000'0000'0000'0000U);
  CHECK(encode(-0.0) == 0x8000'0000'0000'0000U);
  CHECK(encode(1.0) == 0x3FF0'0000'0000'0000U);
  CHECK(encode(-2.5) == 0xC004'0000'0000'0000U);
  CHECK(encode(0.1) == 0x3FB9'9999'9999'999AU);
  CHECK(encode(std::numeric_limits<double>::infinity()) == 0x7FF0'0000'0000'0000U);
  CHECK(encode(-std::numeric_limits<double>::infinity()) == 0xFFF0'0000'0000'0000U);
  CHECK(encode(std::numeric_limits<double>::max()) == 0x7FEF'FFFF'FFFF'FFFFU);
  CHECK(encode(std::numeric_limits<double>::denorm_min()) == 0x0000'0000'0000'0001U);
}

TEST_CASE("test_encode_gives_one_pattern_when_the_value_is_any_nan") {
  const std::uint64_t patterns[] = {0x7FF4'5249'4E47'0000, 0x7FF4'5249'4E47'0001,  // the ring's own marks
                                    0x7FF8'0000'0000'0000, 0xFFF8'0000'0000'0000, 0x7FFC'5249'4E47'0000,
                                    0x7FFC'5249'4E47'0001, 0x7FF0'0000'0000'0001, 0xFFF0'0000'0000'0001,
                                    0x7FFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF};
  for (const std::uint64_t pattern : patterns) {
    CAPTURE(pattern);
    double value;
    std::memcpy(&value, &pattern, sizeof value);
    CHECK(encode(value) == 0x7FF8'0000'0000'0000U);
    CHECK(is_landed(encode(value)));
  }
  CHECK(std::isnan(decode(kNan)));
}

TEST_CASE("test_is_landed_is_false_when_the_bits_are_one_of_the_two_marks_only") {
  CHECK_FALSE(is_landed(0x7FF4'5249'4E47'0000));
  CHECK_FALSE(is_landed(0x7FF4'5249'4E47'0001));
  CHECK_FALSE(is_landed(kEmpty));
  CHECK_FALSE(is_landed(kPending));
  CHECK(kEmpty != kPending);
  for (const SlotBits bits :
       {SlotBits{0}, SlotBits{1}, SlotBits{0x7FF4'5249'4E46'FFFF}, SlotBits{0x7FF4'5249'4E47'0002},
        SlotBits{0xFFF4'5249'4E47'0000}, SlotBits{0x7FF8'0000'0000'0000}, ~SlotBits{0}}) {
    CAPTURE(bits);
    CHECK(is_landed(bits));
  }
}

TEST_CASE("test_decode_gives_the_value_back_when_it_was_encoded") {
  std::mt19937_64 random(1);
  Tally tally;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isnan(value)) continue;
    const double back = decode(encode(value));
    tally.expect(std::memcmp(&back, &value, sizeof value) == 0, value, " came back as ", back);
    tally.expect(is_landed(encode(value)), value, " reads as not landed");
  }
  tally.check();
}
