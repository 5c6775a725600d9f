// One recorded value as 64 bits: a double, or one of two marks that no caller can record.
#pragma once

#include <cstdint>
#include <cstring>

namespace ringmeter {

using SlotBits = std::uint64_t;

// Signalling NaN payloads ("RING"). encode() folds every NaN it is given into kNan, so these two
// can only have been written by the ring itself. They are handled as integers, never as doubles.
constexpr SlotBits kEmpty = 0x7FF4'5249'4E47'0000;    // ticket not stored yet
constexpr SlotBits kPending = 0x7FF4'5249'4E47'0001;  // stored, but its value is still on a device
constexpr SlotBits kNan = 0x7FF8'0000'0000'0000;

static_assert(kPending == kEmpty + 1, "is_landed() tests both marks with one comparison");

inline bool is_landed(SlotBits bits) { return bits - kEmpty > 1; }

inline SlotBits encode(double value) {
  if (value != value) return kNan;
  SlotBits bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline double decode(SlotBits bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace ringmeter
