#include "core/element.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace ringmeter {

namespace {

template <class T>
T read(const void* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// How a small float format uses its largest exponent and its negative zero.
enum class Specials {
  kIeee,  // infinities and NaNs
  kFn,    // finite, but for NaN with all bits set
  kFnuz,  // finite, no negative zero: its pattern is the only NaN
};

// Sign, `exponent_bits`, `mantissa_bits`. IEEE 754-2008 for float16, the OCP 8-bit formats (2023), and the
// "fnuz" ones of Noune et al., "8-bit numerical formats for deep neural networks" (2022).
double small_float(unsigned bits, int exponent_bits, int mantissa_bits, int bias, Specials specials) {
  const unsigned mantissa_mask = (1U << mantissa_bits) - 1;
  const unsigned exponent_mask = (1U << exponent_bits) - 1;
  const unsigned mantissa = bits & mantissa_mask;
  const unsigned exponent = (bits >> mantissa_bits) & exponent_mask;
  const bool negative = ((bits >> (mantissa_bits + exponent_bits)) & 1U) != 0;
  const double sign = negative ? -1.0 : 1.0;
  const double nan = std::numeric_limits<double>::quiet_NaN();

  if (specials == Specials::kFnuz && negative && exponent == 0 && mantissa == 0) return nan;
  if (specials == Specials::kFn && exponent == exponent_mask && mantissa == mantissa_mask) return nan;
  if (specials == Specials::kIeee && exponent == exponent_mask) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : nan;
  }
  const bool subnormal = exponent == 0;
  const double significand = static_cast<double>(subnormal ? mantissa : mantissa + mantissa_mask + 1);
  const int power = (subnormal ? 1 : static_cast<int>(exponent)) - bias - mantissa_bits;
  return sign * std::ldexp(significand, power);
}

double bfloat16(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  return static_cast<double>(read<float>(&wide));
}

double power_of_two(std::uint8_t bits) {  // e8m0fnu of the OCP microscaling formats (2023)
  return bits == 0xFF ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, bits - 127);
}

template <class T>
Number integer(const void* data) {
  return Number::integer(static_cast<std::int64_t>(read<T>(data)));
}

}  // namespace

bool element_type(std::uint8_t code, std::uint8_t bits, std::uint16_t lanes, ElementType* out) {
  if (lanes != 1) return false;
  switch ((static_cast<unsigned>(code) << 8) | bits) {  // DLDataTypeCode, then bits
    case 0x0008: *out = ElementType::kInt8; return true;
    case 0x0010: *out = ElementType::kInt16; return true;
    case 0x0020: *out = ElementType::kInt32; return true;
    case 0x0040: *out = ElementType::kInt64; return true;
    case 0x0108: *out = ElementType::kUInt8; return true;
    case 0x0110: *out = ElementType::kUInt16; return true;
    case 0x0120: *out = ElementType::kUInt32; return true;
    case 0x0140: *out = ElementType::kUInt64; return true;
    case 0x0210: *out = ElementType::kFloat16; return true;
    case 0x0220: *out = ElementType::kFloat32; return true;
    case 0x0240: *out = ElementType::kFloat64; return true;
    case 0x0410: *out = ElementType::kBFloat16; return true;
    case 0x0608: *out = ElementType::kBool; return true;
    case 0x0A08: *out = ElementType::kFloat8E4M3FN; return true;
    case 0x0B08: *out = ElementType::kFloat8E4M3FNUZ; return true;
    case 0x0C08: *out = ElementType::kFloat8E5M2; return true;
    case 0x0D08: *out = ElementType::kFloat8E5M2FNUZ; return true;
    case 0x0E08: *out = ElementType::kFloat8E8M0FNU; return true;
    default: return false;
  }
}

NumberKind element_kind(ElementType type) {
  if (type == ElementType::kBool) return NumberKind::kBool;
  return type < ElementType::kFloat16 ? NumberKind::kInt : NumberKind::kFloat;
}

std::uint32_t element_size(ElementType type) {
  switch (type) {
    case ElementType::kInt16:
    case ElementType::kUInt16:
    case ElementType::kFloat16:
    case ElementType::kBFloat16: return 2;
    case ElementType::kInt32:
    case ElementType::kUInt32:
    case ElementType::kFloat32: return 4;
    case ElementType::kInt64:
    case ElementType::kUInt64:
    case ElementType::kFloat64: return 8;
    case ElementType::kBool:
    case ElementType::kInt8:
    case ElementType::kUInt8:
    case ElementType::kFloat8E4M3FN:
    case ElementType::kFloat8E4M3FNUZ:
    case ElementType::kFloat8E5M2:
    case ElementType::kFloat8E5M2FNUZ:
    case ElementType::kFloat8E8M0FNU: break;
  }
  return 1;
}

Number decode_element(ElementType type, const void* data) {
  switch (type) {
    case ElementType::kBool: return Number::boolean(read<std::uint8_t>(data) != 0);
    case ElementType::kInt8: return integer<std::int8_t>(data);
    case ElementType::kInt16: return integer<std::int16_t>(data);
    case ElementType::kInt32: return integer<std::int32_t>(data);
    case ElementType::kInt64: return integer<std::int64_t>(data);
    case ElementType::kUInt8: return integer<std::uint8_t>(data);
    case ElementType::kUInt16: return integer<std::uint16_t>(data);
    case ElementType::kUInt32: return integer<std::uint32_t>(data);
    case ElementType::kUInt64: return Number::integer(read<std::uint64_t>(data));
    case ElementType::kFloat32: return Number::real(static_cast<double>(read<float>(data)));
    case ElementType::kFloat64: return Number::real(read<double>(data));
    case ElementType::kBFloat16: return Number::real(bfloat16(read<std::uint16_t>(data)));
    case ElementType::kFloat16:
      return Number::real(small_float(read<std::uint16_t>(data), 5, 10, 15, Specials::kIeee));
    case ElementType::kFloat8E4M3FN:
      return Number::real(small_float(read<std::uint8_t>(data), 4, 3, 7, Specials::kFn));
    case ElementType::kFloat8E4M3FNUZ:
      return Number::real(small_float(read<std::uint8_t>(data), 4, 3, 8, Specials::kFnuz));
    case ElementType::kFloat8E5M2:
      return Number::real(small_float(read<std::uint8_t>(data), 5, 2, 15, Specials::kIeee));
    case ElementType::kFloat8E5M2FNUZ:
      return Number::real(small_float(read<std::uint8_t>(data), 5, 2, 16, Specials::kFnuz));
    case ElementType::kFloat8E8M0FNU: return Number::real(power_of_two(read<std::uint8_t>(data)));
  }
  return Number::real(std::numeric_limits<double>::quiet_NaN());  // not reached: the switch is complete
}

}  // namespace ringmeter
