#include "fixed_point_sum.h"

#include <cmath>

namespace ringmeter::tests {

namespace {

constexpr int kSmallest = -1074;
constexpr int kMantissa = 53;
constexpr int kLimbBits = 32;
constexpr std::int64_t kLimb = std::int64_t{1} << kLimbBits;

// Hands what is beyond 32 bits to the next limb; all but the last end up in [0, 2^32).
template <class Limbs>
void carry(Limbs* limbs) {
  for (std::size_t i = 0; i + 1 < limbs->size(); ++i) {
    std::int64_t over = (*limbs)[i] / kLimb;
    if ((*limbs)[i] % kLimb < 0) --over;
    (*limbs)[i] -= over * kLimb;
    (*limbs)[i + 1] += over;
  }
}

template <class Limbs>
bool bit(const Limbs& limbs, int index) {
  if (index < 0) return false;
  const auto place = static_cast<std::size_t>(index);
  return ((limbs[place / kLimbBits] >> (place % kLimbBits)) & 1) != 0;
}

}  // namespace

void FixedPointSum::add(double value) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  auto mantissa = static_cast<std::int64_t>(std::ldexp(std::fabs(fraction), kMantissa));
  int offset = exponent - kMantissa - kSmallest;
  if (offset < 0) {  // a subnormal: its last bits are zeros
    mantissa >>= -offset;
    offset = 0;
  }
  const std::int64_t sign = value < 0.0 ? -1 : 1;
  const auto limb = static_cast<std::size_t>(offset / kLimbBits);
  const int shift = offset % kLimbBits;
  const std::int64_t first = (mantissa % kLimb) << shift;
  // `first` has up to 63 bits, the upper half of the mantissa 21: neither overflows.
  const std::int64_t second = (mantissa / kLimb) << shift;
  limbs_[limb] += sign * (first % kLimb);
  limbs_[limb + 1] += sign * (first / kLimb + second % kLimb);
  limbs_[limb + 2] += sign * (second / kLimb);
}

FixedPointSum::Limbs FixedPointSum::magnitude(bool* negative) const {
  Limbs limbs = limbs_;
  carry(&limbs);
  *negative = limbs.back() < 0;
  if (*negative) {
    for (std::size_t i = 0; i < kLimbs; ++i) limbs[i] = -limbs_[i];
    carry(&limbs);
  }
  return limbs;
}

double FixedPointSum::rounded() const {
  bool negative = false;
  const Limbs limbs = magnitude(&negative);
  int top = static_cast<int>(kLimbs) * kLimbBits - 1;
  while (top >= 0 && !bit(limbs, top)) --top;
  if (top < 0) return 0.0;

  const int last = top < kMantissa ? 0 : top - kMantissa + 1;
  std::int64_t mantissa = 0;
  for (int i = top; i >= last; --i) mantissa = mantissa * 2 + (bit(limbs, i) ? 1 : 0);
  bool beyond_half = false;
  for (int i = last - 2; i >= 0 && !beyond_half; --i) beyond_half = bit(limbs, i);
  if (bit(limbs, last - 1) && (beyond_half || mantissa % 2 != 0)) ++mantissa;
  const double result = std::ldexp(static_cast<double>(mantissa), last + kSmallest);
  return negative ? -result : result;
}

bool FixedPointSum::is_zero() const {
  bool negative = false;
  for (const std::int64_t limb : magnitude(&negative)) {
    if (limb != 0) return false;
  }
  return true;
}

double exact_sum(const std::vector<double>& values) {
  FixedPointSum sum;
  double plain = 0.0;
  bool finite = true;
  for (const double value : values) {
    plain += value;
    finite = finite && std::isfinite(value);
    if (finite) sum.add(value);
  }
  return finite ? sum.rounded() : plain;
}

}  // namespace ringmeter::tests
