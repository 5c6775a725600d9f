// What the kernels of append.cu do, for any Machine: the device runs it, and so does the driver of the tests.
//
// A Machine has these static functions. Addresses are the device's.
//   template <class T> T load(std::uint64_t address)                 memory that only this stream writes
//   template <class T> void store(std::uint64_t address, const T&)   the same
//   void store_pair(std::uint64_t address, std::uint64_t, std::uint64_t)
//       two adjacent words of 8 bytes in host memory, each in one piece and with no fence
//   std::uint64_t add(std::uint64_t address, std::uint64_t n)        atomic; what was there before
//   std::uint64_t clock()                                            nanoseconds
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/element.h"
#include "device/append_entry.h"
#include "device/landing_slot.h"

#ifdef __CUDACC__
#define RINGMETER_DEVICE_FUNCTION __device__ inline
#else
#define RINGMETER_DEVICE_FUNCTION inline
#endif

namespace ringmeter::kernels {

RINGMETER_DEVICE_FUNCTION double double_of(std::uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

RINGMETER_DEVICE_FUNCTION std::uint64_t bits_of(double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// How a float format uses its largest exponent and its negative zero: see core/element.cpp.
enum class Specials { kIeee, kFn, kFnuz };

// A float of up to 32 bits, put together as the bits of a double: exact, as every one of them is a double.
RINGMETER_DEVICE_FUNCTION double widen(std::uint64_t bits, unsigned exponent_bits, unsigned mantissa_bits,
                                       unsigned bias, Specials specials) {
  const std::uint64_t nan = 0x7FF8000000000000;
  const std::uint64_t infinity = 0x7FF0000000000000;
  const std::uint64_t mantissa_mask = (std::uint64_t{1} << mantissa_bits) - 1;
  const std::uint64_t exponent_mask = (std::uint64_t{1} << exponent_bits) - 1;
  const std::uint64_t mantissa = bits & mantissa_mask;
  const std::uint64_t exponent = bits >> mantissa_bits & exponent_mask;
  const std::uint64_t sign = bits >> (mantissa_bits + exponent_bits) & 1;
  const bool is_last = exponent == exponent_mask;
  const bool is_nan = (specials == Specials::kIeee && is_last && mantissa != 0) ||
                      (specials == Specials::kFn && is_last && mantissa == mantissa_mask) ||
                      (specials == Specials::kFnuz && sign != 0 && exponent == 0 && mantissa == 0);
  std::uint64_t wide = (exponent + 1023 - bias) << 52 | mantissa << (52 - mantissa_bits);
  if (specials == Specials::kIeee && is_last) wide = infinity;
  if (exponent == 0) {  // zero or subnormal: a multiple of a power of two
    const std::uint64_t unit = (std::uint64_t{1024} - bias - mantissa_bits) << 52;
    wide = bits_of(static_cast<double>(mantissa) * double_of(unit));
  }
  return double_of(is_nan ? nan : wide | sign << 63);
}

// decode_element(...).high of the core. Bits beyond those of the type must be 0.
RINGMETER_DEVICE_FUNCTION double decode_scalar(std::uint64_t bits, ElementType type) {
  switch (type) {
    case ElementType::kBool: return bits != 0 ? 1.0 : 0.0;
    case ElementType::kInt8: return static_cast<double>(static_cast<std::int8_t>(bits));
    case ElementType::kInt16: return static_cast<double>(static_cast<std::int16_t>(bits));
    case ElementType::kInt32: return static_cast<double>(static_cast<std::int32_t>(bits));
    case ElementType::kInt64: return static_cast<double>(static_cast<std::int64_t>(bits));
    case ElementType::kUInt8:
    case ElementType::kUInt16:
    case ElementType::kUInt32:
    case ElementType::kUInt64: return static_cast<double>(bits);
    case ElementType::kFloat16: return widen(bits, 5, 10, 15, Specials::kIeee);
    case ElementType::kBFloat16: return widen(bits, 8, 7, 127, Specials::kIeee);
    case ElementType::kFloat32: return widen(bits, 8, 23, 127, Specials::kIeee);
    case ElementType::kFloat64: return double_of(bits);
    case ElementType::kFloat8E4M3FN: return widen(bits, 4, 3, 7, Specials::kFn);
    case ElementType::kFloat8E4M3FNUZ: return widen(bits, 4, 3, 8, Specials::kFnuz);
    case ElementType::kFloat8E5M2: return widen(bits, 5, 2, 15, Specials::kIeee);
    case ElementType::kFloat8E5M2FNUZ: return widen(bits, 5, 2, 16, Specials::kFnuz);
    case ElementType::kFloat8E8M0FNU:  // 2^(bits - 127); 255 is the NaN
      return double_of(bits == 0xFF ? 0x7FF8000000000000 : (bits + 1023 - 127) << 52);
  }
  return 0.0;  // not reached: the switch is complete
}

template <class Machine>
RINGMETER_DEVICE_FUNCTION std::uint64_t load_bits(std::uint64_t source, std::uint32_t bytes) {
  switch (bytes) {
    case 1: return Machine::template load<std::uint8_t>(source);
    case 2: return Machine::template load<std::uint16_t>(source);
    case 4: return Machine::template load<std::uint32_t>(source);
    default: return Machine::template load<std::uint64_t>(source);
  }
}

// Both halves of `payload`, as two words of TaggedWords.
template <class Machine>
RINGMETER_DEVICE_FUNCTION void store_tagged(std::uint64_t address, std::uint64_t payload, std::uint32_t tag) {
  const std::uint64_t upper = static_cast<std::uint64_t>(tag) << 32;
  Machine::store_pair(address, upper | (payload & 0xFFFFFFFF), upper | payload >> 32);
}

template <class Machine>
RINGMETER_DEVICE_FUNCTION void append(const AppendEntry& entry) {
  const std::uint64_t bits =
      entry.bytes == 0 ? Machine::clock() : load_bits<Machine>(entry.source, entry.bytes);
  store_tagged<Machine>(entry.slot, bits, entry.tag);
}

// `totals` begin as zeros: minimum and maximum hold from the first value that is no NaN.
RINGMETER_DEVICE_FUNCTION void add_to(NodeTotals* totals, double value) {
  const bool is_first = totals->count == totals->nans;
  ++totals->count;
  if (value != value) {
    ++totals->nans;
    return;
  }
  totals->sum += value;
  if (is_first || value < totals->minimum) totals->minimum = value;
  if (is_first || value > totals->maximum) totals->maximum = value;
}

// Runs of one node must follow each other, as those of one executable graph do; nodes need not.
template <class Machine>
RINGMETER_DEVICE_FUNCTION void append_graph(const GraphEntry& entry) {
  // All that takes long, before any of it is needed.
  const std::uint64_t bits = load_bits<Machine>(entry.source, entry.bytes);
  const std::uint64_t number = Machine::add(entry.counter, 1);
  NodeTotals totals = Machine::template load<NodeTotals>(entry.totals);

  add_to(&totals, decode_scalar(bits, static_cast<ElementType>(entry.type)));
  Machine::store(entry.totals, totals);

  const std::uint64_t mask = (std::uint64_t{1} << entry.log2_capacity) - 1;
  const std::uint64_t slot = entry.ring + (number & mask) * sizeof(GraphSlot);
  const auto tag = static_cast<std::uint32_t>((number >> entry.log2_capacity) + 1);  // landing_tag()
  const auto count = static_cast<std::uint32_t>(totals.count);
  store_tagged<Machine>(slot, bits, tag);
  store_tagged<Machine>(slot + 16, static_cast<std::uint64_t>(count) << 32 | entry.node, tag);

  store_tagged<Machine>(entry.shown, bits_of(totals.sum), count);
  store_tagged<Machine>(entry.shown + 16, bits_of(totals.minimum), count);
  store_tagged<Machine>(entry.shown + 32, bits_of(totals.maximum), count);
  store_tagged<Machine>(entry.shown + 48, bits, count);
  store_tagged<Machine>(entry.shown + 64, totals.nans, count);
  store_tagged<Machine>(entry.shown + 80, totals.count >> 32, count);
}

}  // namespace ringmeter::kernels
