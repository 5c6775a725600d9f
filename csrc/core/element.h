// One tensor element as its raw bits and dtype, decoded to a number.
#pragma once

#include <cstdint>

#include "core/number.h"

namespace ringmeter {

// The real dtypes that a one-element tensor may have.
enum class ElementType : std::uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
  kFloat8E4M3FN,
  kFloat8E4M3FNUZ,
  kFloat8E5M2,
  kFloat8E5M2FNUZ,
  kFloat8E8M0FNU,
};

// The type that DLPack 1.3 names {code, bits, lanes}; false when it is not one of ours (complex, sub-byte
// and opaque types, vectors).
bool element_type(std::uint8_t code, std::uint8_t bits, std::uint16_t lanes, ElementType* out);

// In bytes.
std::uint32_t element_size(ElementType type);

NumberKind element_kind(ElementType type);

// `data` points at the element, at any alignment. Every value of every type is exact, int64 and uint64
// included (Number::low).
Number decode_element(ElementType type, const void* data);

}  // namespace ringmeter
