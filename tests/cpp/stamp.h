// Values that tell who pushed them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/number.h"

namespace ringmeter::tests {

// Names a push: which writer, and the how-manieth of that writer. As a value it carries a check over both, so
// that a value put together from two pushes is found out, and so is a count or a low part of another push.
struct Stamp {
  std::uint64_t writer = 0;    // below 16
  std::uint64_t sequence = 0;  // below 2^24

  // A whole number below 2^52: writer, sequence, 24 bits of check.
  double value() const { return static_cast<double>(packed(24)); }
  static std::optional<Stamp> of_value(double value) {
    if (!(value >= 0.0 && value < 0x1p52)) return std::nullopt;
    return of_packed(static_cast<std::uint64_t>(value), 24);
  }

  // 62 bits, mostly beyond 2^53, negative for odd writers.
  std::int64_t wide() const {
    const auto magnitude = static_cast<std::int64_t>(packed(34));
    return writer % 2 == 0 ? magnitude : -magnitude;
  }
  static std::optional<Stamp> of_wide(double high, double low) {
    // Each within int64, and so is their sum when they belong together.
    const std::uint64_t sum = static_cast<std::uint64_t>(static_cast<std::int64_t>(high)) +
                              static_cast<std::uint64_t>(static_cast<std::int64_t>(low));
    const auto whole = static_cast<std::int64_t>(sum);
    const std::optional<Stamp> stamp = of_packed(static_cast<std::uint64_t>(whole < 0 ? -whole : whole), 34);
    return stamp && stamp->wide() == whole ? stamp : std::nullopt;
  }

  // The count pushed with it: 1 for every eighth, so that columns are made late and used again.
  double count() const {
    const std::uint64_t mixed = sequence * 5 + writer * 3;
    return mixed % 8 == 0 ? 1.0 : 0.25 * static_cast<double>(mixed % 61 + 2);
  }

 private:
  // The upper bits of a product: every bit of writer and sequence tells.
  static std::uint64_t check(std::uint64_t both, unsigned bits) {
    std::uint64_t mixed = (both + 1) * 0x9E3779B97F4A7C15U;
    mixed ^= mixed >> 29;
    return (mixed * 0xBF58476D1CE4E5B9U) >> (64 - bits);
  }
  std::uint64_t packed(unsigned bits) const {
    const std::uint64_t both = (writer << 24) | sequence;
    return (both << bits) | check(both, bits);
  }
  static std::optional<Stamp> of_packed(std::uint64_t packed, unsigned bits) {
    const std::uint64_t both = packed >> bits;
    const Stamp stamp{both >> 24, both & 0xFFFFFF};
    return both < (1U << 28) && stamp.packed(bits) == packed ? std::optional<Stamp>(stamp) : std::nullopt;
  }
};

}  // namespace ringmeter::tests
